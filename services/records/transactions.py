"""One transaction of the records: how it begins, how it fails, how a row is written once only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from models.errors import StorageFailed
from models.people import Person
from models.words import storable
from services.records.chain import FIRST, link
from services.records.events.event import PROOF, Event, RowsChanged
from services.records.guarded import RowKey, sealed_now
from services.records.tables import EventRow, Table

Clock = Callable[[], datetime]


def local_now() -> datetime:
    """Return the time, with the site's offset from UTC."""
    return datetime.now(UTC).astimezone()


class Transactions:
    """What every part of the records in a SQL database is built on.

    Parameters
    ----------
    engine
        From `services.records.database.connect`, upgraded.
    clock
        Gives the times on record; they keep their offset from UTC.
    guard
        Asked first in every transaction; what it raises ends it.
    person
        Whose acts these are; None where no name is proven.
    """

    def __init__(
        self,
        engine: Engine,
        clock: Clock = local_now,
        guard: Callable[[Session], object] | None = None,
        person: Person | None = None,
    ) -> None:
        self._engine = engine
        self._now = clock
        self._guard = guard
        self._person = person

    def signed(self, person: Person) -> Self:
        """Return these records for a person: what is recorded under that name bears the proof of it."""
        return type(self)(self._engine, self._now, self._guard, person)

    @property
    def person(self) -> Person | None:
        """Whose acts these are; None where no name is proven."""
        return self._person

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with as_storage_failure(), Session(self._engine, autoflush=True) as session, session.begin():
            if self._guard is not None:
                self._guard(session)
            yield session

    def _add_event(
        self,
        session: Session,
        event: Event,
        who: str,
        key: str | None = None,
        changed: Iterable[RowKey] = (),
    ) -> None:
        """Write the next link of the chain; transactions follow one another, so there is one next.

        What rows the event has changed, or taken out, it says by their digests. Its own digest is taken of
        what the database keeps, not of what was told.
        """
        who, key = storable((who, key))
        if key is not None and session.scalars(select(EventRow.number).filter_by(key=key)).first():
            return
        if isinstance(event, RowsChanged):
            event = replace(event, rows=event.rows or sealed_now(session, changed))
        payload = storable(event.payload())
        if self._person is not None and who == storable(self._person.name):
            payload[PROOF] = storable({"subject": self._person.subject, "issuer": self._person.issuer})
        newest = select(EventRow.number, EventRow.digest).order_by(EventRow.number.desc()).limit(1)
        number, previous = session.execute(newest).tuples().first() or (0, FIRST)
        row = EventRow(
            number=number + 1,
            at=self._now(),
            what=event.what,
            who=who,
            payload=payload,
            key=key,
            previous=previous,
        )
        row.digest = link(row.number, row.at, row.what, who, row.payload, key, previous)
        session.add(row)
        session.flush()


@contextmanager
def as_storage_failure() -> Iterator[None]:
    """Raise what the database driver raises as `StorageFailed`."""
    try:
        yield
    except DBAPIError as error:
        raise StorageFailed(f"the records cannot be reached or written: {error.orig}") from error


def insert_new(session: Session, table: type[Table], *, unique: str | None = None, **values: Any) -> bool:
    """Insert a row unless its key, or the unique column named, is there already; tell whether it was new."""
    dialect = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    columns = [unique] if unique else [column.name for column in table.__table__.primary_key]
    statement = (
        dialect.insert(table).values(**storable(values)).on_conflict_do_nothing(index_elements=columns)
    )
    return session.execute(statement.returning(*table.__table__.primary_key)).first() is not None
