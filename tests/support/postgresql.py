"""A real PostgreSQL for the tests, and empty databases in it."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from services.records.database import connect


@contextmanager
def postgresql_at_work(who_may: str = "") -> Iterator[str]:
    """Run a PostgreSQL on a socket in a folder of its own; its address, ``%s`` in place of a database.

    It lets in everybody without a password, or as the lines say (pg_hba.conf).
    """
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        pytest.skip("no PostgreSQL is installed (apt-get install postgresql)")
    pytest.importorskip("psycopg", reason="no driver for PostgreSQL is installed (psycopg)")
    as_user: list[str] = []
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    if os.getuid() == 0:  # PostgreSQL refuses to run as root
        if not shutil.which("runuser"):
            pytest.skip("PostgreSQL does not run as root, and there is no runuser")
        account = pwd.getpwnam("postgres")
        os.chown(folder, account.pw_uid, account.pw_gid)
        as_user = ["runuser", "-u", "postgres", "--"]

    def run(program: str, *arguments: str) -> None:
        command = [*as_user, str(binaries[-1] / program), *arguments]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)

    data = str(folder / "data")
    try:
        run("initdb", "-D", data, "-U", "organloop", "--auth=trust", "--no-sync")
        if who_may:
            (Path(data) / "pg_hba.conf").write_text(who_may)
        options = f"-k {folder} -c listen_addresses='' -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "log"), "-o", options, "start")
        try:
            yield f"postgresql+psycopg://organloop@/%s?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


def new_database(server: str, name: str) -> str:
    """Make an empty database and return its address."""
    admin = connect(server % "postgres").execution_options(isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.dispose()
    return server % name
