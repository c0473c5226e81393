"""The port `Records`, on SQLite and on a real PostgreSQL.

Contract: whatever is told twice is held once; whatever is refused leaves nothing behind; the incumbent
and its event change together; events are never changed.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from threading import Event

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from models.errors import Refused, StorageFailed
from models.series.acquisition import Acquisition
from services.records.database import connect, upgrade
from services.records.entries.cases import Case, Purpose, manifest_digest, manifest_of
from services.records.entries.releases import ReleaseState
from services.records.store import SqlRecords, open_records
from services.records.tables import Table, said
from tests.support.log import lines, write_line
from tests.support.waiting import GUARD_SECONDS

AS_WRITER = True
"""On PostgreSQL the writer's rights are enough."""

NOON = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=timezone(timedelta(hours=1)))


@pytest.fixture
def records(url):
    opened = open_records(url, clock=lambda: NOON)
    yield opened
    opened.close()


@pytest.mark.filterwarnings("ignore:.*expression-based index")  # which cannot be compared in SQLite
def test_the_migrations_make_exactly_the_tables(records):
    with records._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


@pytest.mark.parametrize("name", ["release", "study_uid"])
def test_what_events_say_of_a_release_or_a_study_is_found_by_an_index(records, name):
    asked = f"SELECT * FROM events WHERE what = 'gate-decided' AND {said(name)} = '7'"
    with records._engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if not sqlite:  # of a small table every row is read
            connection.exec_driver_sql("SET enable_seqscan = off")
        plan = connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if sqlite else ''}{asked}").all()
    either = f"ix_events_{name}", f"ix_events_of_{name.partition('_')[0]}"  # of few rows one is as good
    assert any(index in str(plan) for index in either), plan


def test_upgrading_twice_and_at_once_is_safe(url):
    def open_and_use(n: int) -> int | None:
        opened = open_records(url)
        opened.set_incumbent(1, approver="somebody", reason="first")
        try:
            return opened.incumbent()
        finally:
            opened.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_and_use, range(4))) == [1, 1, 1, 1]
    opened = open_records(url)
    assert len(lines(opened, "incumbent-changed")) == 1
    opened.close()


def test_the_time_first_written_is_kept_with_its_offset(records):
    assert records.first_written("k", NOON) == NOON
    again = records.first_written("k", datetime.now(UTC))
    assert again == NOON
    assert again.utcoffset() == NOON.utcoffset()


def test_a_result_is_found_by_each_of_its_objects_and_recorded_once(records):
    records.first_written("k", NOON)
    for _ in range(2):
        records.record_result(
            "k",
            study_uid="1.2",
            series_uid="1.2.1",
            release=3,
            objects={"organ-seg": "1.3", "report-sr": "1.4"},
        )
    found = records.find_result("1.4")
    assert found == records.find_result("1.3")
    assert (found.key, found.release, found.written_at) == ("k", 3, NOON)
    assert found.objects == {"organ-seg": "1.3", "report-sr": "1.4"}
    assert records.find_result("1.5") is None
    assert len(lines(records, "result-recorded")) == 1


def test_a_result_without_a_time_is_a_mistake(records):
    with pytest.raises(ValueError, match="no time"):
        records.record_result("k", study_uid="1.2", series_uid="1.2.1", release=1, objects={})
    assert lines(records) == ()


def test_the_incumbent_is_one_row_that_changes_with_its_event(records):
    assert records.incumbent() is None
    records.set_incumbent(1, approver="IT", reason="first")
    records.set_incumbent(2, approver="Dr B", reason="better stomach")
    records.set_incumbent(2, approver="Dr B", reason="told again")
    records.set_incumbent(1, approver="IT", reason="rollback")
    assert records.incumbent() == 1
    changes = lines(records, "incumbent-changed")
    assert [(e.payload["from"], e.payload["to"], e.who) for e in changes] == [
        (None, 1, "IT"), (1, 2, "Dr B"), (2, 1, "IT"),
    ]  # fmt: skip
    assert all(e.at == NOON for e in changes)


