"""The PACS that does not send by itself: what it has that the archive lacks is retrieved, patiently."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from flows.arrivals.archived_study import INCOMPLETE
from flows.progress import Progress, silent
from models.errors import PacsFailed, Refused
from models.uids import StudyUid
from services.pacs.incoming import is_uid
from services.pacs.port import Archive, ArchivedStudy, QuerySource
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.events.arrivals import PacsQueried, StudyNotSent
from services.records.port import Arrivals, Log, Records, Results

DAYS_BACK = 1
"""Studies are asked for from so many days before the day of the last query that was answered."""

OURS = ("SEG", "SR")
"""Modalities in which results of ours may be."""

RETRIEVE_SECONDS = 60
"""No further study is retrieved after so long; what was pushed meanwhile is looked at first."""
LONGEST_PAUSE = timedelta(days=1)


def retrieve(
    source: QuerySource | None,
    archive: Archive | None,
    records: Records,
    today: date,
    progress: Progress = silent,
) -> list[str]:
    """Retrieve the studies of which the PACS has more than the archive; return those it did not send.

    What comes is told by the archive's feed, as what is pushed. A study that was not sent is asked for again
    after 1, 2, 4, ... minutes, at last once a day; at once if the PACS has another number of it.

    Raises
    ------
    PacsFailed
        If the PACS did not say which studies it has.
    StorageFailed
        If the records cannot be reached or written.
    """
    if source is None:
        return []
    queried = records.last(PacsQueried)
    since = min(today, date.fromisoformat(queried.said.day) if queried else today) - timedelta(days=DAYS_BACK)
    studies = [uid for uid in source.studies_since(since) if is_uid(uid)]
    waiting = [one.study_uid for one in records.open_arrivals() if one.is_study and one.code == INCOMPLETE]
    end = time.monotonic() + RETRIEVE_SECONDS
    failed: list[str] = []
    for study_uid in dict.fromkeys((*studies, *waiting)):
        if time.monotonic() > end:
            progress("the other studies are retrieved by the next watch")
            return failed
        try:
            _retrieve(study_uid, source, archive, records, progress)
        except PacsFailed as error:
            progress(f"study {study_uid}: {error}")
            failed.append(study_uid)
    day = today.isoformat()
    records.record(PacsQueried(day=day), who="watch_arrivals", key=PacsQueried.key(day))
    return failed


def lacking(
    study_uid: StudyUid, study: ArchivedStudy | None, source: QuerySource | None, results: Results
) -> int:
    """Return how many instances the PACS has that neither the archive holds nor are results of ours.

    Compared UID by UID where the numbers differ: results of ours may have been sent on to the PACS.

    Raises
    ------
    PacsFailed
        If the PACS did not answer.
    """
    if source is None:
        return 0
    series = study.series if study else ()
    counted = source.instances(study_uid)
    if counted <= sum(len(one.sop_instance_uids) for one in series if one.modality not in OURS):
        return 0
    held = {uid for one in series for uid in one.sop_instance_uids}
    listed = source.listed(study_uid)
    missing = [uid for uid in listed - held if results.find_result(uid) is None]
    return max(len(missing), counted - len(listed))


def _retrieve(
    study_uid: StudyUid, source: QuerySource, archive: Archive | None, records: Records, progress: Progress
) -> None:
    def missing() -> int:
        study = None if archive is None else archive.study(study_uid)
        return lacking(study_uid, study, source, records)

    arrival = records.arrival(study_uid)
    if (
        arrival is not None
        and arrival.code != INCOMPLETE
        and source.instances(study_uid) <= arrival.instances
    ):
        return
    count = missing()
    if not count or _paused(study_uid, count, records):
        return
    progress(f"retrieving study {study_uid}: {count} instances")
    _note_incomplete(arrival, study_uid, count, records)
    try:
        source.retrieve(study_uid)
    except (Refused, PacsFailed) as error:
        code = error.code if isinstance(error, Refused) else "pacs-failed"
        event = StudyNotSent(study_uid=study_uid, code=code, missing=missing())
        records.record(event, who="watch_arrivals")
        if isinstance(error, PacsFailed):
            raise
        progress(f"study {study_uid}: {error}")


def _note_incomplete(arrival: Arrival | None, study_uid: StudyUid, missing: int, arrivals: Arrivals) -> None:
    """Say that more is to come before it does: no part of a study may pass for all of it."""
    if arrival is not None and arrival.state is not ArrivalState.WAITING:
        return
    detail = f"{missing} instances are still to come from the PACS that is queried."
    after = replace(arrival or Arrival(study_uid, study_uid, touched=False), code=INCOMPLETE, detail=detail)
    arrivals.change_arrival(arrival, after)


def _paused(study_uid: StudyUid, missing: int, log: Log) -> bool:
    """Return whether the study was asked for in vain so lately that the PACS is left in peace."""
    told = log.all(StudyNotSent, study_uid=study_uid)
    if not told or told[-1].said.missing != missing:
        return False
    tries = _same(one.said.missing for one in told)
    pause = min(LONGEST_PAUSE, timedelta(minutes=2 ** min(tries - 1, 11)))
    return datetime.now(UTC) - told[-1].at < pause


def _same(numbers: Iterable[int]) -> int:
    """Return how many at the end are the same as the last."""
    back = list(numbers)[::-1]
    return next((place for place, number in enumerate(back) if number != back[0]), len(back))
