"""The tables of the records. A change here needs a migration; a test compares the two."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator

from models.uids import SeriesUid, SopUid, StudyUid

UID = String(64)
DIGEST = String(64)
WORD = String(64)
NAME = String(80)
"""Of a version of a correction: a UID, and a number behind it."""


Json = dict[str, Any]
"""What a column of JSON holds."""


class Instant(TypeDecorator[datetime]):
    """A time with its offset from UTC, as ISO 8601 text: the same in every database, to the microsecond."""

    impl = String(32)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> str | None:
        """Return the text that is stored; a time without offset is a mistake of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time on record needs its offset from UTC")
        return value.isoformat()

    def process_result_value(self, value: str | None, dialect: Dialect) -> datetime | None:
        """Return the time of a stored text."""
        return None if value is None else datetime.fromisoformat(value)


class Table(DeclarativeBase):
    """Base of all tables; constraints have names, so that migrations can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: Instant,
        float: Double,
        Json: JSON,
        list[Json]: JSON,
    }


class FirstWriting(Table):
    """When a result was written first; known before its objects are."""

    __tablename__ = "first_writings"

    key: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    written_at: Mapped[datetime]


class ResultRow(Table):
    """A result that was stored."""

    __tablename__ = "results"

    key: Mapped[str] = mapped_column(ForeignKey("first_writings.key"), primary_key=True)
    study_uid: Mapped[StudyUid] = mapped_column(UID, index=True)
    series_uid: Mapped[SeriesUid] = mapped_column(UID)
    release: Mapped[int]


class ResultObjectRow(Table):
    """One object of a result."""

    __tablename__ = "result_objects"

    sop_instance_uid: Mapped[SopUid] = mapped_column(UID, primary_key=True)
    result_key: Mapped[str] = mapped_column(ForeignKey("results.key"), index=True)
    kind: Mapped[str] = mapped_column(WORD)


class CorrectionRow(Table):
    """One version of a correction that came in."""

    __tablename__ = "corrections"
    __table_args__ = (UniqueConstraint("sop_instance_uid", "version"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    sop_instance_uid: Mapped[SopUid] = mapped_column(UID)
    version: Mapped[int]
    sent_uid: Mapped[SopUid] = mapped_column(UID, index=True)
    study_uid: Mapped[StudyUid] = mapped_column(UID, index=True)
    series_uid: Mapped[SeriesUid] = mapped_column(UID, index=True)
    release: Mapped[int | None] = mapped_column(index=True)
    status: Mapped[str] = mapped_column(WORD)
    reader: Mapped[str]
    viewer: Mapped[str]
    questions: Mapped[list[Json]]
    content: Mapped[str] = mapped_column(DIGEST)
    scope: Mapped[str] = mapped_column(WORD)
    answers: Mapped[list[Json]]
    saved_at: Mapped[str | None] = mapped_column(WORD)
    recorded_at: Mapped[datetime]


class OrganLedgerRow(Table):
    """What one correction did to one organ; `position` keeps the ledger's order."""

    __tablename__ = "organ_ledgers"

    correction_id: Mapped[int] = mapped_column(ForeignKey("corrections.id"), primary_key=True)
    organ: Mapped[str] = mapped_column(WORD, primary_key=True)
    position: Mapped[int]
    state: Mapped[str] = mapped_column(WORD)
    added_voxels: Mapped[int]
    removed_voxels: Mapped[int]
    by_overpaint_voxels: Mapped[int]
    added_ml: Mapped[float]
    removed_ml: Mapped[float]
    surface_mm: Mapped[float | None]
    origin: Mapped[str | None] = mapped_column(WORD)


class AcceptanceRow(Table):
    """A reader's act: this organ of this result is right."""

    __tablename__ = "acceptances"

    series_uid: Mapped[SeriesUid] = mapped_column(UID, primary_key=True)
    release: Mapped[int] = mapped_column(primary_key=True)
    organ: Mapped[str] = mapped_column(WORD, primary_key=True)
    reader: Mapped[str] = mapped_column(primary_key=True)
    study_uid: Mapped[StudyUid] = mapped_column(UID)
    accepted_at: Mapped[datetime]


class WithdrawalRow(Table):
    """An act: this content of a correction is taken back."""

    __tablename__ = "withdrawals"

    sop_instance_uid: Mapped[SopUid] = mapped_column(UID, primary_key=True)
    content: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    reader: Mapped[str]
    reason: Mapped[str]
    withdrawn_at: Mapped[datetime]