def test_a_declined_release_can_never_serve_whatever_is_told_later(records):
    records.set_incumbent(1, approver="IT", reason="first")
    records.record_release(2, "d" * 64, ReleaseState.NEEDS_APPROVAL)
    for _ in range(2):
        records.decline(2, "d" * 64, approver="Dr B", reason="stomach too small")
    records.record_release(2, "d" * 64, ReleaseState.NEEDS_APPROVAL)
    assert records.release_states()[2] is ReleaseState.DECLINED
    with pytest.raises(Refused, match="declined"):
        records.set_incumbent(2, approver="Dr C", reason="did not know", replacing=1)
    assert records.incumbent() == 1
    *_, event = lines(records, "release-state")
    assert (event.who, event.payload["state"], event.payload["reason"]) == (
        "Dr B", "declined", "stomach too small",
    )  # fmt: skip
    assert len(lines(records, "release-state")) == 2


@pytest.mark.parametrize(("release", "code"), [(2, "is-incumbent"), (1, "was-incumbent")])
def test_what_serves_or_has_served_is_not_declined(records, release, code):
    for number in (1, 2):
        records.set_incumbent(number, approver="IT", reason="passed")
        records.record_release(number, "d" * 64, ReleaseState.PROMOTED)
    with pytest.raises(Refused, match=code):
        records.decline(release, "d" * 64, approver="Dr B", reason="too late")


def test_where_a_result_was_scanned_is_said_in_its_event(records):
    records.first_written("k", NOON)
    records.record_result("k", study_uid="1.2", series_uid="1.2.1", release=3, objects={}, site="North")
    assert lines(records, "result-recorded")[0].payload["site"] == "North"


def test_the_incumbent_is_not_replaced_by_what_was_weighed_against_another(records):
    records.set_incumbent(1, approver="IT", reason="first")
    records.set_incumbent(2, approver="Dr B", reason="better stomach", replacing=1)
    with pytest.raises(Refused, match="incumbent-changed"):
        records.set_incumbent(3, approver="Dr C", reason="better aorta", replacing=1)
    records.set_incumbent(2, approver="Dr B", reason="told again", replacing=1)
    assert records.incumbent() == 2
    assert len(lines(records, "incumbent-changed")) == 2


def test_a_crash_while_the_incumbent_changes_leaves_the_old_one(records, monkeypatch):
    records.set_incumbent(1, approver="IT", reason="first")

    def crash(*_: object, **__: object) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(records, "_add_event", crash)
        with pytest.raises(RuntimeError, match="killed"):
            records.set_incumbent(2, approver="Dr B", reason="better")
    assert records.incumbent() == 1
    assert len(lines(records)) == 1


def test_writers_at_once_all_get_through(url):
    open_records(url).close()

    def write(n: int) -> None:
        opened = open_records(url)
        for k in range(5):
            write_line(opened, "thing", who=f"writer {n}", payload={"k": k}, key=f"{n % 2}-{k}")
        opened.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    opened = open_records(url)
    assert len(lines(opened, "thing")) == 10, "each key once"
    opened.close()


def test_events_cannot_be_changed_or_deleted(records):
    write_line(records, "thing", who="somebody", payload={"n": [1, {"a": None}]})
    for statement in ("UPDATE events SET who = 'nobody'", "DELETE FROM events"):
        with (
            pytest.raises(DBAPIError, match=r"append-only|permission denied"),
            records._engine.begin() as connection,
        ):
            connection.execute(text(statement))
    (event,) = lines(records)
    assert (event.who, event.payload) == ("somebody", {"n": [1, {"a": None}]})


def test_a_release_keeps_its_digest_while_its_state_moves_on(records):
    records.record_release(2, "d" * 64, ReleaseState.CANDIDATE)
    records.record_release(2, "d" * 64, ReleaseState.PROMOTED)
    records.record_release(2, "d" * 64, ReleaseState.PROMOTED)
    assert records.release_states() == {2: ReleaseState.PROMOTED}
    assert len(lines(records, "release-state")) == 2
    with pytest.raises(ValueError, match="release 2"):
        records.record_release(2, "e" * 64, ReleaseState.REFUSED)


GATE = Case("gate-1", Purpose.GATE, "a" * 64, "independent", "1" * 64)


