"""A correction taken back: it teaches nothing from then on, and stays on record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flows.acts import Act, require_name, require_same_act
from flows.corrections.outcome import Outcome, note
from flows.corrections.sums import edited_by_reader
from flows.lineage import tuned_from
from models.uids import SopUid, StudyUid
from services.cases.disagreements import ASK, UNCHANGED, Policy, teaches, teaching_words, valid_words
from services.records.entries.arrivals import ArrivalState
from services.records.entries.corrections import Correction
from services.records.events.corrections import CorrectionWithdrawn
from services.records.port import Records
from services.releases.store import ReleaseStore


@dataclass(frozen=True)
class Instead:
    """Whose word counts now of an organ: the correction by name."""

    organ: str
    correction: str


@dataclass(frozen=True)
class Withdrawn:
    """The document of the `withdraw` verb.

    Parameters
    ----------
    sop_instance_uid, study_uid, versions
        What was taken back, and of which study.
    organs
        Those that were edited.
    releases, inherited
        Those that learnt from it already, and those tuned from them.
    instead
        Whose word counts now of the organs it spoke of: it counts as never said.
    reader, reason
        Whose act it is, and why.
    """

    sop_instance_uid: SopUid
    study_uid: StudyUid
    versions: tuple[int, ...]
    organs: tuple[str, ...]
    releases: tuple[int, ...]
    inherited: tuple[int, ...]
    instead: tuple[Instead, ...]
    reader: str
    reason: str


def withdraw(
    sop_instance_uid: SopUid,
    reader: str,
    reason: str,
    records: Records,
    releases: ReleaseStore,
    policy: Policy = ASK,
) -> Withdrawn:
    """Take a correction out of all tuning to come; it stays on record, and so does who took it back.

    Raises
    ------
    Refused
        `no-name` without a name or a reason, `unknown-correction` if there is none of that UID, `withdrawn`
        if another act took all of it back.
    """
    require_name(reader, reason, "to take something back")
    taken = records.withdraw(sop_instance_uid, reader=reader, reason=reason)
    act = records.last(CorrectionWithdrawn, sop_instance_uid=sop_instance_uid)
    if act is not None:
        told = Act(act.who, act.said.reason, act.at)
        require_same_act(told, reader, reason, "withdrawn", "the correction is withdrawn")
    note(sop_instance_uid, Outcome(ArrivalState.INGESTED, "withdrawn", "It was taken back."), records)
    edited = {entry.organ for one in taken for entry in edited_by_reader(one)}
    names = {one.name for one in taken}
    learnt = {number for number in releases.numbers() if names & set(releases.release(number).corrections)}
    return Withdrawn(
        sop_instance_uid,
        taken[-1].study_uid,
        versions=tuple(one.version for one in taken),
        organs=tuple(sorted(edited)),
        releases=tuple(sorted(learnt)),
        inherited=tuple(tuned_from(learnt, releases)),
        instead=_instead(taken, records, policy),
        reader=reader,
        reason=reason,
    )


def _instead(taken: Sequence[Correction], records: Records, policy: Policy) -> tuple[Instead, ...]:
    """Return whose word counts of the organs that a withdrawn correction names."""
    spoken = {
        entry.organ for one in taken for entry in one.organs if teaches(entry) or one.status == UNCHANGED
    }
    words = valid_words(records.corrections(series_uid=taken[-1].series_uid))
    counting, _ = teaching_words(words, records.agreements(), policy)
    return tuple(
        Instead(organ, word.correction.name)
        for (_, organ), word in counting.items()
        if organ in spoken and teaches(word.entry)
    )
