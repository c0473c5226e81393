"""The log as it lies on record: lines by the names of their kinds, whichever program wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.records.entries.log import Line
from services.records.events.event import Event
from services.records.port import Log


def lines(log: Log, what: str | None = None) -> tuple[Line, ...]:
    """Return all lines, or those of one kind."""
    return tuple(line for line in log.lines() if what in (None, line.what))


def write_line(
    log: Log, what: str, *, who: str, payload: Mapping[str, Any] | None = None, key: str | None = None
) -> None:
    """Write a line of any kind with any payload."""

    def told(_: Event) -> dict[str, Any]:
        return dict(payload or {})

    kind = type("Written", (Event,), {"what": what, "payload": told})
    log.record(kind(), who=who, key=key)
