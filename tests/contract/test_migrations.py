"""Updating and taking back: the schema of the records between versions of the program, on real databases."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import inspect, text

import services.records.database as database
from deploy.doctor.finding import Check, State, examine
from deploy.doctor.records import records
from models.errors import StorageFailed
from services.backup.dump import holds_records
from services.records.database import alone, connect
from services.records.entries.releases import ReleaseState
from services.records.store import open_records
from services.releases.store import ReleaseStore
from tests.support.log import write_line
from tests.support.tiny_networks import publish_tiny
from tests.support.waiting import GUARD_SECONDS, until

MIGRATIONS = Path(database.__file__).parent / "migrations"
FIRST_TAKEN_BACK_TO = "0004"
"""The oldest revision that an update is taken back to."""


def revision_of(url: str) -> str:
    engine = connect(url)
    with engine.begin() as connection:
        found = str(connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one())
    engine.dispose()
    return found


def set_revision(url: str, revision: str) -> None:
    engine = connect(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
    engine.dispose()


def migrate(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    engine = connect(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def test_many_that_open_an_empty_database_at_once_bring_it_up_once(url):
    at_once = Barrier(4)

    def open_one(_: int) -> int | None:
        at_once.wait()
        records = open_records(url)
        found = records.incumbent()
        records.close()
        return found

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(open_one, range(4))) == [None] * 4
    assert revision_of(url) >= FIRST_TAKEN_BACK_TO


def test_the_schema_of_a_newer_program_is_worked_with_and_left_as_it_is(url):
    open_records(url).close()
    newer = f"{revision_of(url)[0]}999"
    set_revision(url, newer)
    records = open_records(url)
    assert records.incumbent() is None
    write_line(records, "after-a-rollback", who="test", payload={})
    records.close()
    assert revision_of(url) == newer


@pytest.mark.parametrize("revision", ["1001", "8f3a"])
def test_a_schema_this_program_cannot_work_with_is_refused_and_nothing_is_changed(url, revision):
    open_records(url).close()
    set_revision(url, revision)
    with pytest.raises(StorageFailed, match=f"revision {revision}.*install the newer version again"):
        open_records(url)
    assert revision_of(url) == revision


def test_no_migration_takes_from_an_older_program_what_it_works_with(url):
    """Every column stays with its type; new ones in old tables may be left out by who does not know them."""
    migrate(url, FIRST_TAKEN_BACK_TO)
    engine = connect(url)
    before = {
        table: {column["name"]: column for column in inspect(engine).get_columns(table)}
        for table in inspect(engine).get_table_names()
    }
    engine.dispose()
    open_records(url).close()
    engine = connect(url)
    now = inspect(engine)
    for table, columns in before.items():
        after = {column["name"]: column for column in now.get_columns(table)}
        for name, column in columns.items():
            assert name in after, f"{table}.{name} is gone"
            kind, was = (str(one["type"]) for one in (after[name], column))
            assert kind in (was, was.partition("(")[0]), "the same, or of any length"
            assert after[name]["nullable"] >= column["nullable"]
        for name in after.keys() - columns.keys():
            may_be_left_out = after[name]["nullable"] or after[name]["default"] is not None
            assert may_be_left_out, f"{table}.{name} is new and must be given"
    engine.dispose()


def test_one_process_at_a_time_prepares_a_home_and_a_dead_one_leaves_no_lock(postgresql):
    url = postgresql % "postgres"
    inside, order = Event(), []
    server = connect(url)
    waiting = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")

    def queued() -> bool:
        with server.connect() as connection:
            return bool(connection.execute(waiting).scalar_one())

    def second() -> None:
        assert inside.wait(GUARD_SECONDS)
        with alone(url):
            order.append("second")

    def first() -> None:
        with alone(url):
            inside.set()
            until(queued, "the second waits for the lock")
            order.append("first")
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(second)
        with pytest.raises(KeyboardInterrupt):
            first()
        other.result(GUARD_SECONDS)
    server.dispose()
    assert order == ["first", "second"]


def test_the_server_is_asked_to_notice_a_client_whose_machine_died(postgresql):
    """Else an advisory lock would outlive its holder by two hours. The figures count over TCP only."""
    engine = connect(postgresql % "postgres")
    with engine.connect() as connection:
        found = connection.execute(
            text("SELECT name, source FROM pg_settings WHERE name ~ '^tcp_' ORDER BY name")
        ).all()
    engine.dispose()
    names = ("tcp_keepalives_count", "tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_user_timeout")
    assert [tuple(one) for one in found] == [(name, "session") for name in names]


def test_a_database_without_characters_is_refused_by_name_and_says_what_to_do(postgresql, tmp_path):
    """PostgreSQL makes it so where the system has no locale; the driver then answers in bytes."""
    admin = connect(postgresql % "postgres").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("CREATE DATABASE bytes ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
    admin.dispose()
    url = postgresql % "bytes"
    for use in (open_records, holds_records, lambda one: list(records(one))):
        with pytest.raises(StorageFailed, match=r"database bytes is encoded in SQL_ASCII.*ENCODING 'UTF8'"):
            use(url)
    with pytest.raises(StorageFailed, match="SQL_ASCII"), alone(url):
        pass
    [found] = examine([Check("database", lambda: records(url), "…")], str)
    assert (found.state, "SQL_ASCII" in found.detail) == (State.BAD, True)


def test_a_server_that_takes_no_notice_is_given_up(monkeypatch):
    monkeypatch.setattr(database, "CONNECT_SECONDS", 2)  # the least there is
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql+psycopg://organloop@127.0.0.1:{silent.getsockname()[1]}/organloop?sslmode=disable"
        with pytest.raises(StorageFailed, match="timeout"):
            open_records(url)


def test_pods_that_prepare_one_home_at_once_leave_it_whole(postgresql, tmp_path):
    """As a rollout starts them: processes of their own, one database, one volume."""
    url = postgresql % "postgres"
    store = ReleaseStore(tmp_path / "releases")
    release = publish_tiny(store, 1, {"liver": 1, "spleen": 2})
    env = os.environ | {"ORGANLOOP_HOME": str(tmp_path), "ORGANLOOP_DATABASE_URL": url}

    opened = open_records(url)
    opened.record_release(1, release.digest, ReleaseState.PROMOTED)
    opened.set_incumbent(1, approver="test", reason="test")
    opened.close()
    command = [str(Path(sys.executable).parent / "organloop"), "prepare", "--json"]
    pods = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE) for _ in range(2)]
    assert [json.loads(pod.communicate(timeout=GUARD_SECONDS)[0]) for pod in pods] == [{"incumbent": 1}] * 2
    repository = tmp_path / "triton" / "repository"
    assert [one.name for one in (repository / "organ_segmenter").glob("[0-9]*")] == ["1"]
    assert not list((tmp_path / "triton").glob(".*"))
