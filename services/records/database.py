"""Engines, and the schema brought up to date: SQLite by default, PostgreSQL for a site."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.pool import NullPool

from models.errors import StorageFailed

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a writer waits for another in SQLite before it gives up."""

GONE_SECONDS = 60
"""After so long PostgreSQL gives up a client whose machine died; by its own defaults two hours later."""

CONNECT_SECONDS = 10
"""Longest wait for a connection to PostgreSQL, unless the address says another `connect_timeout`."""

TRANSACTION_LOCK = 0x6F72676E
"""Number of the advisory lock that lets one transaction at a time run in a PostgreSQL database."""

INSUFFICIENT_PRIVILEGE = "42501"
"""What PostgreSQL says to a role that may not."""

PREPARATION_LOCK = TRANSACTION_LOCK + 1
"""Number of the advisory lock under which one process at a time prepares a home."""


def connect(url: str) -> Engine:
    """Return an engine for a SQLAlchemy address; nothing is asked of a server yet.

    On both, transactions follow one another: each takes the lock as it begins. So a set cannot be added to
    while it is frozen, nothing deadlocks, and nothing has to be tried again, as it would have to with
    SERIALIZABLE. They take milliseconds. SQLite also gets a write-ahead log, foreign keys and a busy timeout.

    Raises
    ------
    StorageFailed
        If the folder of an SQLite file cannot be made; once it is asked, if a database is in SQL_ASCII.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        engine = _server(address, pool_pre_ping=True)
        event.listen(engine, "begin", _begin_alone)
        return engine
    if address.database and address.database != ":memory:":
        try:
            Path(address.database).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageFailed(f"the folder of the records cannot be made: {error.strerror}") from error
    engine = create_engine(address, connect_args={"timeout": BUSY_TIMEOUT_SECONDS})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_immediate)
    return engine


def upgrade(engine: Engine) -> None:
    """Bring the schema to the newest revision; at most one process does it, the others wait.

    A revision of a newer program is left as it is, so that an update can be taken back: revisions that begin
    with the same digit only add what older programs do without. One that they could not work with begins
    with the next digit.

    Raises
    ------
    StorageFailed
        If a newer program has left a schema that this one cannot work with; nothing was changed.
    """
    known, head = _known()
    with engine.begin() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
        if found == head:
            return
        if found is None or found in known:
            config = _migrations()
            config.attributes["connection"] = connection
            _migrate(config, connection, found)
        elif found[0] != head[0] or found < head:
            raise StorageFailed(
                f"the records are at revision {found}, which this program, at {head}, cannot work with: "
                "install the newer version again, or restore the backup from before it"
            )


def _migrate(config: Config, connection: Connection, found: str | None) -> None:
    """Migrate to the newest revision; whoever may not is told who does."""
    try:
        command.upgrade(config, "head")
    except ProgrammingError as error:
        if getattr(error.orig, "sqlstate", None) != INSUFFICIENT_PRIVILEGE:
            raise
        raise StorageFailed(
            f"the records are at revision {found}, and {connection.engine.url.username} may not change them: "
            "run `organloop prepare` with ORGANLOOP_DATABASE_OWNER_URL"
        ) from error


def revisions(engine: Engine) -> tuple[str | None, str]:
    """Return the revision a database is at, None for an empty one, and the newest this program knows.

    Nothing is changed, not even in an empty database.
    """
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision(), _known()[1]


@cache
def _known() -> tuple[frozenset[str], str]:
    """Return every revision that this program has, and the newest; they are read once a process."""
    script = ScriptDirectory.from_config(_migrations())
    return frozenset(one.revision for one in script.walk_revisions()), str(script.get_current_head())


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config


@contextmanager
def alone(url: str) -> Iterator[None]:
    """Let one process at a time prepare the home of these records; the others wait.

    In PostgreSQL an advisory lock, which ends with its connection, so that a killed process leaves none, and
    a machine that dies none for longer than `GONE_SECONDS`.
    SQLite is one machine's, where one process prepares: no lock.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite":
        yield
        return
    engine = _server(address, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"SELECT pg_advisory_lock({PREPARATION_LOCK})")
        yield


def _server(address: URL, **options: Any) -> Engine:
    """Return an engine for PostgreSQL; one that takes no notice is not waited for as long as TCP would."""
    patience = {
        "connect_timeout": CONNECT_SECONDS,
        "keepalives_idle": GONE_SECONDS // 2,
        "keepalives_interval": GONE_SECONDS // 6,
        "keepalives_count": 3,
        "tcp_user_timeout": GONE_SECONDS * 1000,
    }
    asked = {name: value for name, value in patience.items() if name not in address.query}
    engine = create_engine(address, connect_args=asked, **options)
    # Before SQLAlchemy's own first questions, which an SQL_ASCII database answers with bytes.
    event.listen(engine, "connect", _require_encoding, insert=True)
    event.listen(engine, "connect", _notice_death)
    return engine


def _require_encoding(connection: Any, _: object) -> None:
    """Refuse a database that does not know what its characters are."""
    if connection.info.parameter_status("server_encoding") == "SQL_ASCII":
        name = connection.info.dbname
        connection.close()
        raise StorageFailed(
            f"the database {name} is encoded in SQL_ASCII, which keeps bytes and knows no characters: make "
            "it anew with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        )


def _notice_death(connection: Any, _: object) -> None:
    """Have the server ask whether this client still lives: a dead machine's locks must not outlive it."""
    asked = {
        "tcp_keepalives_idle": GONE_SECONDS // 2,
        "tcp_keepalives_interval": GONE_SECONDS // 6,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": GONE_SECONDS * 1000,
    }
    with connection.cursor() as cursor:
        cursor.execute("; ".join(f"SET {name} = {value}" for name, value in asked.items()))
    connection.commit()


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun below, not by the driver's guess
    cursor = connection.cursor()
    _write_ahead(cursor)
    for pragma in ("synchronous = FULL", "foreign_keys = ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _write_ahead(cursor: sqlite3.Cursor) -> None:
    """Wait here too: SQLite's busy timeout does not cover the change of a new file's journal."""
    deadline = time.monotonic() + BUSY_TIMEOUT_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        time.sleep(0.01)


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _begin_alone(connection: Connection) -> None:
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({TRANSACTION_LOCK})")
