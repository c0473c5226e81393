"""The database: which, of what revision, how far away, and whether its clock agrees with ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Engine, select, text

from deploy.doctor.clock import clock
from deploy.doctor.finding import Finding, State
from services.backup.backup import BACKUP_TAKEN
from services.records.database import connect, revisions
from services.records.tables import EventRow

FAR_MS = 50.0
"""A study takes some thirty transactions."""
OVERDUE_HOURS = 26.0
"""A backup every night is never older."""


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
        if found == newest:
            yield backup(_hours_since_backup(engine))
    finally:
        engine.dispose()


def _hours_since_backup(engine: Engine) -> float | None:
    newest = select(EventRow.payload).filter_by(what=BACKUP_TAKEN).order_by(EventRow.number.desc()).limit(1)
    with engine.connect() as connection:
        payload = connection.execute(newest).scalar()
    if payload is None:
        return None
    return (datetime.now(UTC) - datetime.fromisoformat(payload["taken_at"])).total_seconds() / 3600


def backup(hours: float | None) -> Finding:
    """Judge the newest backup by its age, hours; None if there is none."""
    remedy = "Have `organloop backup` run every night; if it does, its log and its events say why not."
    if hours is None:
        return Finding("backup", State.WARNING, "none is on record", remedy)
    detail, measured = f"taken {hours:.0f} hours ago", {"hours": round(hours, 1)}
    if hours < -1:
        return Finding(
            "backup", State.BAD, f"taken {-hours:.0f} hours from now", "Set the clock right.", measured
        )
    if hours <= OVERDUE_HOURS:
        return Finding("backup", State.GOOD, detail, measured=measured)
    return Finding("backup", State.WARNING, detail, remedy, measured)