class AgreementRow(Table):
    """How far two readers agree on one organ, by the names of their corrections."""

    __tablename__ = "agreements"

    first: Mapped[str] = mapped_column(NAME, primary_key=True)
    second: Mapped[str] = mapped_column(NAME, primary_key=True)
    organ: Mapped[str] = mapped_column(WORD, primary_key=True)
    dsc: Mapped[float | None]


class ReleaseRow(Table):
    """How far a release has come."""

    __tablename__ = "releases"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(DIGEST)
    state: Mapped[str] = mapped_column(WORD)


class IncumbentRow(Table):
    """The release that serves: the one row of this table."""

    __tablename__ = "incumbent"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    release: Mapped[int]
    approver: Mapped[str]
    reason: Mapped[str]
    since: Mapped[datetime]


class PatientRow(Table):
    """The one purpose a patient's cases are kept for: what makes a leak impossible, not just found."""

    __tablename__ = "patients"
    __table_args__ = (UniqueConstraint("patient", "purpose"),)

    patient: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    purpose: Mapped[str] = mapped_column(WORD)


class CaseRow(Table):
    """A case and the set it is in."""

    __tablename__ = "cases"
    __table_args__ = (ForeignKeyConstraint(["patient", "purpose"], ["patients.patient", "patients.purpose"]),)

    case_id: Mapped[str] = mapped_column(primary_key=True)
    purpose: Mapped[str] = mapped_column(WORD, index=True)
    patient: Mapped[str] = mapped_column(DIGEST)
    origin: Mapped[str] = mapped_column(WORD)
    digest: Mapped[str] = mapped_column(DIGEST)
    site: Mapped[str]
    acquisition: Mapped[Json]


class ErasedPatientRow(Table):
    """A patient who was taken out, and what was kept then: files are deleted after the row is written."""

    __tablename__ = "erased_patients"

    patient: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    who: Mapped[str]
    reason: Mapped[str]
    cases: Mapped[list[Json]]
    thawed: Mapped[Json]
    erased_at: Mapped[datetime]


class FrozenSetRow(Table):
    """One version of a set as it was frozen: its manifest and the manifest's digest."""

    __tablename__ = "frozen_sets"

    purpose: Mapped[str] = mapped_column(WORD, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    digest: Mapped[str] = mapped_column(DIGEST)
    manifest: Mapped[list[Json]]
    frozen_at: Mapped[datetime]


class FeedRow(Table):
    """Where the archive's feed was read to, and the day of the last sweep: the one row of this table."""

    __tablename__ = "feed"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    cursor: Mapped[int] = mapped_column(BigInteger)
    swept_on: Mapped[str] = mapped_column(String(10))


class WatchRow(Table):
    """When the archive was watched last, and what was in the way: the one row of this table."""

    __tablename__ = "watch"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    trouble: Mapped[str]


class WitnessRow(Table):
    """Who was told the head of the log last, and what was in the way since."""

    __tablename__ = "witnesses"

    name: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int]
    digest: Mapped[str] = mapped_column(DIGEST)
    told_at: Mapped[datetime | None]
    trouble: Mapped[str]


class ArrivalRow(Table):
    """A study that came, or a SEG that is not ours, and how far it has come."""

    __tablename__ = "arrivals"

    uid: Mapped[StudyUid | SopUid] = mapped_column(UID, primary_key=True)
    study_uid: Mapped[StudyUid] = mapped_column(UID, index=True)
    state: Mapped[str] = mapped_column(WORD, index=True)
    version: Mapped[str] = mapped_column(DIGEST)
    instances: Mapped[int]
    urgent: Mapped[bool]
    attempts: Mapped[int]
    interrupted: Mapped[int] = mapped_column(server_default="0")
    run: Mapped[str] = mapped_column(WORD)
    code: Mapped[str] = mapped_column(WORD, index=True)
    detail: Mapped[str]
    patient: Mapped[str] = mapped_column(DIGEST)
    touched: Mapped[bool] = mapped_column(index=True)
    came_at: Mapped[datetime]
    changed_at: Mapped[datetime]
    revision: Mapped[int]


