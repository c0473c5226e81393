"""How far a listed study has come with its readers, by all that is on record of it."""

from __future__ import annotations

from dataclasses import fields

from sqlalchemy import Select, exists, select
from sqlalchemy.orm import Session

from models.corrections.ledger import OrganState
from models.corrections.opinions import Opinion
from models.findings import Flag
from models.uids import StudyUid
from services.records.entries.reading import OrganSaid, ReadingState
from services.records.tables import (
    AcceptanceRow,
    CorrectionRow,
    FindingRow,
    ListedRow,
    OpinionRow,
    OrganLedgerRow,
    WithdrawalRow,
)

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
    """Return the organs on which the last word of some reader stands, or that were accepted or corrected."""
    last: dict[tuple[str, str, str], str] = {}
    for one in session.scalars(select(OpinionRow).filter_by(result=row.result).order_by(OpinionRow.id)):
        last[one.organ, one.issuer, one.subject] = one.opinion
    said = {organ for (organ, _, _), opinion in last.items() if opinion != Opinion.TAKEN_BACK}
    of_result = {"series_uid": row.series_uid, "release": row.release}
    said |= set(session.scalars(select(AcceptanceRow.organ).filter_by(**of_result)))
    corrected = edited(row.series_uid, row.release)
    return frozenset(said | set(session.scalars(corrected)))


def edited(series_uid: object, release: object) -> Select[tuple[str]]:
    """Return the question for the organs that corrections of a result speak of, but what was taken back."""
    taken_back = select(WithdrawalRow.content).where(
        WithdrawalRow.sop_instance_uid == CorrectionRow.sop_instance_uid,
        WithdrawalRow.content == CorrectionRow.content,
    )
    return (
        select(OrganLedgerRow.organ)
        .join(CorrectionRow, CorrectionRow.id == OrganLedgerRow.correction_id)
        .where(CorrectionRow.series_uid == series_uid, CorrectionRow.release == release)
        .where(OrganLedgerRow.state != OrganState.NOT_REVIEWED.value, ~exists(taken_back))
    )


def findings_of(session: Session, result: str) -> tuple[OrganSaid, ...]:
    """Return what was said of the organs of a listed result, in their order."""
    rows = session.scalars(select(FindingRow).filter_by(result=result).order_by(FindingRow.position))
    names = [one.name for one in fields(OrganSaid) if one.name != "reasons"]
    return tuple(
        OrganSaid(reasons=tuple(row.reasons.split()), **{name: getattr(row, name) for name in names})
        for row in rows
    )
