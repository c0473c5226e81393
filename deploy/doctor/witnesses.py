"""Whether somebody outside the database still hears of the log."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from deploy.doctor.clinical import is_clinical
from deploy.doctor.finding import Finding, State
from services.records.database import connect, revisions
from services.records.entries.log import WitnessNote
from services.records.port import Records
from services.records.store import SqlRecords
from services.settings import Settings
from services.wiring import witnesses_of
from services.witnesses.file import FileWitness
from services.witnesses.port import EVERY_SECONDS, Witness

LATE_SECONDS = 3 * EVERY_SECONDS
"""A witness is told every five minutes, by the worker that watches the archive."""
NAME = "log, witness"


def witnessed(settings: Settings) -> Iterator[Finding]:
    """Look at who is told the head of the log; without anyone a clinical site is bad.

    Raises
    ------
    SQLAlchemyError
        If the database does not answer.
    """
    engine = connect(settings.records_url)
    try:
        found, newest = revisions(engine)
        if found == newest:  # else the database's own line says what to do
            records = SqlRecords(engine)
            yield from judged(settings, records, datetime.now(UTC))
    finally:
        engine.dispose()


def judged(settings: Settings, records: Records, now: datetime) -> Iterator[Finding]:
    """Judge each witness of the settings by when it was told last."""
    strict = is_clinical(settings, records)
    known = witnesses_of(settings)
    if not known:
        detail = "none is set: whoever owns the database can write the log anew, and nobody would know"
        remedy = "Set ORGANLOOP_WITNESS_SYSLOG, or _FILE to a place that the database's owner cannot write."
        if strict:
            yield Finding(NAME, State.BAD, detail, remedy)
        else:
            yield Finding(NAME, State.SKIPPED, "none is set; a demonstration needs none")
    notes = {note.name: note for note in records.witness_notes()}
    for one in known:
        yield _told(one, notes.get(one.name), now)
        if isinstance(one, FileWitness):
            yield from _apart(one, settings, State.BAD if strict else State.WARNING)


def _told(witness: Witness, note: WitnessNote | None, now: datetime) -> Finding:
    name = f"{NAME} ({witness.name})"
    remedy = "The worker that watches the archive tells it; `organloop audit witness` says why not."
    if note is None or note.told_at is None:
        trouble = f": {note.trouble}" if note is not None and note.trouble else ""
        return Finding(name, State.BAD, f"it was never told{trouble}", remedy)
    seconds = (now - note.told_at).total_seconds()
    measured = {"seconds_ago": round(seconds), "event": note.number}
    detail = f"told of event {note.number} {seconds / 60:.0f} min ago"
    if note.trouble:
        return Finding(name, State.BAD, f"{detail}, and not since: {note.trouble}", remedy, measured)
    late = seconds > LATE_SECONDS
    return Finding(name, State.BAD if late else State.GOOD, detail, remedy if late else "", measured)


def _apart(witness: FileWitness, settings: Settings, state: State) -> Iterator[Finding]:
    """Find fault with a file that lies where the home does: who writes the one writes the other."""
    try:
        together = witness.path.stat().st_dev == settings.home.stat().st_dev
    except OSError:
        return  # told as what it was not told
    if together:
        detail = "it lies on the home's volume, and goes with it"
        yield Finding(f"{NAME}, volume", state, detail, "Let ORGANLOOP_WITNESS_FILE lie on another volume.")
