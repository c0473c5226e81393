"""The chain of events, on SQLite and on a real PostgreSQL: whatever is done to a line is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, text

from services.records import database
from services.records.chain import FIRST, anchor_faults, chain_faults, digest_of, exported, imported
from services.records.database import connect
from services.records.entries.cases import Purpose
from services.records.store import SqlRecords, open_records
from tests.support.log import lines, write_line

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAYLOAD = {"release": 2, "share": 0.1, "organs": ["liver", None], "grüße": {"b": 1, "a": True}}


@pytest.fixture
def records(url):
    opened = open_records(url, clock=lambda: NOON)
    opened.set_incumbent(1, approver="IT", reason="first")
    for n in range(4):
        write_line(opened, "thing", who="somebody", payload={**PAYLOAD, "n": n}, key=f"k{n}")
    yield opened
    opened.close()


def tampered(records: SqlRecords, *statements: str) -> list[str]:
    """Change rows past the triggers, as somebody with the database's password can; return what is found."""
    engine = records._engine
    off = (
        ["ALTER TABLE events DISABLE TRIGGER ALL"]
        if engine.dialect.name == "postgresql"
        else ["DROP TRIGGER events_unchanged", "DROP TRIGGER events_kept"]
    )
    with engine.begin() as connection:
        for statement in (*off, *statements):
            connection.execute(text(statement))
    return [f"{fault.code} {fault.what}" for fault in chain_faults(lines(records))]


def test_every_event_carries_the_digest_of_the_one_before_and_its_own(records):
    events = lines(records)
    assert chain_faults(events) == []
    assert [event.number for event in events] == [1, 2, 3, 4, 5]
    assert [event.previous for event in events] == [FIRST, *(event.digest for event in events[:-1])]
    write_line(records, "thing", who="somebody", payload={"n": "told again"}, key="k3")
    assert lines(records) == events


def test_the_digest_does_not_depend_on_the_database(records, tmp_path):
    other = open_records(f"sqlite:///{tmp_path / 'other.sqlite'}", clock=lambda: NOON)
    other.set_incumbent(1, approver="IT", reason="first")
    assert lines(other)[0] == lines(records)[0]
    other.close()


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("UPDATE events SET who = 'nobody' WHERE number = 3", "line-changed event 3"),
        ("UPDATE events SET at = '2026-01-01T00:00:00+00:00' WHERE number = 3", "line-changed event 3"),
        ("UPDATE events SET key = NULL WHERE number = 2", "line-changed event 2"),
        ("UPDATE events SET payload = '{}' WHERE number = 5", "line-changed event 5"),
        ("DELETE FROM events WHERE number = 3", "line-missing event 4"),
        ("DELETE FROM events WHERE number = 1", "line-missing event 2"),
    ],
)
def test_a_changed_or_dropped_line_is_found(records, statement: str, found: str):
    assert found in tampered(records, statement)


def test_reordered_lines_are_found(records):
    swap = [f"UPDATE events SET number = {b} WHERE number = {a}" for a, b in ((3, 99), (4, 3), (99, 4))]
    assert {"line-order event 3", "line-changed event 3"} <= set(tampered(records, *swap))


def test_a_line_written_anew_with_its_own_digest_breaks_the_next_link(records):
    event = lines(records)[2]
    forged = digest_of(type(event)(**{**event.__dict__, "who": "nobody"}))
    statement = f"UPDATE events SET who = 'nobody', digest = '{forged}' WHERE number = 3"
    assert tampered(records, statement) == ["line-order event 4"]


def test_a_dropped_line_is_found_though_the_rest_was_renumbered(records):
    close_up = "UPDATE events SET number = number - 1 WHERE number > 3"
    found = tampered(records, "DELETE FROM events WHERE number = 3", close_up)
    assert "line-order event 3" in found


def test_lines_cut_off_at_the_end_are_found_by_an_anchor(records):
    kept = [exported(event) for event in lines(records)]
    assert [imported(line) for line in kept] == list(lines(records))
    anchors = [(event.number, event.digest) for event in map(imported, kept)]
    assert anchor_faults(lines(records), anchors, "the export") == []
    assert tampered(records, "DELETE FROM events WHERE number > 3") == []
    found = anchor_faults(lines(records), anchors, "the export")
    assert [(fault.code, fault.what) for fault in found] == [
        ("truncated", "event 4"), ("truncated", "event 5"),
    ]  # fmt: skip


def test_a_line_that_is_no_exported_event_is_a_mistake():
    for line in ("[]", "{}", '{"number": 1}', "no json"):
        with pytest.raises(ValueError, match=r"."):
            imported(line)


@pytest.fixture
def at_revision(url) -> Callable[[str], Engine]:
    """Bring the schema to a revision."""

    def bring(revision: str) -> Engine:
        engine = connect(url)
        config = Config()
        config.set_main_option("script_location", database.__file__.replace("database.py", "migrations"))
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
        return engine

    return bring


def test_events_and_sets_on_record_are_chained_and_kept_by_the_migration(url, at_revision):
    engine = at_revision("0003")
    rows = [(1, "k1", "set-frozen"), (2, None, "thing"), (5, "k2", "thing")]  # PostgreSQL leaves gaps
    case = ("'gate-1'", "'gate'", f"'{'a' * 64}'", "'independent'", f"'{'1' * 64}'", "'A'")
    with engine.begin() as connection:
        for number, key, what in rows:
            values = {"n": number, "k": key, "w": what, "p": json.dumps(PAYLOAD)}
            connection.execute(
                text(
                    "INSERT INTO events (number, key, at, what, who, payload) "
                    "VALUES (:n, :k, '2026-03-01T12:00:00.123456+01:00', :w, 'somebody', :p)"
                ),
                values,
            )
        connection.execute(text(f"INSERT INTO patients VALUES ({case[2]}, 'gate')"))
        connection.execute(
            text(
                "INSERT INTO cases (case_id, purpose, patient, origin, digest, site) "
                f"VALUES ({', '.join(case)})"
            )
        )
        connection.execute(
            text("INSERT INTO frozen_sets VALUES ('gate', 'its digest', '2026-03-01T12:00:00+01:00')")
        )
    engine.dispose()
    records = open_records(url)
    events = lines(records)
    assert [(event.number, event.what, event.key) for event in events] == [
        (1, "set-frozen", "k1"), (2, "thing", None), (3, "thing", "k2"),
    ]  # fmt: skip
    assert events[0].payload == PAYLOAD
    assert chain_faults(events) == []
    write_line(records, "thing", who="somebody")
    assert chain_faults(lines(records)) == []
    frozen = records.frozen(Purpose.GATE)
    assert frozen is not None
    assert (frozen.version, frozen.digest, frozen.manifest[0]["case_id"]) == (1, "its digest", "gate-1")
    with pytest.raises(Exception, match="append-only"), records._engine.begin() as connection:
        connection.execute(text("DELETE FROM events"))
    records.close()
