"""Engines, and the schema brought up to date: SQLite by default, PostgreSQL for a site."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

from models.errors import StorageFailed

BUSY_TIMEOUT_SECONDS = 30.0
"""How long a writer waits for another in SQLite before it gives up."""

TRANSACTION_LOCK = 0x6F72676E
"""Number of the advisory lock that lets one transaction at a time run in a PostgreSQL database."""


def connect(url: str) -> Engine:
    """Return an engine for a SQLAlchemy address; nothing is asked of a server yet.

    On both, transactions follow one another: each takes the lock as it begins. So a set cannot be added to
    while it is frozen, nothing deadlocks, and nothing has to be tried again, as it would have to with
    SERIALIZABLE. They take milliseconds. SQLite also gets a write-ahead log, foreign keys and a busy timeout.

    Raises
    ------
    StorageFailed
        If the folder of an SQLite file cannot be made.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        engine = create_engine(address, pool_pre_ping=True)
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
    """Bring the schema to the newest revision; at most one process does it, the others wait."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


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
