"""The database: which, of what revision, how far away, and whether its clock agrees with ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import text

from deploy.doctor.clock import clock
from deploy.doctor.finding import Finding, State
from services.records.database import connect, revisions

FAR_MS = 50.0
"""A study takes some thirty transactions."""


def records(url: str) -> Iterator[Finding]:
    """Look at the records, changing nothing.

    Raises
    ------
    SQLAlchemyError
        If the database does not answer.
    """
    engine = connect(url)
    try:
        found, newest = revisions(engine)
        with engine.connect() as connection:
            started = time.perf_counter()
            connection.execute(text("SELECT 1"))
            took_ms = 1000 * (time.perf_counter() - started)
            version = ".".join(map(str, connection.dialect.server_version_info or ()))
            now = connection.execute(text("SELECT now()")).scalar() if engine.name == "postgresql" else None
        name = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}.get(engine.name, engine.name)
        measured = {"version": version, "revision": found, "round_trip_ms": round(took_ms, 2)}
        detail = f"{name} {version}, revision {found}, {took_ms:.1f} ms a question"
        if found != newest:
            remedy = (
                f"This program's revision is {newest}: run `organloop prepare`, or the newer program again."
            )
            yield Finding("database", State.BAD, detail, remedy, measured)
        elif took_ms > FAR_MS:
            remedy = "Bring the database nearer, or look at its load."
            yield Finding("database", State.WARNING, detail, remedy, measured)
        else:
            yield Finding("database", State.GOOD, detail, measured=measured)
        if isinstance(now, datetime):
            yield clock("the database", (now - datetime.now(UTC)).total_seconds())
    finally:
        engine.dispose()
