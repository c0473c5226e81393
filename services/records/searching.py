"""The log as people look through it: the newest first, narrowed, each narrowing by an index."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import date, timedelta

from sqlalchemy import ColumnElement, Select, String, func, or_, select, type_coerce, union

from models.uids import StudyUid
from services.records.entries.log import Line, Sought
from services.records.events.corrections import CorrectionWithdrawn, KeptOutOfTuning
from services.records.events.serving import IncumbentChanged
from services.records.log import as_line, value_of
from services.records.tables import CorrectionRow, EventRow
from services.records.transactions import Transactions

OF_CORRECTIONS = (CorrectionWithdrawn.what, KeptOutOfTuning.what)
"""Kinds that name a correction and no study."""


class SqlSearching(Transactions):
    """Lines of the log, the newest first."""

    def sought(self, sought: Sought, *, before: int | None = None, at_most: int = 100) -> tuple[Line, ...]:
        """Return the lines that are wanted, the newest first."""
        common = list(_common(sought))
        if before is not None:
            common.append(EventRow.number < before)
        ways = [_newest([*common, *way], at_most) for way in _ways(sought)]
        numbers = ways[0] if len(ways) == 1 else _of_both(ways, at_most)
        wanted = select(EventRow).where(EventRow.number.in_(numbers)).order_by(EventRow.number.desc())
        with self._transaction() as session:
            return tuple(as_line(row) for row in session.scalars(wanted))

    def line(self, number: int) -> Line | None:
        """Return the line of that number; None if there is none."""
        with self._transaction() as session:
            row = session.get(EventRow, number)
            return None if row is None else as_line(row)

    def digests(self, numbers: Collection[int]) -> dict[int, str]:
        """Return the digests that lines bear, by number; those that are not there are left out."""
        wanted = select(EventRow.number, EventRow.digest).where(EventRow.number.in_(numbers))
        with self._transaction() as session:
            return dict(session.execute(wanted).tuples().all())

    def names_in_log(self) -> tuple[str, ...]:
        """Return the names under which anything is on record, sorted; one look into an index a name."""
        first = select(func.min(EventRow.who).label("who")).cte("names", recursive=True)
        following = select(func.min(EventRow.who)).where(EventRow.who > first.c.who).scalar_subquery()
        names = first.union_all(select(following).where(first.c.who.is_not(None)))
        with self._transaction() as session:
            return tuple(sorted(session.scalars(select(names.c.who).where(names.c.who.is_not(None)))))

    def kinds_since(self, after: int) -> frozenset[str]:
        """Return which kinds of events came behind a line."""
        with self._transaction() as session:
            return frozenset(session.scalars(select(EventRow.what).where(EventRow.number > after).distinct()))


def _newest(conditions: Collection[ColumnElement[bool]], at_most: int) -> Select[tuple[int]]:
    """Ask for the numbers of the newest lines of which all of this holds."""
    newest = select(EventRow.number).where(*conditions).order_by(EventRow.number.desc()).limit(at_most)
    return select(newest.subquery().c.number)


def _of_both(ways: Collection[Select[tuple[int]]], at_most: int) -> Select[tuple[int]]:
    found = union(*ways).subquery()
    newest = select(found.c.number).order_by(found.c.number.desc()).limit(at_most).subquery()
    return select(newest.c.number)


def _common(sought: Sought) -> Iterator[ColumnElement[bool]]:
    if sought.who:
        yield EventRow.who == sought.who
    if sought.what:
        yield EventRow.what == sought.what
    written = type_coerce(EventRow.at, String)
    if sought.first_day:
        since = written >= sought.first_day
        yield since
        yield EventRow.number >= select(func.min(EventRow.number)).where(since).scalar_subquery()
    if sought.last_day:
        until = written < (date.fromisoformat(sought.last_day) + timedelta(days=1)).isoformat()
        yield until
        yield EventRow.number <= select(func.max(EventRow.number)).where(until).scalar_subquery()


def _ways(sought: Sought) -> Iterator[list[ColumnElement[bool]]]:
    """Yield the ways in which a line may speak of the release and the study that are asked for."""
    for of_release in _of_release(sought.release):
        for of_study in _of_study(sought.study):
            yield [*of_release, *of_study]


def _of_release(release: int | None) -> Iterator[list[ColumnElement[bool]]]:
    if release is None:
        yield []
        return
    yield [value_of("release") == str(release)]
    served = or_(value_of("to") == str(release), value_of("from") == str(release))
    yield [EventRow.what == IncumbentChanged.what, served]


def _of_study(study: StudyUid | None) -> Iterator[list[ColumnElement[bool]]]:
    if study is None:
        yield []
        return
    yield [value_of("study_uid") == study]
    corrections = select(CorrectionRow.sop_instance_uid).where(CorrectionRow.study_uid == study)
    yield [EventRow.what.in_(OF_CORRECTIONS), value_of("sop_instance_uid").in_(corrections)]
