"""How long readers had studies open, in sums: by week, site and flag, and by nobody's name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from statistics import median

from services.records.ports.reading import Reading

WEEKS = 13
"""Shown on the page."""

WEEK_MS = 7 * 24 * 3600 * 1000


@dataclass(frozen=True)
class ReadingSum:
    """How long readers had studies of one kind open.

    Parameters
    ----------
    week
        In which they were looked at last, as ISO 8601 names it: ``2026-W10``.
    site
        Where they were scanned; empty if not known.
    flag
        What the study told its readers: ``reject``, ``review``, ``clear``, or ``random-check``.
    readings
        How often some reader had one of them open. A study that two opened counts twice.
    median_seconds, seconds
        Of a reading, and of all together; without the idle time.
    """

    week: str
    site: str
    flag: str
    readings: int
    median_seconds: float
    seconds: float


def reading_sums(records: Reading, since_ms: int = 0) -> tuple[ReadingSum, ...]:
    """Return the sums, the newest week first.

    Parameters
    ----------
    records
        Where times are.
    since_ms
        Those of readings that went on after this time, milliseconds since 1970.
    """
    groups: dict[tuple[str, str, str], list[float]] = {}
    for one in records.reading_times(since_ms):
        groups.setdefault((_week(one.last_ms), one.site, one.flag), []).append(one.seconds)
    ordered = sorted(groups, key=lambda key: (*_newest_first(key[0]), key[1:]))
    return tuple(ReadingSum(*key, *_summed(groups[key])) for key in ordered)


def _summed(seconds: Iterable[float]) -> tuple[int, float, float]:
    every = list(seconds)
    return len(every), round(median(every), 1), round(sum(every), 1)


def _week(ms: int) -> str:
    year, week, _ = datetime.fromtimestamp(ms / 1000, UTC).astimezone().isocalendar()
    return f"{year}-W{week:02d}"


def _newest_first(week: str) -> tuple[int, int]:
    year, _, number = week.partition("-W")
    return -int(year), -int(number)
