"""The log, read on from where somebody has come to, some lines at a time."""

from __future__ import annotations

from collections.abc import Iterator

from services.records.entries.log import Line
from services.records.port import Log

AT_ONCE = 5000
"""Lines read at once: nobody else's transaction goes on meanwhile."""


def stretches(log: Log, after: int) -> Iterator[tuple[Line, ...]]:
    """Yield the lines behind one, a stretch at a time, to the end of the log."""
    while lines := log.lines(after, AT_ONCE):
        yield lines
        after = lines[-1].number
