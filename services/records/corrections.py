"""What readers corrected and accepted."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.corrections import OrganLedger, OrganState, origin_of
from services.records.port import Correction
from services.records.tables import AcceptanceRow, CorrectionRow, OrganLedgerRow
from services.records.transactions import Transactions, insert_new


class SqlCorrections(Transactions):
    """What readers corrected and accepted."""

    def record_correction(self, correction: Correction) -> bool:
        """Record a correction, its ledger and its questions; tell whether it was new."""
        with self._transaction() as session:
            values = {name.name: getattr(correction, name.name) for name in fields(correction)}
            organs, questions = values.pop("organs"), [dict(one) for one in values.pop("questions")]
            new = insert_new(
                session,
                CorrectionRow,
                unique="sop_instance_uid",
                questions=questions,
                recorded_at=self._now(),
                **values,
            )
            if not new:
                return False
            row = session.scalars(
                select(CorrectionRow).filter_by(sop_instance_uid=correction.sop_instance_uid)
            ).one()
            for position, entry in enumerate(organs):
                origin = None if correction.release is None else origin_of(entry.state, correction.release)
                session.add(
                    OrganLedgerRow(correction_id=row.id, position=position, origin=origin, **asdict(entry))
                )
            payload = {
                "sop_instance_uid": correction.sop_instance_uid,
                "study_uid": correction.study_uid,
                "status": correction.status,
                "edited": [entry.organ for entry in organs if entry.state is OrganState.EDITED],
                "questions": len(questions),
            }
            self._add_event(session, "correction-recorded", correction.reader or "unknown", payload)
            return True

    def corrections_since(self, release: int) -> tuple[Correction, ...]:
        """Return the corrections of results of this and later releases, in order of arrival."""
        with self._transaction() as session:
            rows = session.scalars(
                select(CorrectionRow).where(CorrectionRow.release >= release).order_by(CorrectionRow.id)
            )
            return tuple(_correction(session, row) for row in rows)

    def record_acceptance(self, study_uid: str, release: int, organs: Collection[str], reader: str) -> None:
        """Record that a reader accepts these organs of a release's result as they are."""
        with self._transaction() as session:
            new = [
                organ
                for organ in organs
                if insert_new(
                    session,
                    AcceptanceRow,
                    study_uid=study_uid,
                    release=release,
                    organ=organ,
                    reader=reader,
                    accepted_at=self._now(),
                )
            ]
            if new:
                payload = {"study_uid": study_uid, "release": release, "organs": new}
                self._add_event(session, "organs-accepted", reader, payload)

    def accepted_organs(self, study_uid: str, release: int) -> frozenset[str]:
        """Return the organs that readers accepted of a release's result."""
        with self._transaction() as session:
            acts = select(AcceptanceRow.organ).filter_by(study_uid=study_uid, release=release)
            return frozenset(session.scalars(acts))


def _correction(session: Session, row: CorrectionRow) -> Correction:
    entries = session.scalars(
        select(OrganLedgerRow).filter_by(correction_id=row.id).order_by(OrganLedgerRow.position)
    )
    names = [one.name for one in fields(OrganLedger) if one.name != "state"]
    organs = tuple(
        OrganLedger(state=OrganState(entry.state), **{name: getattr(entry, name) for name in names})
        for entry in entries
    )
    names = [one.name for one in fields(Correction) if one.name not in ("organs", "questions")]
    values = {name: getattr(row, name) for name in names}
    return Correction(organs=organs, questions=tuple(row.questions), **values)
