"""What happened, in order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from services.records.port import Event
from services.records.tables import EventRow
from services.records.transactions import Transactions

STRETCH = 5000
"""Events read at once: nobody else's transaction goes on meanwhile."""


class SqlEvents(Transactions):
    """What happened, in order."""

    def event(
        self, what: str, *, who: str, payload: Mapping[str, Any] | None = None, key: str | None = None
    ) -> None:
        """Record that something happened; with a key, once only."""
        with self._transaction() as session:
            self._add_event(session, what, who, payload or {}, key)

    def events(self, what: str | None = None) -> tuple[Event, ...]:
        """Return all events, or those of one kind, in order."""
        wanted = select(EventRow).order_by(EventRow.number)
        with self._transaction() as session:
            rows = session.scalars(wanted if what is None else wanted.filter_by(what=what))
            return tuple(_event(row) for row in rows)

    def events_after(self, number: int) -> tuple[Event, ...]:
        """Return the next events behind one, in order, at most `STRETCH`; 0 for the first."""
        wanted = select(EventRow).where(EventRow.number > number).order_by(EventRow.number).limit(STRETCH)
        with self._transaction() as session:
            return tuple(_event(row) for row in session.scalars(wanted))


def _event(row: EventRow) -> Event:
    return Event(
        number=row.number,
        at=row.at,
        what=row.what,
        who=row.who,
        payload=row.payload,
        key=row.key,
        previous=row.previous,
        digest=row.digest,
    )
