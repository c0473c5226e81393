"""Who corrected does not promote what was learnt from it: a second person looks."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from flows.arrivals.savers import is_by, savers_of
from models.errors import Refused
from models.people import Person
from models.release import Release
from models.uids import SopUid
from services.records.entries.corrections import Correction
from services.records.events.serving import IncumbentChanged
from services.records.port import Corrections, Log, Records
from services.releases.store import ReleaseStore


def require_second_person(release: Release, approver: str, records: Records, releases: ReleaseStore) -> None:
    """Refuse an approver who corrected what a release has learnt from, since one last came to serve.

    People are told apart by what one issuer knows them by, where it has proven both; else by their names on
    record. A save that names nobody is nobody's.

    Parameters
    ----------
    release
        To be promoted. What it was tuned from counts too, back to the first that has served: that one was
        looked at when it came to serve.
    approver
        Whose act it is.
    records
        Who corrected what, and which releases have served; those of a person, where the name is proven.
    releases
        What each has learnt from.

    Raises
    ------
    Refused
        `own-corrections`, with how many.
    """
    learnt = set(_learnt(release, records, releases))
    proven = records.person if records.person and records.person.name == approver else None
    own = {one.sop_instance_uid for one in named(learnt, records) if _is_by(one, approver, proven, records)}
    if own:
        detail = (
            f"{approver} corrected {len(own)} of the {len(learnt)} studies that release {release.number} has "
            "learnt from: a second person promotes it, or at a site of one ORGANLOOP_OWN_CORRECTIONS=allowed"
        )
        raise Refused("own-corrections", detail, {"own": len(own), "learnt": len(learnt)})


def named(names: Collection[str], corrections: Corrections) -> Iterator[Correction]:
    """Yield the versions of corrections that bear these names; of one that is not on record, none."""
    for uid in dict.fromkeys(SopUid(name.partition("/")[0]) for name in names):
        yield from (one for one in corrections.corrections(sop_instance_uid=uid) if one.name in names)


def _is_by(correction: Correction, approver: str, proven: Person | None, log: Log) -> bool:
    """Tell whether somebody saved a correction, or said what it means."""
    savers = savers_of(correction.sop_instance_uid, log)
    for saver in savers:
        if proven is not None and saver.proof is not None and saver.proof.issuer == proven.issuer:
            if is_by(saver, proven):
                return True
        elif _same(saver.who, approver):
            return True
    told = {saver.who for saver in savers}
    drew = () if correction.reader in told else (correction.reader,)
    names = (*drew, *(answer.reader for answer in correction.answers))
    return any(_same(name, approver) for name in names if name.strip())


def _learnt(release: Release, log: Log, releases: ReleaseStore) -> list[str]:
    served = {change.said.after for change in log.all(IncumbentChanged)}
    names: list[str] = []
    newest: Release | None = release
    while newest is not None and (newest is release or newest.number not in served):
        names += newest.corrections
        newest = None if newest.parent is None else releases.release(newest.parent)
    return names


def _same(one: str, other: str) -> bool:
    return " ".join(one.split()).casefold() == " ".join(other.split()).casefold()
