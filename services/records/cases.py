"""Which case is kept for what, and the sets that are frozen."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.errors import Refused
from services.records.port import Case, Purpose, manifest_digest
from services.records.tables import CaseRow, FrozenSetRow, PatientRow
from services.records.transactions import Transactions, insert_new


class SqlCases(Transactions):
    """Which case is kept for what, and the sets that are frozen."""

    def add_case(self, case: Case) -> None:
        """Take a case into the set of its purpose."""
        with self._transaction() as session:
            known = session.get(CaseRow, case.case_id)
            if known is not None:
                if _case(known) != case:
                    raise Refused("case-changed", f"case {case.case_id} is on record with other content")
                return
            if session.get(FrozenSetRow, case.purpose) is not None:
                raise Refused("set-frozen", f"the {case.purpose} set is frozen")
            insert_new(session, PatientRow, unique="patient", patient=case.patient, purpose=case.purpose)
            kept_for = session.get_one(PatientRow, case.patient).purpose
            if kept_for != case.purpose:
                raise Refused(
                    "patient-leak",
                    f"the patient of case {case.case_id} is kept for {kept_for}, not {case.purpose}",
                )
            insert_new(session, CaseRow, **asdict(case))
            self._add_event(session, "case-added", "cases", asdict(case))

    def cases(self, purpose: Purpose) -> tuple[Case, ...]:
        """Return the cases kept for a purpose, by identifier."""
        with self._transaction() as session:
            return _cases(session, purpose)

    def freeze(self, purpose: Purpose) -> str:
        """Freeze a set; return the digest of its manifest, the same ever after."""
        with self._transaction() as session:
            frozen = session.get(FrozenSetRow, purpose)
            if frozen is not None:
                return frozen.digest
            cases = _cases(session, purpose)
            if not cases:
                raise Refused("empty-set", f"the {purpose} set has no case")
            digest = manifest_digest(cases)
            session.add(FrozenSetRow(purpose=purpose, digest=digest, frozen_at=self._now()))
            payload = {"set": purpose, "digest": digest, "cases": len(cases)}
            self._add_event(session, "set-frozen", "cases", payload)
            return digest

    def frozen(self, purpose: Purpose) -> str | None:
        """Return the manifest digest of a frozen set, None while it is open."""
        with self._transaction() as session:
            row = session.get(FrozenSetRow, purpose)
            return None if row is None else row.digest


def _cases(session: Session, purpose: Purpose) -> tuple[Case, ...]:
    rows = session.scalars(select(CaseRow).filter_by(purpose=purpose).order_by(CaseRow.case_id))
    return tuple(_case(row) for row in rows)


def _case(row: CaseRow) -> Case:
    return Case(row.case_id, Purpose(row.purpose), row.patient, row.origin, row.digest, row.site)