class ListedRow(Table):
    """A study on the worklist, and how far it has come with the readers."""

    __tablename__ = "worklist"
    __table_args__ = (Index("ix_worklist_place", "state", "rank", "minus_doubt_ml", "came_ms", "study_uid"),)

    study_uid: Mapped[StudyUid] = mapped_column(UID, primary_key=True)
    series_uid: Mapped[SeriesUid] = mapped_column(UID)
    result: Mapped[str] = mapped_column(DIGEST, index=True)
    release: Mapped[int]
    seg_series_uid: Mapped[SeriesUid] = mapped_column(UID)
    page: Mapped[str] = mapped_column(WORD, unique=True)
    patient: Mapped[str] = mapped_column(DIGEST, index=True)
    site: Mapped[str]
    rank: Mapped[int]
    minus_doubt_ml: Mapped[float]
    """The more doubt the sooner: all of an index goes one way."""
    audited: Mapped[bool]
    came_ms: Mapped[int] = mapped_column(BigInteger)
    state: Mapped[str] = mapped_column(WORD)
    holder: Mapped[str]
    holder_name: Mapped[str]
    held_ms: Mapped[int] = mapped_column(BigInteger)


class FindingRow(Table):
    """What was said of one organ of a listed result; between `reasons` are blanks."""

    __tablename__ = "findings"

    result: Mapped[str] = mapped_column(ForeignKey("results.key"), primary_key=True)
    organ: Mapped[str] = mapped_column(WORD, primary_key=True)
    position: Mapped[int]
    patient: Mapped[str] = mapped_column(DIGEST, index=True)
    presence: Mapped[str] = mapped_column(WORD)
    flag: Mapped[str | None] = mapped_column(WORD)
    reasons: Mapped[str]
    cut_by_field_of_view: Mapped[bool]
    volume_ml: Mapped[float]
    dsc_lower_bound: Mapped[float | None]
    confidence: Mapped[float | None]
    band_ml: Mapped[float | None]
    importance_ml: Mapped[float | None]
    segment: Mapped[int | None]
    figures: Mapped[list[Json] | None] = mapped_column(JSON(none_as_null=True))
    """Empty where an earlier version listed it."""


class OpinionRow(Table):
    """What a reader said of an organ without drawing; the last word of each reader holds."""

    __tablename__ = "opinions"

    id: Mapped[int] = mapped_column(primary_key=True)
    result: Mapped[str] = mapped_column(ForeignKey("results.key"), index=True)
    study_uid: Mapped[StudyUid] = mapped_column(UID, index=True)
    release: Mapped[int]
    patient: Mapped[str] = mapped_column(DIGEST, index=True)
    organ: Mapped[str] = mapped_column(WORD)
    opinion: Mapped[str] = mapped_column(WORD)
    why: Mapped[str] = mapped_column(WORD)
    seen: Mapped[str] = mapped_column(WORD)
    together: Mapped[int]
    reader: Mapped[str]
    subject: Mapped[str]
    issuer: Mapped[str]
    at: Mapped[datetime]


class ReadingTimeRow(Table):
    """How long somebody had a result open, without the idle time, and whether in the viewer."""

    __tablename__ = "reading_times"

    result: Mapped[str] = mapped_column(ForeignKey("results.key"), primary_key=True)
    holder: Mapped[str] = mapped_column(primary_key=True)
    patient: Mapped[str] = mapped_column(DIGEST, index=True)
    seconds: Mapped[float]
    viewer: Mapped[bool]
    last_ms: Mapped[int] = mapped_column(BigInteger)


class LeaseRow(Table):
    """Who may do a thing now; the row outlives its holders, so that the token only grows."""

    __tablename__ = "leases"

    name: Mapped[str] = mapped_column(String(128), primary_key=True)
    holder: Mapped[str]
    token: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger)
    """Milliseconds since 1970, by the database's clock."""


def said(name: str) -> str:
    """Return the SQL for a field of an event's payload, as text; the indices below are made of the same."""
    return f"CAST(payload ->> '{name}' AS TEXT)"


class EventRow(Table):
    """What happened, each row chained to the one before; triggers forbid changing or deleting it."""

    __tablename__ = "events"
    __table_args__ = (
        Index("ix_events_what", "what", "number"),
        Index("ix_events_who", "who", "number"),
        Index("ix_events_at", "at", "number"),
        Index("ix_events_release", "what", text(f"({said('release')})")),
        Index("ix_events_study_uid", "what", text(f"({said('study_uid')})")),
        Index("ix_events_of_release", text(f"({said('release')})"), "number"),
        Index("ix_events_of_study", text(f"({said('study_uid')})"), "number"),
    )

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    key: Mapped[str | None] = mapped_column(unique=True)
    at: Mapped[datetime]
    what: Mapped[str] = mapped_column(WORD)
    who: Mapped[str]
    payload: Mapped[Json]
    previous: Mapped[str] = mapped_column(DIGEST)
    digest: Mapped[str] = mapped_column(DIGEST)
