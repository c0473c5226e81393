"""What was written, and when first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.results import Result
from services.records.events.results import ResultRecorded
from services.records.guarded import RowKey
from services.records.tables import FirstWriting, ResultObjectRow, ResultRow
from services.records.transactions import Transactions, insert_new


class SqlResults(Transactions):
    """What was written, and when first."""

    def first_written(self, key: str, proposed: datetime) -> datetime:
        """Return the time first proposed for a result's key."""
        with self._transaction() as session:
            insert_new(session, FirstWriting, key=key, written_at=proposed)
            return session.scalars(select(FirstWriting.written_at).filter_by(key=key)).one()

    def record_result(
        self,
        key: str,
        *,
        study_uid: StudyUid,
        series_uid: SeriesUid,
        release: int,
        objects: Mapping[str, SopUid],
        site: str = "",
    ) -> None:
        """Record a result whose time `first_written` has given."""
        with self._transaction() as session:
            if session.get(FirstWriting, key) is None:
                raise ValueError(f"no time is on record for result {key}")
            new = insert_new(
                session, ResultRow, key=key, study_uid=study_uid, series_uid=series_uid, release=release
            )
            fresh = [
                uid
                for kind, uid in objects.items()
                if insert_new(session, ResultObjectRow, sop_instance_uid=uid, result_key=key, kind=kind)
            ]
            if new or fresh:
                event = ResultRecorded(
                    result=key, study_uid=study_uid, release=release, objects=objects, site=site or None
                )
                changed: list[RowKey] = [(table, (key,)) for table in (FirstWriting, ResultRow)]
                changed += [(ResultObjectRow, (uid,)) for uid in fresh]
                self._add_event(session, event, "segment_study", changed=changed)

    def find_result(self, sop_instance_uid: SopUid) -> Result | None:
        """Return the result one of whose objects has this SOP Instance UID."""
        with self._transaction() as session:
            member = session.get(ResultObjectRow, sop_instance_uid)
            return None if member is None else _result(session, session.get_one(ResultRow, member.result_key))

    def results_of_study(self, study_uid: StudyUid) -> tuple[Result, ...]:
        """Return the results of a study, in the order they were written first."""
        return self._results(study_uid=study_uid)

    def results_of_series(self, series_uid: SeriesUid) -> tuple[Result, ...]:
        """Return the results of a CT series, in the order they were written first."""
        return self._results(series_uid=series_uid)

    def _results(self, **of: str) -> tuple[Result, ...]:
        with self._transaction() as session:
            rows = session.scalars(select(ResultRow).filter_by(**of))
            return tuple(sorted((_result(session, row) for row in rows), key=_writing))


def _writing(result: Result) -> tuple[datetime, int]:
    return result.written_at, result.release


def _result(session: Session, row: ResultRow) -> Result:
    objects = session.scalars(
        select(ResultObjectRow).filter_by(result_key=row.key).order_by(ResultObjectRow.kind)
    )
    return Result(
        key=row.key,
        study_uid=row.study_uid,
        series_uid=row.series_uid,
        release=row.release,
        objects={item.kind: item.sop_instance_uid for item in objects},
        written_at=session.get_one(FirstWriting, row.key).written_at,
    )