def test_a_patient_is_kept_for_one_purpose_only(records):
    records.add_case(GATE)
    records.add_case(replace(GATE, case_id="gate-2"))
    with pytest.raises(Refused, match="patient-leak"):
        records.add_case(replace(GATE, case_id="tuning-1", purpose=Purpose.TUNING))
    assert records.cases(Purpose.TUNING) == ()
    assert [case.case_id for case in records.cases(Purpose.GATE)] == ["gate-1", "gate-2"]


def test_a_set_grows_by_freezing_it_again_and_earlier_versions_stay_readable(records):
    with pytest.raises(Refused, match="empty-set"):
        records.freeze(Purpose.GATE)
    records.add_case(GATE)
    assert records.frozen(Purpose.GATE) is None
    first = records.freeze(Purpose.GATE)
    assert records.freeze(Purpose.GATE) == records.frozen(Purpose.GATE) == first
    assert (first.version, first.digest, first.frozen_at) == (1, manifest_digest(manifest_of([GATE])), NOON)
    records.add_case(GATE)  # told again
    with pytest.raises(Refused, match="case-changed"):
        records.add_case(replace(GATE, digest="2" * 64))
    second_case = replace(GATE, case_id="gate-2", patient="b" * 64)
    records.add_case(second_case)
    assert records.frozen(Purpose.GATE) == first, "a case added counts from the next freezing"
    second = records.freeze(Purpose.GATE)
    assert (second.version, second.manifest) == (2, manifest_of([GATE, second_case]))
    assert second.digest == manifest_digest(second.manifest) != first.digest
    assert records.frozen(Purpose.GATE, 1) == first
    assert records.frozen(Purpose.GATE, 3) is None
    acts = [event.payload for event in lines(records, "set-frozen")]
    assert [(act["version"], act["digest"], act["cases"]) for act in acts] == [
        (1, first.digest, 1), (2, second.digest, 2),
    ]  # fmt: skip


def test_a_case_added_while_its_set_is_being_frozen_is_in_the_next_version(url):
    adder = open_records(url, clock=lambda: NOON)
    adder.add_case(GATE)
    freezing, let_go = Event(), Event()

    def slow_clock() -> datetime:
        freezing.set()  # the manifest was read
        assert let_go.wait(GUARD_SECONDS)
        return NOON

    freezer = open_records(url, clock=slow_clock)
    with ThreadPoolExecutor(2) as pool:
        frozen = pool.submit(freezer.freeze, Purpose.GATE)
        assert freezing.wait(GUARD_SECONDS)
        added = pool.submit(adder.add_case, replace(GATE, case_id="gate-2", patient="b" * 64))
        wait([added], timeout=0.5)
        let_go.set()
        added.result()
        assert frozen.result().manifest == manifest_of([GATE])
    assert adder.frozen(Purpose.GATE) == frozen.result()
    assert len(adder.freeze(Purpose.GATE).manifest) == 2
    adder.close()
    freezer.close()


def test_the_manifest_does_not_depend_on_the_order_of_adding(records, tmp_path):
    other = open_records(f"sqlite:///{tmp_path / 'other.sqlite'}", clock=lambda: NOON)
    second = replace(GATE, case_id="gate-2", patient="b" * 64, acquisition=Acquisition("CT 7", "B30f", 1.0))
    for where, cases in ((records, (GATE, second)), (other, (second, GATE))):
        for case in cases:
            where.add_case(case)
    assert records.cases(Purpose.GATE) == (GATE, second)
    assert records.freeze(Purpose.GATE) == other.freeze(Purpose.GATE)
    other.close()


def test_a_database_that_cannot_be_reached_is_a_storage_failure(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageFailed):
        open_records(f"sqlite:///{tmp_path / 'file' / 'records.sqlite'}")
    (tmp_path / "broken.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StorageFailed):
        open_records(f"sqlite:///{tmp_path / 'broken.sqlite'}")


def test_upgrade_is_what_open_does(tmp_path):
    engine = connect(f"sqlite:///{tmp_path / 'records.sqlite'}")
    upgrade(engine)
    upgrade(engine)
    assert SqlRecords(engine).incumbent() is None
    engine.dispose()
