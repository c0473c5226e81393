"""Every row that changes what is learnt, promoted or shown is as its event says, on both databases.

A table test: each column of each table is changed, each row taken out and another slipped in; whatever
guards nothing of the kind stands in `HOW_FAR_THE_WORK_HAS_COME`, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import JSON, Boolean, Column, Float, Integer, delete, insert, select, text, update
from sqlalchemy.orm import Session

from models.corrections.ledger import OrganLedger, OrganState
from models.corrections.opinions import Opinion, Seen
from models.errors import StorageFailed
from models.findings import Figure
from services.records.chain import chain_faults
from services.records.entries.cases import Case, Purpose
from services.records.entries.corrections import Agreement, Answer, Correction, OpenQuestion
from services.records.entries.releases import ReleaseState
from services.records.guarded import GUARDED, guarded_rows
from services.records.log import as_line, recorded
from services.records.seals import sealed_rows
from services.records.store import SqlRecords, open_records
from services.records.tables import EventRow, Instant, Table
from tests.support.listed import WEBER, listed, said
from tests.support.postgresql import new_database

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOW_FAR_THE_WORK_HAS_COME = {
    "arrivals": "the queue: what became of an arrival is an event of its own",
    "feed": "where the archive's feed is read next",
    "watch": "when the archive was watched last",
    "witnesses": "when a witness was told last; what it was told, it keeps itself",
    "leases": "who works on what now",
    "worklist": "the queue of the readers: what was listed and said are rows of their own",
    "reading_times": "how long somebody had a result open: told to that person, and in sums",
}
"""Tables of which nothing is learnt, promoted or shown."""

TABLES = Table.metadata.tables
COLUMNS = [
    (table, column.name)
    for table in (*(one.__tablename__ for one in GUARDED), "events")
    for column in TABLES[table].columns
]


FLAGGED = (said("liver", "review", "fragmented", figures=(Figure("fragmented", "pieces", 3, (1,)),)),)


def fill(records: SqlRecords) -> None:
    """Have something in every table that the log guards, and in every column of it."""
    records.record_release(1, "d" * 64, ReleaseState.PROMOTED)
    records.set_incumbent(1, approver="Dr B", reason="first")
    records.first_written("k", NOON)
    records.record_result(
        "k", study_uid="1.2", series_uid="1.2.1", release=1, objects={"organ-seg": "1.3", "report-sr": "1.4"}
    )
    drawn = OrganLedger("liver", OrganState.EDITED, 10, 5, 1, 0.1, 0.05, 1.5)
    first = Correction(
        sop_instance_uid="1.5",
        sent_uid="1.3",
        study_uid="1.2",
        series_uid="1.2.1",
        release=1,
        status="correction",
        reader="Dr A",
        viewer="OHIF",
        organs=(drawn,),
        questions=(OpenQuestion(3, "lump", ("liver",), "no-name"),),
        content="c" * 64,
        answers=(Answer("3=liver", "Dr A"),),
        saved_at="2026-03-01T12:00:00",
    )
    records.record_correction(first)
    records.list_study(listed(1, result="k", study_uid="1.2"), FLAGGED)
    records.give_opinion("k", ["liver"], Opinion.WRONG, reader=WEBER, why="missed", seen=Seen.PICTURES)
    records.record_agreement(Agreement("1.5", "1.6", "liver", 0.9))
    records.withdraw("1.5", reader="Dr A", reason="wrong patient")
    records.record_acceptance("1.2", "1.2.1", 1, ["spleen"], "Dr A")
    for name, patient in (("gate-1", "a" * 64), ("gate-2", "b" * 64)):
        records.add_case(Case(name, Purpose.GATE, patient, "independent", "1" * 64, "North"))
    records.freeze(Purpose.GATE)
    records.erase_patient("b" * 64, who="IT", reason="asked for it")
    records.record(_kept_once(), who="IT", key="gate-case-scored:gate-1")


def _kept_once() -> Any:
    from services.records.events.gate import CaseScored

    return CaseScored(case="gate-1", profile="cpu", scores={})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def records(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqlRecords]:
    """Records with something in each guarded table; each test takes back what it did."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('sealed') / 'records.sqlite'}"
    else:
        url = new_database(request.getfixturevalue("postgresql"), "sealed_rows")
    opened = open_records(url, clock=lambda: NOON)
    fill(opened)
    yield opened
    opened.close()


