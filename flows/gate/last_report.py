"""What the gate says of a release, as it is on record."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from flows.gate.trial import policy
from models.gate.document import GateDocument
from models.release import Release
from services.records.entries.cases import Purpose
from services.records.events.event import Recorded
from services.records.events.gate import GateDecided
from services.records.port import Records
from services.releases.gate_reports import read_report
from services.releases.store import ReleaseStore
from services.settings import Settings


@dataclass(frozen=True)
class LastReport:
    """The gate's decision on a release.

    Parameters
    ----------
    decided
        As it is on record.
    document
        The report that lies on disk with the digest on record; None of a decision without cases.
    """

    decided: Recorded[GateDecided]
    document: GateDocument | None


def last_report(
    release: Release, records: Records, releases: ReleaseStore, settings: Settings
) -> LastReport | None:
    """Return what the gate says of a release; None before it has decided.

    That is the last decision against what serves now, on the gate set and by the policy of now; where there
    is none, the last of all. A decision that was made before stands again after a rollback.

    Parameters
    ----------
    release
        The release.
    records, releases
        What is on record, and where reports lie.
    settings
        What the site has fixed before.

    Raises
    ------
    InvalidRelease
        If the report is not there, or not the one on record.
    """
    decided = records.all(GateDecided, release=release.number)
    if not decided:
        return None
    frozen, incumbent = records.frozen(Purpose.GATE), records.incumbent()
    digest = None if frozen is None else frozen.digest
    standing = [one for one in decided if (one.said.against, one.said.gate_set) == (incumbent, digest)]
    fixed = asdict(policy(settings, release))
    for one in reversed(standing):
        found = _read(one, releases)
        if found.document is not None and found.document.policy == fixed:
            return found
    return _read((standing or decided)[-1], releases)


def _read(decided: Recorded[GateDecided], releases: ReleaseStore) -> LastReport:
    said = decided.said
    if said.report is None or said.trial is None:
        return LastReport(decided, None)
    return LastReport(decided, read_report(releases.folder, said.release, said.trial, said.report))
