"""What a reader's answer is worth, and whether it may be given.

Pictures show single slices. What is said from them is put on record and counts as looked at; it enters no
calibration, gate or audit, never counts as proof that a bound held, and teaches nothing. An acceptance after
the viewer was opened, of one organ at a time, counts as one of `organloop accept` does.
"""

from __future__ import annotations

from collections.abc import Collection

from flows.reading.shown import is_of, listed
from models.corrections.opinions import Opinion, Seen, Wrong
from models.errors import Refused
from models.people import Person
from models.uids import StudyUid
from services.records.entries.reading import holder_of
from services.records.port import Records


def answer(
    page: str,
    result: str,
    organs: Collection[str],
    opinion: Opinion,
    who: Person,
    records: Records,
    *,
    why: Wrong | None = None,
) -> None:
    """Record what a reader says of organs of a study, in one act.

    Parameters
    ----------
    page
        Name of the study on the pages.
    result
        Key of the result that the reader has seen.
    organs
        Of which.
    opinion
        What is said.
    who
        Whose act it is.
    records
        Where it goes; the act bears the proof of the name.
    why
        In which way it is wrong; None exactly of another opinion.

    Raises
    ------
    Refused
        `no-such-study`; `drawn-anew` if the result is not the one that was seen; `needs-viewer` of a study of
        the random audit that this reader has not opened in the viewer; `held` while another has it open;
        `no-organ`, `unknown-organ`; `why-wrong`; `accepted-in-viewer` where an acceptance that counts would
        be taken back.
    """
    if not organs:
        raise Refused("no-organ", "no organ is named: say of which the answer is")
    if (opinion is Opinion.WRONG) is (why is None):
        raise Refused("why-wrong", "of a wrong outline say in which way it is wrong, and of no other answer")
    study = listed(page, records)
    if study.result != result:
        detail = "a later result stands here now: look at it, your answer to the earlier one is not on record"
        raise Refused("drawn-anew", detail)
    held = records.hold(study.study_uid, who)
    if held.holder != holder_of(who):
        raise Refused("held", f"{held.holder_name} has this study open: take it over first, or look only")
    in_viewer = records.opened_viewer(result, who) and len(set(organs)) == 1
    if study.audited and not in_viewer and opinion is not Opinion.TAKEN_BACK:
        detail = (
            "this study is a random check: open it in the viewer, pictures show too little of it, and answer "
            "for one organ at a time"
        )
        raise Refused("needs-viewer", detail)
    if opinion is not Opinion.ACCEPT:
        _refuse_accepted(organs, result, study.study_uid, who, records)
    records = records.signed(who)
    if opinion is Opinion.ACCEPT and in_viewer:
        where = (study.study_uid, study.series_uid, study.release)
        records.record_acceptance(*where, organs, who.name, result=result)
        return
    seen = Seen.VIEWER if in_viewer else Seen.PICTURES
    records.give_opinion(result, organs, opinion, reader=who, why=why.value if why else "", seen=seen)


def _refuse_accepted(
    organs: Collection[str], result: str, study_uid: StudyUid, who: Person, records: Records
) -> None:
    """Refuse to take back, by another word, an acceptance of one's own that counts."""
    own = [one for one in records.opinions(study_uid) if one.result == result and is_of(one, who)]
    last = {one.organ: (one.opinion, one.seen) for one in own}
    accepted = [organ for organ in organs if last.get(organ) == (Opinion.ACCEPT, Seen.VIEWER)]
    if accepted:
        detail = (
            f"{', '.join(accepted)}: you accepted it after a look in the viewer, and that counts already; "
            "correct in the viewer what is wrong"
        )
        raise Refused("accepted-in-viewer", detail, {"organs": accepted})
