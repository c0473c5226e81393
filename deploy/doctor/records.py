"""The database: which, of what revision, how far away, and whether its clock agrees with ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from deploy.doctor.clock import clock
from deploy.doctor.finding import Finding, State
from models.errors import StorageFailed
from services.records.database import connect, revisions
from services.records.entries.arrivals import Watch
from services.records.events.operations import BackupTaken, RunFreed
from services.records.port import Log
from services.records.store import SqlRecords

FAR_MS = 50.0
"""A study takes some thirty transactions."""
OVERDUE_HOURS = 26.0
"""A backup every night is never older."""
LATE_SECONDS = 120.0
"""A watch is on record every 10 s."""


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
            with _as_the_database_says():
                kept = SqlRecords(engine)
                hours, watch, runs = _hours_since_backup(kept), kept.last_watch(), _freed_in_a_day(kept)
            yield backup(hours)
            yield watched(watch, datetime.now(UTC))
            yield freed(runs)
    finally:
        engine.dispose()


@contextmanager
def _as_the_database_says() -> Iterator[None]:
    """Raise the driver's own error: what is printed of it is its type, for its words may hold a password."""
    try:
        yield
    except StorageFailed as failed:
        raise failed.__cause__ or failed from None


def _hours_since_backup(log: Log) -> float | None:
    taken = log.last(BackupTaken)
    if taken is None:
        return None
    return (datetime.now(UTC) - datetime.fromisoformat(taken.said.taken_at)).total_seconds() / 3600


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


def watched(last: Watch | None, now: datetime) -> Finding:
    """Judge whether a worker watches the archive for new studies."""
    name = "archive, watch"
    remedy = "A worker watches, half a minute after `organloop up` or its pod started it; else see its log."
    if last is None:
        return Finding(name, State.WARNING, "nobody has watched yet: no study is found", remedy)
    seconds = (now - last.at).total_seconds()
    detail, measured = f"watched {seconds:.0f} s ago", {"seconds_ago": round(seconds, 1)}
    if seconds > LATE_SECONDS:
        return Finding(name, State.BAD, f"{detail}: no study is found", remedy, measured)
    if last.trouble:
        return Finding(name, State.BAD, f"{detail}, in vain: {last.trouble}", "See the archive.", measured)
    return Finding(name, State.GOOD, detail, measured=measured)


def freed(runs: int) -> Finding:
    """Judge how many runs of the last day were ended because nobody worked on them."""
    name, measured = "runs without a process", {"runs": runs}
    if not runs:
        return Finding(name, State.GOOD, "none in the last day", measured=measured)
    detail = f"{runs} were ended in the last day, and tried again"
    remedy = "The events `run-freed` name them: did workers run out of memory, did a node fail?"
    return Finding(name, State.WARNING, detail, remedy, measured)


def _freed_in_a_day(log: Log) -> int:
    return sum(datetime.now(UTC) - one.at < timedelta(days=1) for one in log.all(RunFreed))
