"""A correction taken back: it teaches nothing from then on, and stays on record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flows.acts import Act, require_name, require_same_act
from flows.corrections.outcome import Outcome, note
from flows.corrections.sums import edited_by_reader
from flows.lineage import tuned_from
from models.uids import SopUid
from services.cases.disagreements import UNCHANGED, ReadersDisagree, teaches, teaching_words, valid_words
from services.records.entries import ArrivalState, Correction
from services.records.events.corrections import CorrectionWithdrawn
from services.records.port import Records
from services.releases.store import ReleaseStore


def withdraw(
    sop_instance_uid: SopUid,
    reader: str,
    reason: str,
    records: Records,
    releases: ReleaseStore,
    policy: ReadersDisagree = ReadersDisagree.ASK,
) -> dict[str, Any]:
    """Take a correction out of all tuning to come; it stays on record, and so does who took it back.

    Returns
    -------
    dict
        The document of the `withdraw` verb: ``sop_instance_uid, study_uid, versions, organs, releases,
        inherited, instead, reader, reason``; organs are those that were edited, releases those that learnt
        from it already, inherited those tuned from them, and instead ``[{organ, correction}]`` whose word
        counts now of organs it spoke of: it counts as never said.

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
    return {
        "sop_instance_uid": sop_instance_uid,
        "study_uid": taken[-1].study_uid,
        "versions": [one.version for one in taken],
        "organs": sorted(edited),
        "releases": sorted(learnt),
        "inherited": tuned_from(learnt, releases),
        "instead": _instead(taken, records, policy),
        "reader": reader,
        "reason": reason,
    }


def _instead(taken: Sequence[Correction], records: Records, policy: ReadersDisagree) -> list[dict[str, str]]:
    """Return whose word counts of the organs that a withdrawn correction names."""
    spoken = {
        entry.organ for one in taken for entry in one.organs if teaches(entry) or one.status == UNCHANGED
    }
    words = valid_words(records.corrections(series_uid=taken[-1].series_uid))
    counting, _ = teaching_words(words, records.agreements(), policy)
    return [
        {"organ": organ, "correction": word.correction.name}
        for (_, organ), word in counting.items()
        if organ in spoken and teaches(word.entry)
    ]
