"""What the gate said last of a release, as it is on record."""

from __future__ import annotations

from dataclasses import dataclass

from models.gate.document import GateDocument
from services.records.events.event import Recorded
from services.records.events.gate import GateDecided
from services.records.port import Log
from services.releases.gate_reports import read_report
from services.releases.store import ReleaseStore


@dataclass(frozen=True)
class LastReport:
    """The gate's last decision on a release.

    Parameters
    ----------
    decided
        As it is on record.
    document
        The report that lies on disk with the digest on record; None of a decision without cases.
    """

    decided: Recorded[GateDecided]
    document: GateDocument | None


def last_report(number: int, log: Log, releases: ReleaseStore) -> LastReport | None:
    """Return what the gate said last of a release; None before it has decided.

    Raises
    ------
    InvalidRelease
        If the report is not there, or not the one on record.
    """
    decided = log.last(GateDecided, release=number)
    if decided is None:
        return None
    said = decided.said
    if said.report is None or said.trial is None:
        return LastReport(decided, None)
    return LastReport(decided, read_report(releases.folder, number, said.trial, said.report))
