"""What waits for a reader, what was said of it, and what readers said."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields

from sqlalchemy import and_, delete, select, update
from sqlalchemy.orm import Session

from models.corrections.opinions import Opinion
from models.documents import to_json
from models.errors import Refused
from models.findings import Flag
from models.people import Person
from models.uids import StudyUid
from models.words import storable
from services.records.entries.reading import (
    RANDOM_CHECK,
    Given,
    Listed,
    Narrowed,
    OrganSaid,
    Place,
    ReadingState,
    ReadingTime,
    holder_of,
)
from services.records.events.reading import OpinionGiven, ReadingForgotten, StudyListed
from services.records.guarded import RowKey
from services.records.narrowed import ORDER, behind_of, conditions_of
from services.records.settled import DRAWN_ANEW, FLAGGED, Word, answered, findings_of, put_opinions, settle
from services.records.tables import (
    ErasedPatientRow,
    FindingRow,
    ListedRow,
    OpinionRow,
    ReadingTimeRow,
    ResultRow,
)
from services.records.transactions import Transactions

HELD_MS = 600_000
"""A study is free again so long after the last sign of life of who has it open, milliseconds."""

IDLE_MS = 60_000
"""After so long without a sign of life nobody has been reading, milliseconds."""

GONE = "the study is on the worklist no more"

_OTHERWISE = frozenset({"doubt_ml", "came_ms", "state", "holder", "holder_name", "held_ms"})
"""Fields of `Listed` that the table has otherwise, or that the records say."""


class SqlReading(Transactions):
    """What waits for a reader, and what readers said."""

    def list_study(self, listed: Listed, organs: Collection[OrganSaid]) -> None:
        """Put a result on the worklist in place of an earlier one of its study; told again, nothing."""
        listed = storable(listed)
        with self._transaction() as session:
            known = session.get(ListedRow, listed.study_uid)
            if known is not None and known.result == listed.result:
                return
            if session.get(ErasedPatientRow, listed.patient) is not None:
                return
            values = {name: one for name, one in asdict(listed).items() if name not in _OTHERWISE}
            values |= {"minus_doubt_ml": -listed.doubt_ml}
            free = {"holder": "", "holder_name": "", "held_ms": 0, "state": ReadingState.WAITING.value}
            came_ms = self._now_ms() if known is None else known.came_ms
            session.merge(ListedRow(**values, **free, came_ms=came_ms))
            changed: list[RowKey] = []
            if not findings_of(session, listed.result):
                for position, said in enumerate(organs):
                    row = {**asdict(said), "reasons": " ".join(said.reasons), "patient": listed.patient}
                    row["figures"] = to_json(said.figures)
                    session.add(FindingRow(result=listed.result, position=position, **row))
                    changed.append((FindingRow, (listed.result, said.organ)))
            session.flush()
            settle(session, listed.study_uid)
            event = StudyListed(
                result=listed.result,
                study_uid=listed.study_uid,
                release=listed.release,
                findings=len(organs),
            )
            self._add_event(session, event, "segment_study", changed=changed)

    def worklist(
        self,
        state: ReadingState = ReadingState.WAITING,
        *,
        behind: Place | None = None,
        at_most: int = 50,
        narrowed: Narrowed | None = None,
    ) -> tuple[Listed, ...]:
        """Return studies of a state in the order in which they are to be read."""
        wanted = select(ListedRow).where(
            ListedRow.state == state.value, *conditions_of(narrowed or Narrowed())
        )
        if behind is not None:
            wanted = wanted.where(behind_of(behind))
        with self._transaction() as session:
            rows = session.scalars(wanted.order_by(*ORDER).limit(at_most))
            return tuple(map(_listed, rows))

    def waiting(self, at_most: int = 501) -> int:
        """Return how many studies wait, counted no further than told."""
        some = select(ListedRow.study_uid).where(ListedRow.state == ReadingState.WAITING.value)
        with self._transaction() as session:
            return len(session.scalars(some.limit(at_most)).all())

    def listed(self, page: str) -> Listed | None:
        """Return the study of that name on the pages; None if there is none."""
        with self._transaction() as session:
            row = session.scalars(select(ListedRow).filter_by(page=page)).one_or_none()
            return None if row is None else _listed(row)

    def listed_studies(self, study_uids: Collection[StudyUid]) -> tuple[Listed, ...]:
        """Return those of these studies that are listed, in the order of reading."""
        wanted = select(ListedRow).where(ListedRow.study_uid.in_(study_uids))
        with self._transaction() as session:
            return tuple(map(_listed, session.scalars(wanted.order_by(*ORDER))))

    def listed_of_patient(self, patient: str) -> tuple[Listed, ...]:
        """Return the listed studies of a patient, by its keyed hash, in the order of listing."""
        with self._transaction() as session:
            rows = session.scalars(select(ListedRow).filter_by(patient=patient).order_by(ListedRow.came_ms))
            return tuple(map(_listed, rows))

    def findings(self, results: Collection[str]) -> dict[str, tuple[OrganSaid, ...]]:
        """Return what was said of the organs of listed results, by result and in their order."""
        with self._transaction() as session:
            return {result: findings_of(session, result) for result in results}

    def give_opinion(
        self,
        result: str,
        organs: Collection[str],
        opinion: Opinion,
        *,
        reader: Person,
        why: str = "",
        seen: str,
    ) -> None:
        """Put on record what a reader says of organs of a listed result, in one act."""
        reader, organs = storable(reader), tuple(dict.fromkeys(organs))
        with self._transaction() as session:
            row = _current(session, result)
            known = {said.organ for said in findings_of(session, result)}
            if unknown := sorted(set(organs) - known):
                raise Refused("unknown-organ", f"nothing was said of {', '.join(unknown)}")
            word = Word(reader.name, reader.subject, reader.issuer, self._now())
            changed = put_opinions(session, row, organs, word, seen=seen, opinion=opinion, why=why)
            settle(session, row.study_uid)
            event = OpinionGiven(
                result=result,
                study_uid=row.study_uid,
                release=row.release,
                organs=tuple(organs),
                opinion=opinion.value,
                why=why,
                seen=seen,
            )
            self._add_event(session, event, reader.name, changed=changed)

    def opinions(self, study_uid: StudyUid) -> tuple[Given, ...]:
        """Return what readers said of a study's results without drawing, in order."""
        names = [one.name for one in fields(Given)]
        with self._transaction() as session:
            rows = session.scalars(select(OpinionRow).filter_by(study_uid=study_uid).order_by(OpinionRow.id))
            return tuple(Given(**{name: getattr(row, name) for name in names}) for row in rows)

    def answered_organs(self, study_uid: StudyUid) -> frozenset[str]:
        """Return the organs of a listed study's result that a reader has answered, in whatever way."""
        with self._transaction() as session:
            row = session.get(ListedRow, study_uid)
            return frozenset() if row is None else answered(session, row)

    def hold(
        self, study_uid: StudyUid, reader: Person, *, take_over: bool = False, reading: bool = True
    ) -> Listed:
        """Reserve a listed study for who opens it, or give a sign of life; return it as it is then."""
        reader, now = storable(reader), self._now_ms()
        holder = holder_of(reader)
        with self._transaction() as session:
            row = session.get(ListedRow, study_uid)
            if row is None:
                raise Refused("not-listed", GONE)
            if take_over or row.holder in ("", holder) or now - row.held_ms > HELD_MS:
                row.holder, row.holder_name, row.held_ms = holder, reader.name, now
                if reading:
                    _read_for(session, row, holder, now)
            session.flush()
            return _listed(row)

    def still_held(self, study_uid: StudyUid, reader: Person) -> None:
        """Take a sign of life of a study that this reader holds; of another nothing happens."""
        holder = holder_of(storable(reader))
        with self._transaction() as session:
            row = session.get(ListedRow, study_uid)
            if row is not None and row.holder == holder:
                row.held_ms = self._now_ms()
                _read_for(session, row, holder, row.held_ms)

    def note_viewer(self, study_uid: StudyUid, reader: Person) -> None:
        """Note that this reader opens a listed study's result in the viewer."""
        holder = holder_of(storable(reader))
        with self._transaction() as session:
            row = session.get(ListedRow, study_uid)
            if row is None:
                raise Refused("not-listed", GONE)
            _read_for(session, row, holder, self._now_ms())
            session.flush()
            session.get_one(ReadingTimeRow, (row.result, holder)).viewer = True

    def opened_viewer(self, result: str, reader: Person) -> bool:
        """Tell whether this reader has opened a result in the viewer."""
        with self._transaction() as session:
            row = session.get(ReadingTimeRow, (result, storable(holder_of(reader))))
            return row is not None and row.viewer

    def let_go(self, study_uid: StudyUid, reader: Person) -> None:
        """Free a study that this reader holds; what another holds stays so."""
        mine = and_(ListedRow.study_uid == study_uid, ListedRow.holder == storable(holder_of(reader)))
        with self._transaction() as session:
            session.execute(update(ListedRow).where(mine).values(holder="", holder_name="", held_ms=0))

    def forget_reading(self, patient: str, *, who: str) -> int:
        """Take out what was said of a patient, and what readers said."""
        with self._transaction() as session:
            findings = session.scalars(select(FindingRow).filter_by(patient=patient)).all()
            opinions = session.scalars(select(OpinionRow).filter_by(patient=patient)).all()
            changed: list[RowKey] = [(FindingRow, (row.result, row.organ)) for row in findings]
            changed += [(OpinionRow, (row.id,)) for row in opinions]
            for table in (FindingRow, OpinionRow, ReadingTimeRow, ListedRow):
                session.execute(delete(table).filter_by(patient=patient))
            if changed:
                event = ReadingForgotten(patient=patient, findings=len(findings), opinions=len(opinions))
                self._add_event(session, event, storable(who), changed=changed)
            return len(changed)

    def seconds_read(self, result: str, reader: Person) -> float:
        """Return how long this reader had a result open, without the idle time."""
        with self._transaction() as session:
            row = session.get(ReadingTimeRow, (result, storable(holder_of(reader))))
            return 0.0 if row is None else row.seconds

    def reading_times(self, since_ms: int) -> tuple[ReadingTime, ...]:
        """Return how long readers had studies open that are listed, and of whom nothing is said."""
        columns = (ReadingTimeRow.result, ReadingTimeRow.seconds, ReadingTimeRow.last_ms)
        wanted = (
            select(ListedRow.site, ListedRow.audited, *columns)
            .join(ResultRow, ResultRow.key == ReadingTimeRow.result)
            .join(ListedRow, ListedRow.study_uid == ResultRow.study_uid)
            .where(ReadingTimeRow.last_ms > since_ms, ReadingTimeRow.seconds > 0)
        )
        with self._transaction() as session:
            rows = session.execute(wanted).all()
            flags = _worst_flags(session, {row.result for row in rows if not row.audited})
        return tuple(
            ReadingTime(row.site, flags.get(row.result, RANDOM_CHECK), row.seconds, row.last_ms)
            for row in rows
        )

    def _now_ms(self) -> int:
        return int(self._now().timestamp() * 1000)


