"""The numbers of candidates."""

from __future__ import annotations

from dataclasses import replace

from models.release import Release
from services.wiring import Services


def publish_candidate(services: Services, draft: Release) -> Release:
    """Publish a candidate under the number it bears already, else under the next free one."""
    numbers = services.releases.numbers()
    for number in numbers:
        candidate = replace(draft, number=number)
        if candidate.digest == services.releases.release(number).digest:
            return candidate
    candidate = replace(draft, number=max((*numbers, *services.records.release_states(), 0)) + 1)
    services.releases.publish(candidate)
    return candidate
