"""Which case is kept for what, and the sets that are frozen."""

from __future__ import annotations

from dataclasses import asdict, replace

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from models.errors import Refused
from models.series.acquisition import Acquisition
from models.words import storable
from services.records.entries.cases import (
    Case,
    ErasedCase,
    Erasure,
    FrozenSet,
    Purpose,
    manifest_digest,
    manifest_of,
)
from services.records.events.cases import CaseAdded, PatientErased, SetFrozen
from services.records.guarded import RowKey
from services.records.tables import CaseRow, ErasedPatientRow, FrozenSetRow, PatientRow
from services.records.transactions import Transactions, insert_new


class SqlCases(Transactions):
    """Which case is kept for what, and the sets that are frozen."""

    def add_case(self, case: Case) -> None:
        """Take a case into the set of its purpose."""
        case = storable(case)
        with self._transaction() as session:
            known = session.get(CaseRow, case.case_id)
            if known is not None:
                # What the headers say of the acquisition was not asked of older cases.
                if replace(_case(known), acquisition=case.acquisition) != case:
                    raise Refused("case-changed", f"case {case.case_id} is on record with other content")
                return
            if session.get(ErasedPatientRow, case.patient) is not None:
                raise Refused("patient-erased", "the patient was taken out, and is kept for nothing again")
            insert_new(session, PatientRow, unique="patient", patient=case.patient, purpose=case.purpose)
            kept_for = session.get_one(PatientRow, case.patient).purpose
            if kept_for != case.purpose:
                raise Refused(
                    "patient-leak",
                    f"the patient of case {case.case_id} is kept for {kept_for}, not {case.purpose}",
                )
            insert_new(session, CaseRow, **asdict(case))
            changed = [(PatientRow, (case.patient,)), (CaseRow, (case.case_id,))]
            self._add_event(session, CaseAdded(**asdict(case)), "cases", changed=changed)

    def cases(self, purpose: Purpose) -> tuple[Case, ...]:
        """Return the cases kept for a purpose, by identifier."""
        with self._transaction() as session:
            return _cases(session, purpose)

    def erase_patient(self, patient: str, *, who: str, reason: str) -> Erasure:
        """Take a patient out of every set, and refuse the patient from then on."""
        who, reason = storable((who, reason))
        with self._transaction() as session:
            known = session.get(ErasedPatientRow, patient)
            if known is not None:
                return Erasure(patient, tuple(ErasedCase(**case) for case in known.cases), known.thawed)
            rows = session.scalars(select(CaseRow).filter_by(patient=patient).order_by(CaseRow.case_id)).all()
            cases = tuple(ErasedCase(row.case_id, row.digest, row.purpose) for row in rows)
            thawed: dict[str, str] = {}
            for row in rows:
                frozen = _newest(session, Purpose(row.purpose))
                if frozen is not None and any(one["case_id"] == row.case_id for one in frozen.manifest):
                    thawed[row.purpose] = frozen.digest
            session.execute(delete(CaseRow).filter_by(patient=patient))
            session.execute(delete(PatientRow).filter_by(patient=patient))
            session.add(
                ErasedPatientRow(
                    patient=patient,
                    who=who,
                    reason=reason,
                    cases=[asdict(case) for case in cases],
                    thawed=thawed,
                    erased_at=self._now(),
                )
            )
            erased = PatientErased(patient=patient, reason=reason, cases=cases, thawed=thawed)
            changed: list[RowKey] = [(table, (patient,)) for table in (PatientRow, ErasedPatientRow)]
            changed += [(CaseRow, (case.case_id,)) for case in cases]
            self._add_event(session, erased, who, changed=changed)
            return Erasure(patient, cases, thawed)

    def erased(self, patient: str) -> bool:
        """Tell whether a patient was taken out."""
        with self._transaction() as session:
            return session.get(ErasedPatientRow, patient) is not None

    def freeze(self, purpose: Purpose) -> FrozenSet:
        """Freeze a set as it is: the newest version if nothing has changed since, else the next."""
        with self._transaction() as session:
            manifest = manifest_of(_cases(session, purpose))
            if not manifest:
                raise Refused("empty-set", f"the {purpose} set has no case")
            newest = _newest(session, purpose)
            if newest is not None and tuple(newest.manifest) == manifest:
                return _frozen(newest)
            version = 1 if newest is None else newest.version + 1
            digest = manifest_digest(manifest)
            row = FrozenSetRow(
                purpose=purpose,
                version=version,
                digest=digest,
                manifest=[dict(case) for case in manifest],
                frozen_at=self._now(),
            )
            session.add(row)
            event = SetFrozen(purpose=purpose, version=version, digest=digest, cases=len(manifest))
            self._add_event(session, event, "cases", changed=[(FrozenSetRow, (purpose, version))])
            return _frozen(row)

    def frozen(self, purpose: Purpose, version: int | None = None) -> FrozenSet | None:
        """Return a version of a frozen set, by default the newest."""
        with self._transaction() as session:
            if version is None:
                row = _newest(session, purpose)
            else:
                row = session.get(FrozenSetRow, (purpose, version))
            return None if row is None else _frozen(row)


def _newest(session: Session, purpose: Purpose) -> FrozenSetRow | None:
    rows = select(FrozenSetRow).filter_by(purpose=purpose).order_by(FrozenSetRow.version.desc())
    return session.scalars(rows.limit(1)).first()


def _frozen(row: FrozenSetRow) -> FrozenSet:
    return FrozenSet(Purpose(row.purpose), row.version, row.digest, tuple(row.manifest), row.frozen_at)


def _cases(session: Session, purpose: Purpose) -> tuple[Case, ...]:
    rows = session.scalars(select(CaseRow).filter_by(purpose=purpose).order_by(CaseRow.case_id))
    return tuple(_case(row) for row in rows)


def _case(row: CaseRow) -> Case:
    return Case(
        case_id=row.case_id,
        purpose=Purpose(row.purpose),
        patient=row.patient,
        origin=row.origin,
        digest=row.digest,
        site=row.site,
        acquisition=Acquisition(**row.acquisition),
    )
