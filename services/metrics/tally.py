"""Counting events: every metric that only grows follows from the log, so that a restart loses none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from models.gate.report import Decision
from services.records.entries.log import Line
from services.records.events.arrivals import CorrectionRefused
from services.records.events.corrections import CorrectionRecorded
from services.records.events.event import Event
from services.records.events.gate import GateDecided
from services.records.events.operations import BackupFailed, BackupTaken, PlaceFreed, RunFreed
from services.records.events.results import BoundBroken, ResultDiffers, StudySegmented
from services.records.events.serving import IncumbentChanged

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
    results_differ
        Objects that the archive did not give back as they were sent.
    runs_freed
        Runs ended because nobody worked on them, and places that none held given back.
    last_backup
        When the newest backup was taken, ISO 8601; None if there is none.
    backups_failed
        How many have failed since.
    unreadable
        Lines that tell nothing of their kind; `audit verify` names them.
    began
        When the first line was written; None of an empty log.
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
    results_differ: int = 0
    runs_freed: int = 0
    last_backup: str | None = None
    backups_failed: int = 0
    unreadable: int = 0
    began: datetime | None = None

    def add(self, lines: Iterable[Line]) -> None:
        """Count further lines of the log, in order; kinds that no metric is made of are passed over."""
        for line in lines:
            self.number, self.began = line.number, self.began or line.at
            if line.what in _COUNTED:
                try:
                    self._count(_COUNTED[line.what].from_payload(line.payload))
                except ValueError:
                    self.unreadable += 1

    def _count(self, event: Event) -> None:
        match event:
            case StudySegmented():
                self.studies[str(event.release)] += 1
                for step, seconds in event.seconds.items():
                    self.seconds.setdefault(step, Histogram()).add(seconds)
                self.flags.update((organ, flag or "none") for organ, flag in event.flags.items())
            case CorrectionRecorded():
                self.corrections[event.status] += 1
                self.edits.update(event.edited)
            case CorrectionRefused():
                self.corrections["refused"] += 1
            case GateDecided():
                self.decisions[event.decision] += 1
            case IncumbentChanged():
                self.promotions += 1
            case BoundBroken():
                self.bounds_broken += 1
            case ResultDiffers():
                self.results_differ += 1
            case RunFreed() | PlaceFreed():
                self.runs_freed += 1
            case BackupTaken():
                self.last_backup, self.backups_failed = event.taken_at, 0
            case BackupFailed():
                self.backups_failed += 1


_COUNTED = {
    kind.what: kind
    for kind in (
        StudySegmented,
        CorrectionRecorded,
        CorrectionRefused,
        GateDecided,
        IncumbentChanged,
        BoundBroken,
        ResultDiffers,
        RunFreed,
        PlaceFreed,
        BackupTaken,
        BackupFailed,
    )
}
