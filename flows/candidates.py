"""The numbers of candidates, and how one comes on record."""

from __future__ import annotations

from dataclasses import replace

from models.release import Release
from services.records.entries.releases import ReleaseState
from services.records.events.event import Event
from services.records.port import Records, Releases
from services.releases.store import ReleaseStore


def publish_candidate(draft: Release, store: ReleaseStore, known: Releases) -> Release:
    """Publish a candidate under the number it bears already, else under the next free one."""
    numbers = store.numbers()
    for number in numbers:
        candidate = replace(draft, number=number)
        if candidate.digest == store.release(number).digest:
            return candidate
    candidate = replace(draft, number=max((*numbers, *known.release_states(), 0)) + 1)
    store.publish(candidate)
    return candidate


def record_candidate(candidate: Release, event: Event, who: str, key: str, records: Records) -> None:
    """Put a candidate on record, and how it came to be, once; one that is further already stays so."""
    if candidate.number not in records.release_states():
        records.record_release(candidate.number, candidate.digest, ReleaseState.CANDIDATE)
    records.record(event, who=who, key=key)