@contextmanager
def tampering(records: SqlRecords) -> Iterator[Session]:
    """Open a transaction of somebody who has the database to himself: nothing there holds him back."""
    with Session(records._engine, autoflush=False) as session:
        if session.get_bind().dialect.name == "postgresql":
            session.execute(text("SET LOCAL session_replication_role = replica"))
            session.execute(text("ALTER TABLE incumbent DROP CONSTRAINT ck_incumbent_one_row"))
        else:
            session.execute(text("PRAGMA defer_foreign_keys = ON"))
            session.execute(text("PRAGMA ignore_check_constraints = ON"))
            for trigger in ("events_unchanged", "events_kept"):
                session.execute(text(f"DROP TRIGGER {trigger}"))
        yield session
        session.rollback()


def faults(session: Session) -> set[str]:
    """Return what `audit verify` says of lines and rows, as this transaction sees them."""
    rows = session.scalars(
        select(EventRow).order_by(EventRow.number).execution_options(populate_existing=True)
    )
    lines = [as_line(row) for row in rows]
    found = {f"{one.code}: {one.what}" for one in chain_faults(lines)}
    try:
        events = [one for one in map(recorded, lines) if one is not None]
    except StorageFailed as error:
        return found | {f"line-unreadable: {error}"}
    return found | {f"{one.code}: {one.what}" for one in sealed_rows(events, guarded_rows(session)).faults}


def other(column: Column[Any], value: Any) -> Any:
    """Return another value of a column's type; of one that holds nothing, something."""
    if isinstance(column.type, Instant):
        return datetime(2020, 1, 1, tzinfo=UTC)
    if isinstance(column.type, JSON):
        return [{"another": 1}] if isinstance(value, list) else {"another": 1}
    if isinstance(column.type, Boolean):
        return not value
    if isinstance(column.type, Integer):
        return (value or 0) + 1000
    if isinstance(column.type, Float):
        return (value or 0.0) + 1e-9
    return "another"


def test_every_table_is_guarded_or_named_with_the_reason(records: SqlRecords) -> None:
    guarded = {one.__tablename__ for one in GUARDED} | {"events"}
    assert guarded | HOW_FAR_THE_WORK_HAS_COME.keys() == TABLES.keys()
    assert not guarded & HOW_FAR_THE_WORK_HAS_COME.keys()
    with tampering(records) as session:
        assert faults(session) == set(), "as it was written"
        for table in guarded:
            assert session.execute(select(TABLES[table])).first() is not None, f"nothing lies in {table}"


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=lambda name: str(name))
def test_a_changed_column_is_found(records: SqlRecords, table: str, column: str) -> None:
    there = TABLES[table].columns[column]
    with tampering(records) as session:
        row = session.execute(select(TABLES[table]).order_by(*TABLES[table].primary_key).limit(1)).mappings()
        was = row.one()
        here = [one == was[one.name] for one in TABLES[table].primary_key]
        session.execute(update(TABLES[table]).where(*here).values({column: other(there, was[column])}))
        assert faults(session)


@pytest.mark.parametrize(
    ("table", "column"), [(table, one) for table, one in COLUMNS if TABLES[table].columns[one].nullable]
)
def test_a_column_that_is_emptied_is_found(records: SqlRecords, table: str, column: str) -> None:
    with tampering(records) as session:
        session.execute(update(TABLES[table]).values({column: None}))
        assert faults(session)


def _take_out(session: Session, table: str) -> None:
    session.execute(delete(TABLES[table]))


def _slip_in(session: Session, table: str) -> None:
    row = dict(session.execute(select(TABLES[table]).limit(1)).mappings().one())
    for one in TABLES[table].primary_key:
        row[one.name] = other(one, row[one.name])
    if table == "first_writings":  # it counts with its result
        session.execute(update(TABLES["results"]).values(key=row["key"]))
    if table == "corrections":
        row["version"] += 1
    session.execute(insert(TABLES[table]).values(row))


@pytest.mark.parametrize("table", [one.__tablename__ for one in GUARDED])
@pytest.mark.parametrize("deed", [_take_out, _slip_in])
def test_a_row_taken_out_or_slipped_in_is_found(
    records: SqlRecords, table: str, deed: Callable[[Session, str], None]
) -> None:
    with tampering(records) as session:
        deed(session, table)
        assert any(table in fault for fault in faults(session))


def test_what_no_program_wrote_is_named_and_nothing_fails_over_it(records: SqlRecords) -> None:
    with tampering(records) as session:
        session.execute(text("UPDATE withdrawals SET withdrawn_at = 'yesterday'"))
        session.execute(text("UPDATE frozen_sets SET frozen_at = ''"))
        assert {one.split(":")[1].strip() for one in faults(session)} == {"withdrawals", "frozen_sets"}
