"""Who corrected does not promote what was learnt from it: a second person looks."""

from __future__ import annotations

from models.errors import Refused
from models.release import Release
from services.records.entries.corrections import Correction
from services.records.events.serving import IncumbentChanged
from services.records.port import Corrections, Log
from services.releases.store import ReleaseStore


def require_second_person(
    release: Release, approver: str, corrections: Corrections, log: Log, releases: ReleaseStore
) -> None:
    """Refuse an approver who corrected what a release has learnt from, since one last came to serve.

    People are told apart by their names on record. A save that names nobody is nobody's.

    Parameters
    ----------
    release
        To be promoted. What it was tuned from counts too, back to the first that has served: that one was
        looked at when it came to serve.
    approver
        Whose act it is.
    corrections, log, releases
        Who corrected what, which releases have served, and what each has learnt from.

    Raises
    ------
    Refused
        `own-corrections`, with how many.
    """
    learnt = set(_learnt(release, log, releases))
    own = {
        one.sop_instance_uid
        for one in corrections.corrections()
        if one.name in learnt and any(_same(name, approver) for name in _named(one))
    }
    if own:
        detail = (
            f"{approver} corrected {len(own)} of the {len(learnt)} studies that release {release.number} has "
            "learnt from: a second person promotes it, or at a site of one ORGANLOOP_OWN_CORRECTIONS=allowed"
        )
        raise Refused("own-corrections", detail, {"own": len(own), "learnt": len(learnt)})


def _learnt(release: Release, log: Log, releases: ReleaseStore) -> list[str]:
    served = {change.said.after for change in log.all(IncumbentChanged)}
    names: list[str] = []
    newest: Release | None = release
    while newest is not None and (newest is release or newest.number not in served):
        names += newest.corrections
        newest = None if newest.parent is None else releases.release(newest.parent)
    return names


def _named(correction: Correction) -> list[str]:
    """Return who saved a correction, and who said what it means."""
    names = (correction.reader, *(answer.reader for answer in correction.answers))
    return [name for name in names if name.strip()]


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
