"""The log looked through, on SQLite and on a real PostgreSQL, also as its writer: who did what, and when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text

from models.corrections.ledger import OrganLedger, OrganState
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.chain_look import Looked, every_line, exported_lines, look_on
from services.records.entries.corrections import Correction
from services.records.entries.log import Sought
from services.records.events.corrections import CorrectionRecorded, CorrectionWithdrawn, OrgansAccepted
from services.records.events.operations import BackupFailed
from services.records.events.serving import IncumbentChanged
from services.records.store import SqlRecords, open_records
from tests.support.listed import NOON

AS_WRITER = True
"""On PostgreSQL the writer's rights are enough."""

STUDY, OTHER = StudyUid("1.2.1"), StudyUid("1.2.2")


@pytest.fixture
def records(url: str) -> Iterator[SqlRecords]:
    """Seven lines, the first two on one day and the others on the next."""
    now = NOON

    def clock() -> datetime:
        return now

    opened = open_records(url, clock=clock)
    opened.set_incumbent(1, approver="Dr. Ito", reason="first")
    opened.record_acceptance(STUDY, SeriesUid("1.3.1"), 1, ["liver"], "Dr. Weber")
    now = NOON + timedelta(hours=13)
    opened.record(BackupFailed(why="full"), who="backup")
    opened.record_correction(correction(STUDY, "1.5.1"))
    opened.record_correction(correction(OTHER, "1.5.2"))
    opened.set_incumbent(2, approver="Dr. Ito", reason="better")
    opened.withdraw(SopUid("1.5.1"), reader="Dr. Lang", reason="wrong patient")
    yield opened
    opened.close()


def correction(study: StudyUid, uid: str) -> Correction:
    drawn = (OrganLedger("liver", OrganState.EDITED, 1, 0, 0, 0.1, 0.0, 0.5),)
    seen = SopUid(f"{uid}.9"), study, SeriesUid(f"{study}.3")
    return Correction(SopUid(uid), *seen, 1, "correction", "Dr. Weber", "", drawn)


def found(records: SqlRecords, **sought: object) -> list[str]:
    return [line.what for line in records.sought(Sought(**sought))]  # type: ignore[arg-type]


SERVED, ACCEPTED, TAKEN_BACK = IncumbentChanged.what, OrgansAccepted.what, CorrectionWithdrawn.what
CORRECTED, FAILED = CorrectionRecorded.what, BackupFailed.what


def test_the_newest_come_first_and_a_page_goes_on_where_the_last_ended(records) -> None:
    every = records.sought(Sought(), at_most=1000)
    assert [line.number for line in every] == list(range(len(every), 0, -1))
    assert tuple(reversed(every)) == records.lines()
    pages, before = [], None
    while page := records.sought(Sought(), before=before, at_most=2):
        pages += page
        before = page[-1].number
    assert tuple(pages) == every


@pytest.mark.parametrize(
    ("sought", "kinds"),
    [
        ({"who": "Dr. Ito"}, [SERVED, SERVED]),
        ({"who": "Dr. Nobody"}, []),
        ({"what": CORRECTED}, [CORRECTED, CORRECTED]),
        ({"what": SERVED, "who": "Dr. Weber"}, []),
        ({"release": 1}, [SERVED, ACCEPTED, SERVED]),
        ({"release": 2}, [SERVED]),
        ({"release": 2, "what": ACCEPTED}, []),
        ({"study": STUDY}, [TAKEN_BACK, CORRECTED, ACCEPTED]),
        ({"study": OTHER}, [CORRECTED]),
        ({"study": StudyUid("1.5.1")}, []),
        ({"study": STUDY, "release": 1}, [ACCEPTED]),
        ({"last_day": "2026-03-01"}, [ACCEPTED, SERVED]),
        ({"first_day": "2026-03-02", "last_day": "2026-03-02", "who": "backup"}, [FAILED]),
        ({"first_day": "2026-03-02", "what": SERVED}, [SERVED]),
        ({"first_day": "2026-03-04"}, []),
        ({"last_day": "2026-02-28"}, []),
    ],
)
def test_lines_are_narrowed_by_who_act_release_study_and_day(records, sought, kinds) -> None:
    assert found(records, **sought) == kinds
    first = records.sought(Sought(**sought), at_most=1)
    assert [line.what for line in first] == kinds[:1]
    if first:
        rest = records.sought(Sought(**sought), before=first[0].number)
        assert [line.what for line in rest] == kinds[1:]


def test_names_lines_digests_and_kinds_are_found_one_by_one(records) -> None:
    assert records.names_in_log() == ("Dr. Ito", "Dr. Lang", "Dr. Weber", "backup")
    lines = {line.number: line for line in records.lines()}
    assert records.line(2) == lines[2]
    assert records.line(99) is None
    assert records.digests([1, 3, 99]) == {1: lines[1].digest, 3: lines[3].digest}
    assert records.kinds_since(0) == {line.what for line in lines.values()}
    assert records.kinds_since(len(lines) - 1) == {TAKEN_BACK}
    assert records.kinds_since(len(lines)) == frozenset()


def test_an_empty_log_has_nothing_to_look_through(url) -> None:
    empty = open_records(url)
    assert (empty.sought(Sought(first_day="2026-01-01")), empty.names_in_log()) == ((), ())
    assert look_on(empty, Looked()) == Looked()
    empty.close()


def test_a_look_goes_on_where_it_was_and_finds_what_was_changed_behind(records, url, monkeypatch) -> None:
    monkeypatch.setattr("services.records.chain_look.BATCH", 3)
    first = look_on(records, Looked())
    assert (first.number, first.digest, first.faults) == (3, records.line(3).digest, ())
    looked = first
    while (further := look_on(records, looked)) != looked:
        looked = further
    assert (looked.number, looked.faults) == (records.head().number, ())
    assert tuple(every_line(records)) == records.lines()
    assert "".join(exported_lines(records)).count("\n") == looked.number
    if "writer" in url:
        return  # it may change no line
    change(records, "UPDATE events SET who = 'nobody' WHERE number = 5")
    again = look_on(records, first)
    assert [(one.code, one.what) for one in again.faults] == [("line-changed", "event 5")]


def change(records: SqlRecords, statement: str) -> None:
    """Change a line past the triggers, as somebody with the database's password can."""
    engine = records._engine
    postgresql = engine.dialect.name == "postgresql"
    off = "ALTER TABLE events DISABLE TRIGGER ALL" if postgresql else "DROP TRIGGER events_unchanged"
    with engine.begin() as connection:
        for one in (off, statement):
            connection.execute(text(one))
