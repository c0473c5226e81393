"""Counting events: every metric that only grows follows from the log, so that a restart loses none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from models.gate.report import Decision
from services.metrics.figures import STUDY_SEGMENTED
from services.records.port import RUN_FREED, Event

BUCKETS = (0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0)
"""Upper bounds of the histograms of seconds; the last is open."""


@dataclass
class Histogram:
    """Seconds, counted by bucket: element n counts what is at most ``BUCKETS[n]``, the last everything."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one value."""
        for index, bound in enumerate((*BUCKETS, float("inf"))):
            self.counts[index] += seconds <= bound
        self.total += seconds


@dataclass
class Tally:
    """What the events on record add up to.

    Parameters
    ----------
    number
        Of the last event counted.
    studies
        Studies segmented, by release.
    seconds
        Seconds of a study by step, and ``total``.
    flags
        Organs by organ and flag; ``none`` where nothing was flagged.
    corrections
        Corrections by status; ``refused`` for saves that were not taken.
    edits
        Organs that readers changed.
    decisions
        Gate decisions, each from 0 on: of a counter that begins at 1 Prometheus sees no increase.
    promotions, bounds_broken
        Changes of the incumbent; alarms of the bound's drift check.
    runs_freed
        Runs ended because nobody worked on them, and places that none held given back.
    last_backup
        When the newest backup was taken, ISO 8601; None if there is none.
    backups_failed
        How many have failed since.
    """

    number: int = 0
    studies: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, Histogram] = field(default_factory=dict)
    flags: Counter[tuple[str, str]] = field(default_factory=Counter)
    corrections: Counter[str] = field(default_factory=lambda: Counter({"refused": 0}))
    edits: Counter[str] = field(default_factory=Counter)
    decisions: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(map(str, Decision), 0)))
    promotions: int = 0
    bounds_broken: int = 0
    runs_freed: int = 0
    last_backup: str | None = None
    backups_failed: int = 0

    def add(self, events: Iterable[Event]) -> None:
        """Count further events, in order; kinds that no metric is made of are passed over."""
        for event in events:
            count = _COUNTED.get(event.what)
            if count is not None:
                count(self, event.payload)
            self.number = event.number


def _study(tally: Tally, payload: Mapping[str, object]) -> None:
    tally.studies[str(payload["release"])] += 1
    for step, seconds in dict(payload["seconds"]).items():  # type: ignore[call-overload]
        tally.seconds.setdefault(step, Histogram()).add(float(seconds))
    for organ, flag in dict(payload["flags"]).items():  # type: ignore[call-overload]
        tally.flags[organ, flag or "none"] += 1


def _correction(tally: Tally, payload: Mapping[str, object]) -> None:
    tally.corrections[str(payload["status"])] += 1
    tally.edits.update(list(payload["edited"]))  # type: ignore[call-overload]


def _refused(tally: Tally, _: Mapping[str, object]) -> None:
    tally.corrections["refused"] += 1


def _decision(tally: Tally, payload: Mapping[str, object]) -> None:
    tally.decisions[str(payload["decision"])] += 1


def _promotion(tally: Tally, _: Mapping[str, object]) -> None:
    tally.promotions += 1


def _bound(tally: Tally, _: Mapping[str, object]) -> None:
    tally.bounds_broken += 1


def _freed(tally: Tally, _: Mapping[str, object]) -> None:
    tally.runs_freed += 1


def _backup(tally: Tally, payload: Mapping[str, object]) -> None:
    tally.last_backup, tally.backups_failed = str(payload["taken_at"]), 0


def _no_backup(tally: Tally, _: Mapping[str, object]) -> None:
    tally.backups_failed += 1


_COUNTED: Mapping[str, Callable[[Tally, Mapping[str, object]], None]] = {
    STUDY_SEGMENTED: _study,
    "correction-recorded": _correction,
    "correction-refused": _refused,
    "gate-decided": _decision,
    "incumbent-changed": _promotion,
    "bound-broken": _bound,
    RUN_FREED: _freed,
    "place-freed": _freed,
    "backup-taken": _backup,
    "backup-failed": _no_backup,
}
