"""How far a listed study has come with its readers, by all that is on record of it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from models.corrections.ledger import OrganState
from models.corrections.opinions import Opinion, Seen
from models.documents import from_json
from models.findings import Figure, Flag
from models.uids import StudyUid
from services.records.entries.reading import OrganSaid, ReadingState
from services.records.guarded import RowKey
from services.records.tables import (
    CorrectionRow,
    FindingRow,
    ListedRow,
    OpinionRow,
    OrganLedgerRow,
    ResultObjectRow,
    WithdrawalRow,
)

DRAWN_ANEW = "a later result stands here now: look at it, your answer to the earlier one is not on record"
FLAGGED = (Flag.REVIEW.value, Flag.REJECT.value)


def settle(session: Session, study_uid: StudyUid) -> None:
    """Say how far a listed study has come: called wherever a reader's word on it is recorded."""
    session.flush()
    row = session.get(ListedRow, study_uid)
    if row is None:
        return
    asked = {
        said.organ
        for said in findings_of(session, row.result)
        if said.flag in FLAGGED or (row.audited and said.flag is not None)
    }
    state = ReadingState.WAITING
    if not asked:
        state = ReadingState.CLEAR
    elif asked <= answered(session, row):
        state = ReadingState.READ
    row.state = state.value


def answered(session: Session, row: ListedRow) -> frozenset[str]:
    """Return the organs of the listed result on which some reader's last word stands, or that were drawn."""
    last: dict[tuple[str, str, str, str], str] = {}
    for one in session.scalars(select(OpinionRow).filter_by(result=row.result).order_by(OpinionRow.id)):
        last[one.organ, one.issuer, one.subject, one.reader] = one.opinion
    said = {organ for (organ, *_), opinion in last.items() if opinion != Opinion.TAKEN_BACK}
    return frozenset(said | set(session.scalars(edited(row.result))))


@dataclass(frozen=True)
class Word:
    """Whose word it is, how the name was proven (both empty if it was typed), and when."""

    reader: str
    subject: str
    issuer: str
    at: datetime


def accepted_in_viewer(session: Session, result: str, word: Word) -> frozenset[str]:
    """Return the organs of a result of which this reader's last word is an acceptance that counts."""
    own = {"result": result, "reader": word.reader, "subject": word.subject, "issuer": word.issuer}
    rows = session.scalars(select(OpinionRow).filter_by(**own).order_by(OpinionRow.id))
    last = {row.organ: (row.opinion, row.seen) for row in rows}
    counts = (Opinion.ACCEPT.value, Seen.VIEWER.value)
    return frozenset(organ for organ, said in last.items() if said == counts)


def put_opinions(
    session: Session,
    row: ListedRow,
    organs: Collection[str],
    word: Word,
    *,
    seen: str,
    opinion: Opinion = Opinion.ACCEPT,
    why: str = "",
) -> list[RowKey]:
    """Write what a reader says of organs of a listed result, and return the rows."""
    given = [
        OpinionRow(
            result=row.result,
            study_uid=row.study_uid,
            release=row.release,
            patient=row.patient,
            organ=organ,
            opinion=opinion.value,
            why=why,
            seen=seen,
            together=len(organs),
            reader=word.reader,
            subject=word.subject,
            issuer=word.issuer,
            at=word.at,
        )
        for organ in organs
    ]
    session.add_all(given)
    session.flush()
    return [(OpinionRow, (one.id,)) for one in given]


def edited(result: object) -> Select[tuple[str]]:
    """Return the question for the organs that corrections of a result have drawn, but what was taken back.

    What a ledger calls accepted is not meant: that may have been said of an earlier result of the release.
    """
    taken_back = select(WithdrawalRow.content).where(
        WithdrawalRow.sop_instance_uid == CorrectionRow.sop_instance_uid,
        WithdrawalRow.content == CorrectionRow.content,
    )
    return (
        select(OrganLedgerRow.organ)
        .join(CorrectionRow, CorrectionRow.id == OrganLedgerRow.correction_id)
        .join(ResultObjectRow, ResultObjectRow.sop_instance_uid == CorrectionRow.sent_uid)
        .where(ResultObjectRow.result_key == result)
        .where(OrganLedgerRow.state == OrganState.EDITED.value, ~exists(taken_back))
    )


def findings_of(session: Session, result: str) -> tuple[OrganSaid, ...]:
    """Return what was said of the organs of a listed result, in their order."""
    rows = session.scalars(select(FindingRow).filter_by(result=result).order_by(FindingRow.position))
    names = [one.name for one in fields(OrganSaid) if one.name not in ("reasons", "figures")]
    return tuple(
        OrganSaid(
            reasons=tuple(row.reasons.split()),
            figures=tuple(from_json(Figure, one) for one in row.figures or ()),
            **{name: getattr(row, name) for name in names},
        )
        for row in rows
    )
