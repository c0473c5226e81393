"""Rows that a version without seals wrote after this one: an update that was taken back, and made again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text

from services.records.log import recorded
from services.records.seals import SealedRows, sealed_rows
from services.records.store import SqlRecords, open_records
from tests.contract.test_rows_sealed import NOON, fill
from tests.support.log import write_line

LATER = {"since": NOON.isoformat(), "release": 7, "approver": "IT", "reason": "by the older version"}


@pytest.fixture
def records(url: str) -> Iterator[SqlRecords]:
    opened = open_records(url, clock=lambda: NOON)
    fill(opened)
    yield opened
    opened.close()


def look(records: SqlRecords) -> SealedRows:
    events = [one for one in map(recorded, records.lines()) if one is not None]
    return sealed_rows(events, records.guarded_rows())


def does(records: SqlRecords, statement: str, values: dict[str, Any] | None = None) -> None:
    with records._engine.begin() as connection:
        connection.execute(text(statement), values or {})


def promoted_by_an_older_version(records: SqlRecords) -> None:
    does(
        records,
        "UPDATE incumbent SET release = :release, approver = :approver, reason = :reason, since = :since",
        LATER,
    )
    act = {"from": 1, "to": 7, "reason": LATER["reason"], "act": "promotion"}
    write_line(records, "incumbent-changed", who="IT", payload=act)


def test_what_an_older_version_changed_is_as_its_event_says_and_is_sealed_once(records: SqlRecords) -> None:
    promoted_by_an_older_version(records)
    found = look(records)
    assert (found.faults, [row.name for row in found.older]) == ((), ["incumbent:[1]"])
    assert records.seal_rows("organloop prepare") == 1
    assert records.seal_rows("organloop prepare") == 0
    assert look(records) == SealedRows()
    does(records, "UPDATE incumbent SET reason = 'another'")
    assert [one.what for one in look(records).faults] == ["incumbent:[1]"]


@contextmanager
def asked(records: SqlRecords) -> Iterator[list[str]]:
    """Collect the questions that the database is asked."""
    statements: list[str] = []

    def note(_: object, __: object, statement: str, *___: object) -> None:
        statements.append(statement)

    event.listen(records._engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(records._engine, "before_cursor_execute", note)


def test_rows_are_read_for_sealing_only_after_an_older_version(records: SqlRecords) -> None:
    for older, sealed in ((False, 0), (True, 1), (False, 0)):
        if older:
            promoted_by_an_older_version(records)
        with asked(records) as statements:
            assert records.seal_rows("organloop prepare") == sealed
        assert any("FROM organ_ledgers" in one for one in map(" ".join, map(str.split, statements))) is older


def test_an_agreement_without_a_digest_counts_as_older_whoever_wrote_it(records: SqlRecords) -> None:
    promoted_by_an_older_version(records)
    does(records, "INSERT INTO agreements (first, second, organ, dsc) VALUES ('1.5', '1.7', 'liver', 0.1)")
    assert look(records).faults == ()
    assert len(look(records).older) == 2


def test_what_its_event_does_not_say_is_a_fault_and_is_never_sealed(records: SqlRecords) -> None:
    promoted_by_an_older_version(records)
    does(records, "UPDATE incumbent SET approver = 'Dr C'")
    does(records, "INSERT INTO releases (number, digest, state) VALUES (9, 'd', 'promoted')")
    for _ in range(2):
        assert {one.what for one in look(records).faults} == {"incumbent:[1]", "releases:[9]"}
        assert records.seal_rows("organloop prepare") == 0


def test_where_every_event_names_digests_a_row_without_one_is_a_fault(records: SqlRecords) -> None:
    does(records, "INSERT INTO agreements (first, second, organ, dsc) VALUES ('1.5', '1.7', 'liver', 0.1)")
    assert [one.code for one in look(records).faults] == ["row-unknown"]
    assert records.seal_rows("organloop prepare") == 0
