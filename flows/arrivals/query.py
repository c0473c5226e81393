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
from services.pacs.port import ArchivedStudy, QuerySource
from services.records.port import Arrival, ArrivalState
from services.wiring import Services

DAYS_BACK = 1
"""Studies are asked for from so many days before the day of the last query that was answered."""

QUERIED = "pacs-queried"
"""Event, once a day: the PACS said what it has."""
NOT_SENT = "study-not-sent"
"""Event: the PACS did not send what it says it has."""

OURS = ("SEG", "SR")
"""Modalities in which results of ours may be."""

RETRIEVE_SECONDS = 60
"""No further study is retrieved after so long; what was pushed meanwhile is looked at first."""
LONGEST_PAUSE = timedelta(days=1)


def retrieve(services: Services, today: date, progress: Progress = silent) -> list[str]:
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
    source, records = services.source, services.records
    if source is None:
        return []
    queried = [date.fromisoformat(one.payload["day"]) for one in records.events(QUERIED)]
    since = min([today, *queried[-1:]]) - timedelta(days=DAYS_BACK)
    studies = [uid for uid in source.studies_since(since) if is_uid(uid)]
    waiting = [one.study_uid for one in records.open_arrivals() if one.is_study and one.code == INCOMPLETE]
    end = time.monotonic() + RETRIEVE_SECONDS
    failed: list[str] = []
    for study_uid in dict.fromkeys((*studies, *waiting)):
        if time.monotonic() > end:
            progress("the other studies are retrieved by the next watch")
            return failed
        try:
            _retrieve(study_uid, source, services, progress)
        except PacsFailed as error:
            progress(f"study {study_uid}: {error}")
            failed.append(study_uid)
    day = today.isoformat()
    records.event(QUERIED, who="watch_arrivals", payload={"day": day}, key=f"{QUERIED}:{day}")
    return failed


def lacking(study_uid: StudyUid, study: ArchivedStudy | None, services: Services) -> int:
    """Return how many instances the PACS has that neither the archive holds nor are results of ours.

    Compared UID by UID where the numbers differ: results of ours may have been sent on to the PACS.

    Raises
    ------
    PacsFailed
        If the PACS did not answer.
    """
    source, records = services.source, services.records
    if source is None:
        return 0
    series = study.series if study else ()
    counted = source.instances(study_uid)
    if counted <= sum(len(one.sop_instance_uids) for one in series if one.modality not in OURS):
        return 0
    held = {uid for one in series for uid in one.sop_instance_uids}
    listed = source.listed(study_uid)
    missing = [uid for uid in listed - held if records.find_result(uid) is None]
    return max(len(missing), counted - len(listed))


def _retrieve(study_uid: StudyUid, source: QuerySource, services: Services, progress: Progress) -> None:
    arrival = services.records.arrival(study_uid)
    if (
        arrival is not None
        and arrival.code != INCOMPLETE
        and source.instances(study_uid) <= arrival.instances
    ):
        return
    study = services.archive.study(study_uid) if services.archive else None
    missing = lacking(study_uid, study, services)
    if not missing or _paused(study_uid, missing, services):
        return
    progress(f"retrieving study {study_uid}: {missing} instances")
    _note_incomplete(arrival, study_uid, missing, services)
    try:
        source.retrieve(study_uid)
    except (Refused, PacsFailed) as error:
        _note_not_sent(study_uid, error, services)
        if isinstance(error, PacsFailed):
            raise
        progress(f"study {study_uid}: {error}")


def _note_incomplete(arrival: Arrival | None, study_uid: StudyUid, missing: int, services: Services) -> None:
    """Say that more is to come before it does: no part of a study may pass for all of it."""
    if arrival is not None and arrival.state is not ArrivalState.WAITING:
        return
    detail = f"{missing} instances are still to come from the PACS that is queried."
    after = replace(arrival or Arrival(study_uid, study_uid, touched=False), code=INCOMPLETE, detail=detail)
    services.records.change_arrival(arrival, after)


def _note_not_sent(study_uid: StudyUid, error: Refused | PacsFailed, services: Services) -> None:
    study = services.archive.study(study_uid) if services.archive else None
    code = error.code if isinstance(error, Refused) else "pacs-failed"
    payload = {"study_uid": study_uid, "code": code, "missing": lacking(study_uid, study, services)}
    services.records.event(NOT_SENT, who="watch_arrivals", payload=payload)


def _paused(study_uid: StudyUid, missing: int, services: Services) -> bool:
    """Return whether the study was asked for in vain so lately that the PACS is left in peace."""
    told = [one for one in services.records.events(NOT_SENT) if one.payload["study_uid"] == study_uid]
    if not told or told[-1].payload["missing"] != missing:
        return False
    tries = _same(one.payload["missing"] for one in told)
    pause = min(LONGEST_PAUSE, timedelta(minutes=2 ** min(tries - 1, 11)))
    return datetime.now(UTC) - told[-1].at < pause


def _same(numbers: Iterable[int]) -> int:
    """Return how many at the end are the same as the last."""
    back = list(numbers)[::-1]
    return next((place for place, number in enumerate(back) if number != back[0]), len(back))
