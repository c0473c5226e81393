"""Which witness was told which head of the log, and when: for who looks whether they still hear of it."""

from __future__ import annotations

from sqlalchemy import select

from models.words import storable
from services.records.entries.log import Line, WitnessNote
from services.records.log import as_line
from services.records.tables import EventRow, WitnessRow
from services.records.transactions import Transactions


class SqlWitnessed(Transactions):
    """The head of the log, and who was told of it."""

    def head(self) -> Line | None:
        """Return the last line; None of an empty log."""
        newest = select(EventRow).order_by(EventRow.number.desc()).limit(1)
        with self._transaction() as session:
            row = session.scalars(newest).first()
            return None if row is None else as_line(row)

    def note_witness(self, name: str, number: int, digest: str, trouble: str = "") -> None:
        """Note that a witness was told a head just now, or why it could not be."""
        with self._transaction() as session:
            row = session.get(WitnessRow, name)
            if row is None:
                row = WitnessRow(name=name, number=0, digest="", told_at=None)
                session.add(row)
            row.trouble = storable(trouble)
            if not trouble:
                row.number, row.digest, row.told_at = number, digest, self._now()

    def witness_notes(self) -> tuple[WitnessNote, ...]:
        """Return when each witness was told last, by name."""
        with self._transaction() as session:
            rows = session.scalars(select(WitnessRow).order_by(WitnessRow.name))
            return tuple(WitnessNote(row.name, row.number, row.told_at, row.trouble) for row in rows)
