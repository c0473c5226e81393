"""The log: what happened, in order, each kind read as its own type."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, func, literal_column, select
from sqlalchemy.orm import Session

from models.documents import from_json, name_of
from models.errors import StorageFailed
from models.uids import StudyUid
from services.records.entries.log import Line
from services.records.events.event import PROOF, E_co, Event, Proof, Recorded, kinds
from services.records.events.results import ResultRecorded
from services.records.tables import EventRow, said
from services.records.transactions import Transactions


class SqlLog(Transactions):
    """The log: what happened, in order."""

    def record(self, event: Event, *, who: str, key: str | None = None) -> None:
        """Record that something happened; with a key, once only."""
        with self._transaction() as session:
            self._add_event(session, event, who, key)

    def last(self, kind: type[E_co], *, key: str | None = None, **by: str | int) -> Recorded[E_co] | None:
        """Return the last event of a kind with these values; None if there is none."""
        newest = _wanted((kind,), key, by).order_by(EventRow.number.desc()).limit(1)
        return next(iter(self._read(newest)), None)

    def all(self, *of: type[E_co], **by: str | int) -> tuple[Recorded[E_co], ...]:
        """Return the events of these kinds with these values, in order."""
        return tuple(self._read(_wanted(of, None, by).order_by(EventRow.number)))

    def studies_by_site(self) -> dict[str, int]:
        """Return how many studies have results, by the site where they were scanned; "" if not known."""
        site = func.coalesce(value_of("site"), "")
        counted = select(site, func.count(func.distinct(value_of("study_uid"))))
        with self._transaction() as session:
            found = session.execute(counted.where(EventRow.what == ResultRecorded.what).group_by(site))
            return {str(name): int(studies) for name, studies in found.tuples()}

    def lines(self, after: int = 0, at_most: int | None = None) -> tuple[Line, ...]:
        """Return the log's lines behind one, in order, whatever their kinds."""
        wanted = select(EventRow).where(EventRow.number > after).order_by(EventRow.number).limit(at_most)
        with self._transaction() as session:
            return tuple(as_line(row) for row in session.scalars(wanted))

    def _read(self, wanted: Select[tuple[EventRow]]) -> Iterator[Recorded[E_co]]:
        with self._transaction() as session:
            lines = [as_line(row) for row in session.scalars(wanted)]
        for line in lines:
            yield _recorded(line)


def fields_of(
    session: Session, kind: type[Event], names: Sequence[str], study_uids: Collection[StudyUid]
) -> Iterator[Sequence[Any]]:
    """Yield the number of each event of a kind, and fields of it as text; those of one study by an index.

    Raises
    ------
    StorageFailed
        If an event does not say one of them.
    """
    wanted = select(EventRow.number, *map(value_of, names)).where(EventRow.what == kind.what)
    if len(study_uids) == 1:
        wanted = wanted.where(value_of("study_uid").in_(study_uids))
    for row in session.execute(wanted.order_by(EventRow.number)):
        if None in row:
            raise StorageFailed(
                f"event {row[0]} of the log cannot be read: it lacks one of {', '.join(names)}"
            )
        yield row


def recorded(line: Line) -> Recorded[Event] | None:
    """Return the event that a line tells; None of a kind that only a newer program knows.

    Raises
    ------
    StorageFailed
        If its payload tells no event of its kind.
    """
    return _recorded(line) if line.what in kinds() else None


def _recorded(line: Line) -> Recorded[E_co]:
    try:
        event = kinds()[line.what].from_payload(line.payload)
        proof = None if PROOF not in line.payload else from_json(Proof, line.payload[PROOF])
    except ValueError as error:
        raise StorageFailed(f"event {line.number} of the log cannot be read: {error}") from error
    return Recorded(line.number, line.at, line.who, event, line.key, line.digest, proof)  # type: ignore[arg-type]


def _wanted(
    of: tuple[type[Event], ...], key: str | None, by: dict[str, str | int]
) -> Select[tuple[EventRow]]:
    """Return the question for events of some kinds; a field that one of them lacks raises AttributeError."""
    wanted = select(EventRow).where(EventRow.what.in_([kind.what for kind in of]))
    if key is not None:
        wanted = wanted.where(EventRow.key == key)
    for name, value in by.items():
        (column,) = {name_of(kind, name) for kind in of}
        wanted = wanted.where(value_of(column) == str(value))
    return wanted


def value_of(name: str) -> ColumnElement[str]:
    """Return a field of an event's payload, as text."""
    return literal_column(said(name), Text)


def as_line(row: EventRow) -> Line:
    """Return a row of the events as a line."""
    return Line(
        number=row.number,
        at=row.at,
        what=row.what,
        who=row.who,
        payload=row.payload,
        key=row.key,
        previous=row.previous,
        digest=row.digest,
    )