def _worst_flags(session: Session, results: Collection[str]) -> dict[str, str]:
    """Return the worst flag of each of these results; nothing was asked of one that is clear."""
    flags = dict.fromkeys(results, Flag.CLEAR.value)
    flagged = select(FindingRow.result, FindingRow.flag).where(FindingRow.flag.in_(FLAGGED)).distinct()
    of_these = flagged.join(ReadingTimeRow, ReadingTimeRow.result == FindingRow.result)
    for result, flag in session.execute(of_these):
        if result in flags and flags[result] != Flag.REJECT:
            flags[result] = flag
    return flags


def _current(session: Session, result: str) -> ListedRow:
    """Return the listed study whose result this is; refuse what an answer to an earlier outline is."""
    row = session.scalars(select(ListedRow).filter_by(result=result)).one_or_none()
    if row is None:
        raise Refused("drawn-anew", DRAWN_ANEW)
    return row


def _read_for(session: Session, row: ListedRow, holder: str, now: int) -> None:
    """Add the time since the last sign of life, unless it was idle."""
    time_row = session.get(ReadingTimeRow, (row.result, holder))
    if time_row is None:
        session.add(
            ReadingTimeRow(
                result=row.result,
                holder=holder,
                patient=row.patient,
                seconds=0.0,
                viewer=False,
                last_ms=now,
            )
        )
        return
    since = now - time_row.last_ms
    if 0 < since <= IDLE_MS:
        time_row.seconds += since / 1000
    time_row.last_ms = now


def _listed(row: ListedRow) -> Listed:
    values = {one.name: getattr(row, one.name) for one in fields(Listed) if one.name != "doubt_ml"}
    return Listed(**values | {"doubt_ml": -row.minus_doubt_ml, "state": ReadingState(row.state)})
