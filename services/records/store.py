"""The records in a SQL database."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models.corrections import OrganLedger, OrganState, origin_of
from models.errors import Refused, StorageFailed
from services.records.database import connect, upgrade
from services.records.port import (
    Case,
    Correction,
    Event,
    Purpose,
    ReleaseState,
    Result,
    manifest_digest,
)
from services.records.tables import (
    AcceptanceRow,
    CaseRow,
    CorrectionRow,
    EventRow,
    FirstWriting,
    FrozenSetRow,
    IncumbentRow,
    OrganLedgerRow,
    PatientRow,
    ReleaseRow,
    ResultObjectRow,
    ResultRow,
    Table,
)

Clock = Callable[[], datetime]


def local_now() -> datetime:
    """Return the time, with the site's offset from UTC."""
    return datetime.now(UTC).astimezone()


def open_records(url: str, clock: Clock = local_now) -> SqlRecords:
    """Open the records at a SQLAlchemy address, their schema brought up to date.

    Raises
    ------
    StorageFailed
        If the database cannot be reached or written.
    """
    engine = connect(url)
    with _as_storage_failure():
        upgrade(engine)
    return SqlRecords(engine, clock)


class SqlRecords:
    """The port `services.records.port.Records` on SQLite or PostgreSQL.

    Parameters
    ----------
    engine
        From `services.records.database.connect`, upgraded.
    clock
        Gives the times on record; they keep their offset from UTC.
    """

    def __init__(self, engine: Engine, clock: Clock = local_now) -> None:
        self._engine = engine
        self._now = clock

    def close(self) -> None:
        """Let go of the database's connections."""
        self._engine.dispose()

    # Results -----------------------------------------------------------------------------------

    def first_written(self, key: str, proposed: datetime) -> datetime:
        """Return the time first proposed for a result's key."""
        with self._transaction() as session:
            _insert_new(session, FirstWriting, key=key, written_at=proposed)
            return session.scalars(select(FirstWriting.written_at).filter_by(key=key)).one()

    def record_result(
        self, key: str, *, study_uid: str, series_uid: str, release: int, objects: Mapping[str, str]
    ) -> None:
        """Record a result whose time `first_written` has given."""
        with self._transaction() as session:
            if session.get(FirstWriting, key) is None:
                raise ValueError(f"no time is on record for result {key}")
            new = _insert_new(
                session, ResultRow, key=key, study_uid=study_uid, series_uid=series_uid, release=release
            )
            for kind, uid in objects.items():
                _insert_new(session, ResultObjectRow, sop_instance_uid=uid, result_key=key, kind=kind)
            if new:
                payload = {"key": key, "study_uid": study_uid, "release": release, "objects": dict(objects)}
                self._add_event(session, "result-recorded", "segment_study", payload)

    def find_result(self, sop_instance_uid: str) -> Result | None:
        """Return the result one of whose objects has this SOP Instance UID."""
        with self._transaction() as session:
            member = session.get(ResultObjectRow, sop_instance_uid)
            return None if member is None else _result(session, session.get_one(ResultRow, member.result_key))

    def latest_result(self, study_uid: str) -> Result | None:
        """Return the result of a study that was written last."""
        with self._transaction() as session:
            rows = session.scalars(select(ResultRow).filter_by(study_uid=study_uid))
            found = [_result(session, row) for row in rows]
            return max(found, key=lambda result: (result.written_at, result.release), default=None)

    # Corrections -------------------------------------------------------------------------------

    def record_correction(self, correction: Correction) -> bool:
        """Record a correction, its ledger and its questions; tell whether it was new."""
        with self._transaction() as session:
            values = {name.name: getattr(correction, name.name) for name in fields(correction)}
            organs, questions = values.pop("organs"), [dict(one) for one in values.pop("questions")]
            new = _insert_new(
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
                if _insert_new(
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

    # Releases ----------------------------------------------------------------------------------

    def record_release(self, number: int, digest: str, state: ReleaseState) -> None:
        """Record a release, or how far it has come."""
        with self._transaction() as session:
            new = _insert_new(session, ReleaseRow, number=number, digest=digest, state=state)
            row = session.get_one(ReleaseRow, number)
            if row.digest != digest:
                raise ValueError(f"release {number} is on record with digest {row.digest}, not {digest}")
            if new or row.state != state:
                row.state = state
                payload = {"release": number, "digest": digest, "state": state}
                self._add_event(session, "release-state", "records", payload)

    def release_states(self) -> dict[int, ReleaseState]:
        """Return the state of every release on record, by number."""
        with self._transaction() as session:
            rows = session.scalars(select(ReleaseRow).order_by(ReleaseRow.number))
            return {row.number: ReleaseState(row.state) for row in rows}

    def incumbent(self) -> int | None:
        """Return the number of the release that serves; None before the first."""
        with self._transaction() as session:
            return session.scalars(select(IncumbentRow.release)).one_or_none()

    def set_incumbent(
        self, release: int, *, approver: str, reason: str, replacing: int | None = None
    ) -> None:
        """Make a release the incumbent, in one transaction with its event."""
        values: dict[str, Any] = {
            "release": release,
            "approver": approver,
            "reason": reason,
            "since": self._now(),
        }
        with self._transaction() as session:
            first = _insert_new(session, IncumbentRow, id=1, **values)
            row = session.get_one(IncumbentRow, 1, with_for_update=True)
            before = None if first else row.release
            if before == release:
                return
            if replacing is not None and before != replacing:
                raise Refused("incumbent-changed", f"release {before} serves by now, not {replacing}")
            session.execute(update(IncumbentRow).values(**values))
            payload = {"from": before, "to": release, "reason": reason}
            self._add_event(session, "incumbent-changed", approver, payload)

    # Cases -------------------------------------------------------------------------------------

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
            _insert_new(session, PatientRow, unique="patient", patient=case.patient, purpose=case.purpose)
            kept_for = session.get_one(PatientRow, case.patient).purpose
            if kept_for != case.purpose:
                raise Refused(
                    "patient-leak",
                    f"the patient of case {case.case_id} is kept for {kept_for}, not {case.purpose}",
                )
            _insert_new(session, CaseRow, **asdict(case))
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

    # Events ------------------------------------------------------------------------------------

    def event(
        self, what: str, *, who: str, payload: Mapping[str, Any] | None = None, key: str | None = None
    ) -> None:
        """Record that something happened; with a key, once only."""
        with self._transaction() as session:
            self._add_event(session, what, who, payload or {}, key)

    def events(self, what: str | None = None) -> tuple[Event, ...]:
        """Return all events, or those of one kind, in order."""
        wanted = select(EventRow).order_by(EventRow.number)
        with self._transaction() as session:
            rows = session.scalars(wanted if what is None else wanted.filter_by(what=what))
            return tuple(Event(row.number, row.at, row.what, row.who, row.payload) for row in rows)

    def _add_event(
        self, session: Session, what: str, who: str, payload: Mapping[str, Any], key: str | None = None
    ) -> None:
        values = {"what": what, "who": who, "payload": dict(payload), "at": self._now(), "key": key}
        _insert_new(session, EventRow, unique="key", **values)

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with _as_storage_failure(), Session(self._engine, autoflush=True) as session, session.begin():
            yield session


@contextmanager
def _as_storage_failure() -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise StorageFailed(f"the records cannot be reached or written: {error.orig}") from error


def _insert_new(session: Session, table: type[Table], *, unique: str | None = None, **values: Any) -> bool:
    """Insert a row unless its key, or the unique column named, is there already; tell whether it was new."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    columns = [unique] if unique else [column.name for column in table.__table__.primary_key]
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing(index_elements=columns)
    return session.execute(statement.returning(*table.__table__.primary_key)).first() is not None


def _result(session: Session, row: ResultRow) -> Result:
    objects = session.scalars(
        select(ResultObjectRow).filter_by(result_key=row.key).order_by(ResultObjectRow.kind)
    )
    return Result(
        key=row.key,
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        release=row.release,
        objects={item.kind: item.sop_instance_uid for item in objects},
        written_at=session.get_one(FirstWriting, row.key).written_at,
    )


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


def _cases(session: Session, purpose: Purpose) -> tuple[Case, ...]:
    rows = session.scalars(select(CaseRow).filter_by(purpose=purpose).order_by(CaseRow.case_id))
    return tuple(_case(row) for row in rows)


def _case(row: CaseRow) -> Case:
    return Case(row.case_id, Purpose(row.purpose), row.patient, row.origin, row.digest, row.site)
