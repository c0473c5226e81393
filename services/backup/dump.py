"""The records as one file, and back: SQLite by its own copy, PostgreSQL by pg_dump and pg_restore."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import inspect
from sqlalchemy.engine import URL, make_url

from models.errors import Refused, StorageFailed
from services.records.database import CONNECT_SECONDS, connect

FILES = {"sqlite": "records.sqlite", "postgresql": "records.pgdump"}
"""Name of the dump by database."""


def dump(url: str, folder: Path) -> Path:
    """Write all records of one moment to a file; writers are not held up.

    Raises
    ------
    StorageFailed
        If it cannot be written, or the database cannot be read; the message ends with its own words.
    """
    address = make_url(url)
    path = folder / FILES[address.get_backend_name()]
    if address.get_backend_name() == "sqlite":
        try:
            with closing(_opened(address)) as source, closing(sqlite3.connect(path)) as target:
                source.backup(target)
        except sqlite3.Error as error:
            raise StorageFailed(f"the records cannot be copied: {error}") from error
    else:
        _run("pg_dump", address, "--format=custom", "--no-owner", "--no-privileges", f"--file={path}")
    return path


def load(url: str, path: Path) -> None:
    """Bring the records of a dump into an empty database, whole or not at all.

    Raises
    ------
    Refused
        `not-empty` if the database holds records; `other-database` if the dump is of another kind.
    StorageFailed
        If it cannot be written; the message ends with the database's own words.
    """
    address = make_url(url)
    backend = address.get_backend_name()
    fits(url, path)
    if holds_records(url):
        raise Refused("not-empty", "The database holds records already; nothing was changed.")
    if backend == "sqlite":
        target = Path(str(address.database))
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f".{target.name}.restoring")
        shutil.copyfile(path, aside)
        aside.replace(target)
    else:
        _run("pg_restore", address, "--single-transaction", "--exit-on-error", "--no-owner", str(path))


def fits(url: str, path: Path) -> None:
    """Check that a dump is of the kind of a database.

    Raises
    ------
    Refused
        `other-database` if it is not.
    """
    backend = make_url(url).get_backend_name()
    if path.name != FILES[backend]:
        raise Refused("other-database", f"The backup holds {path.name}, which {backend} cannot take in.")


def holds_records(url: str) -> bool:
    """Tell whether a database has any table; a file that is not there has none, and is not made."""
    address = make_url(url)
    if address.get_backend_name() == "sqlite" and not Path(str(address.database)).exists():
        return False
    engine = connect(url)
    try:
        return bool(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def _opened(address: URL) -> sqlite3.Connection:
    path = Path(str(address.database))
    if not path.exists():
        raise StorageFailed(f"there are no records at {path}: nothing to back up")
    return sqlite3.connect(path)


def _run(program: str, address: URL, *arguments: str) -> None:
    """Run one of PostgreSQL's programs; a password goes by its environment, not for all to see in a list."""
    where = address.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
    secret = {} if address.password is None else {"PGPASSWORD": str(address.password)}
    try:
        done = subprocess.run(
            [program, "--no-password", f"--dbname={where}", *arguments],
            env={"PGCONNECT_TIMEOUT": str(CONNECT_SECONDS)} | os.environ | secret,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        raise StorageFailed(f"{program} is not installed here (apt-get install postgresql-client)") from None
    if done.returncode:
        words = (done.stderr.strip().splitlines() or ["no word why"])[-1]
        raise StorageFailed(f"{program} failed: {words}")
