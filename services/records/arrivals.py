"""What came, how far each has come, and where the archive's feed was read to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields, replace
from datetime import date, datetime

from sqlalchemy import ColumnElement, and_, func, not_, select, update
from sqlalchemy.orm import Session

from models.uids import SopUid, StudyUid
from models.words import storable
from services.records.entries.arrivals import ANSWERED, Arrival, ArrivalState, Watch
from services.records.events.event import Event
from services.records.tables import ArrivalRow, FeedRow, WatchRow
from services.records.transactions import Transactions, insert_new

OPEN = (ArrivalState.WAITING, ArrivalState.SUBMITTED)
FEED = 1
"""There is one archive, and one row for its feed and its watch."""

SETTLED_AT_ONCE = 500
"""So many settled arrivals are looked at anew at a time; the daily look touches all of a month."""

_GIVEN = tuple(one.name for one in fields(Arrival) if one.name not in ("came_at", "changed_at", "revision"))


class SqlArrivals(Transactions):
    """What came, how far each has come, and where the archive's feed was read to."""

    def feed_cursor(self) -> int | None:
        """Return where the archive's feed is read next; None before the first time."""
        with self._transaction() as session:
            row = session.get(FeedRow, FEED)
            return None if row is None else row.cursor

    def take_in(self, study_uids: Collection[StudyUid], cursor: int) -> None:
        """Note that something came to these studies, and move the cursor, in one transaction."""
        with self._transaction() as session:
            insert_new(session, FeedRow, id=FEED, cursor=cursor, swept_on="")
            session.execute(update(FeedRow).where(FeedRow.id == FEED).values(cursor=cursor))
            for study_uid in study_uids:
                if not self._insert(session, Arrival(study_uid, study_uid)):
                    session.execute(
                        update(ArrivalRow)
                        .where(ArrivalRow.uid == study_uid)
                        .values(touched=True, revision=ArrivalRow.revision + 1)
                    )

    def note_watch(self, trouble: str = "") -> None:
        """Note that the archive was watched just now, and why that came to nothing, if it did."""
        with self._transaction() as session:
            session.merge(WatchRow(id=FEED, at=self._now(), trouble=storable(trouble)))

    def last_watch(self) -> Watch | None:
        """Return when the archive was watched last; None if it never was."""
        with self._transaction() as session:
            row = session.get(WatchRow, FEED)
            return None if row is None else Watch(row.at, row.trouble)

    def sweep(self, day: date, came_after: datetime) -> int:
        """Have the studies answered that came lately looked at again, once a day; return how many."""
        with self._transaction() as session:
            insert_new(session, FeedRow, id=FEED, cursor=0, swept_on="")
            feed = session.get_one(FeedRow, FEED)
            if feed.swept_on == day.isoformat():
                return 0
            feed.swept_on = day.isoformat()
            rows = session.scalars(select(ArrivalRow).where(ArrivalRow.state.in_(ANSWERED)))
            late = [row for row in rows if row.came_at > came_after]
            for row in late:
                row.touched, row.revision = True, row.revision + 1
            return len(late)

    def arrival(self, uid: StudyUid | SopUid) -> Arrival | None:
        """Return what is known of one arrival."""
        with self._transaction() as session:
            row = session.get(ArrivalRow, uid)
            return None if row is None else _arrival(row)

    def arrivals(self) -> tuple[Arrival, ...]:
        """Return all arrivals, in order of coming."""
        with self._transaction() as session:
            rows = session.scalars(select(ArrivalRow).order_by(ArrivalRow.came_at, ArrivalRow.uid))
            return tuple(_arrival(row) for row in rows)

    def arrivals_of_code(self, code: str, at_most: int) -> tuple[Arrival, ...]:
        """Return arrivals of a code, in order of coming."""
        wanted = select(ArrivalRow).filter_by(code=code).order_by(ArrivalRow.came_at, ArrivalRow.uid)
        with self._transaction() as session:
            return tuple(map(_arrival, session.scalars(wanted.limit(at_most))))

    def arrivals_by_state(self) -> Mapping[ArrivalState, int]:
        """Return how many arrivals are in each state that any is in."""
        with self._transaction() as session:
            counted = select(ArrivalRow.state, func.count()).group_by(ArrivalRow.state)
            return {ArrivalState(state): count for state, count in session.execute(counted).tuples()}

    def studies_by_code(self, states: Collection[ArrivalState]) -> dict[tuple[ArrivalState, str], int]:
        """Return how many studies are in each of these states, by state and code."""
        of = (ArrivalRow.state, ArrivalRow.code)
        counted = select(*of, func.count()).where(_studies_in(states)).group_by(*of)
        with self._transaction() as session:
            return {(ArrivalState(state), code): n for state, code, n in session.execute(counted).tuples()}

    def studies_of(self, states: Collection[ArrivalState], at_most: int) -> tuple[Arrival, ...]:
        """Return studies in these states, those that changed last first."""
        wanted = select(ArrivalRow).where(_studies_in(states))
        newest = wanted.order_by(ArrivalRow.changed_at.desc(), ArrivalRow.uid).limit(at_most)
        with self._transaction() as session:
            return tuple(map(_arrival, session.scalars(newest)))

    def has_sent(self) -> bool:
        """Tell whether results of any study were ever stored in the archive."""
        sent = select(ArrivalRow.uid).where(ArrivalRow.patient != "").limit(1)
        with self._transaction() as session:
            return session.scalar(sent) is not None

    def open_arrivals(self) -> tuple[Arrival, ...]:
        """Return the arrivals that something is to be done about, in order of coming."""
        todo = ArrivalRow.state.in_(OPEN)
        settled = and_(ArrivalRow.touched, not_(todo))
        newest = (ArrivalRow.came_at.desc(), ArrivalRow.uid)
        with self._transaction() as session:
            rows = [
                *session.scalars(select(ArrivalRow).where(todo)),
                *session.scalars(select(ArrivalRow).where(settled).order_by(*newest).limit(SETTLED_AT_ONCE)),
            ]
            return tuple(map(_arrival, sorted(rows, key=lambda row: (row.came_at, row.uid))))

    def change_arrival(
        self,
        before: Arrival | None,
        after: Arrival,
        *,
        event: Event | None = None,
        key: str | None = None,
        who: str = "arrivals",
    ) -> bool:
        """Put one arrival in another's place, with its event, unless it has changed meanwhile."""
        after = storable(after)
        with self._transaction() as session:
            if before is None:
                done = self._insert(session, after)
            else:
                values = {name: getattr(after, name) for name in _GIVEN}
                unchanged = (ArrivalRow.uid == before.uid) & (ArrivalRow.revision == before.revision)
                seen = replace(before, touched=after.touched)
                values |= {"revision": before.revision + 1}
                if any(getattr(seen, name) != value for name, value in values.items() if name in _GIVEN):
                    values["changed_at"] = self._now()
                changed = update(ArrivalRow).where(unchanged).values(**values).returning(ArrivalRow.uid)
                done = session.execute(changed).first() is not None
            if done and event is not None:
                self._add_event(session, event, storable(who), key)
            return done

    def _insert(self, session: Session, arrival: Arrival) -> bool:
        values = {name: getattr(arrival, name) for name in _GIVEN}
        now = self._now()
        return insert_new(session, ArrivalRow, **values, came_at=now, changed_at=now, revision=0)


def _studies_in(states: Collection[ArrivalState]) -> ColumnElement[bool]:
    return and_(ArrivalRow.state.in_([one.value for one in states]), ArrivalRow.uid == ArrivalRow.study_uid)


def _arrival(row: ArrivalRow) -> Arrival:
    values = {one.name: getattr(row, one.name) for one in fields(Arrival)}
    return Arrival(**values | {"state": ArrivalState(row.state)})
