"""What came to the archive: looked at, segmented when it is complete, and tried again when a run is lost.

Killed between any two steps, the next watch goes on: the feed's cursor and the arrivals advance in one
transaction, a run is started under a key, and an arrival is only changed by who has seen its last change.
Who watches, and when, is `flows.arrivals.loop`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from hashlib import sha256
from time import monotonic

from flows.arrivals.archived_study import INCOMPLETE, patient_fault, renewal_key
from flows.arrivals.query import OURS, lacking
from flows.arrivals.rules import ARRIVING, event_of, followed, judged, startable
from flows.arrivals.saves import SEG, note_saves
from flows.launching import INGEST, SEGMENT, Launcher
from flows.progress import Progress, silent
from models.errors import PacsFailed, ServingFailed
from models.release import NONE_SERVES
from models.series.verdict import Code
from models.uids import StudyUid
from services.cases.store import CaseStore
from services.inference.port import Endpoint
from services.pacs.incoming import is_uid
from services.pacs.port import Archive, ArchivedStudy, ChangeFeed, Changes, QuerySource
from services.records.entries.arrivals import ANSWERED, Arrival, ArrivalState
from services.records.events.arrivals import (
    CorrectionRefused,
    FeedBeganAgain,
    FeedBegun,
    StudyRefused,
    StudyRenewed,
)
from services.records.port import Arrivals, Log, Records, Releases, Results
from services.wiring import Services

DAYS_WATCHED = 30
"""Once a day studies with results that came in so many days are looked at again: deleted ones tell nobody."""

LOOK_SECONDS = 2.0
"""No further study with results is looked at after so long: the next watch does. Nothing new waits longer."""

UNFINISHED = (ARRIVING, INCOMPLETE)
"""Codes of studies of which more may come."""


def take_in(
    feed: ChangeFeed | None,
    records: Records,
    today: date,
    watch_from: str,
    progress: Progress = silent,
) -> int:
    """Read the archive's feed to its end; return how many studies were touched.

    Parameters
    ----------
    feed
        Of the archive; None where it has none.
    records
        What came is put there.
    today
        The date here.
    watch_from
        Where a feed begins that was never read: ``now`` or ``beginning``.
    progress
        Told how many.

    Raises
    ------
    PacsFailed
        If the archive's feed did not answer.
    StorageFailed
        If the records cannot be reached or written.
    """
    _begin(feed, records, watch_from, progress)
    records.sweep(today, datetime.combine(today, time()).astimezone() - timedelta(days=DAYS_WATCHED))
    news = read_on(feed, records, records.feed_cursor() or 0, progress)
    progress(f"{len(news.study_uids)} studies were touched")
    return len(news.study_uids)


def read_on(feed: ChangeFeed | None, records: Records, cursor: int, progress: Progress = silent) -> Changes:
    """Read the archive's feed from a cursor to its end; what came and the new cursor are put on record.

    Nothing is written where nothing came. Raises as `take_in`.
    """
    came: set[StudyUid] = set()
    quiet = False
    more = feed is not None
    while more and feed is not None:
        changes = feed.changes(cursor)
        study_uids = [uid for uid in changes.study_uids if _has_uid(uid, records, progress)]
        if study_uids or changes.cursor != cursor:
            records.take_in(study_uids, changes.cursor)
        if changes.cursor < cursor:
            progress("the archive's feed begins again: its database is another one")
            event = FeedBeganAgain(cursor=cursor, begun_again_to=changes.cursor)
            records.record(event, who="watch_arrivals")
        came.update(study_uids)
        quiet |= changes.quiet
        cursor, more = changes.cursor, changes.more
    return Changes(tuple(came), cursor, more=False, quiet=quiet)


def _begin(feed: ChangeFeed | None, records: Records, watch_from: str, progress: Progress) -> None:
    """Begin the feed where the site wants it, before it is read for the first time."""
    if feed is None or records.feed_cursor() is not None:
        return
    cursor = feed.end() if watch_from == "now" else 0
    records.take_in((), cursor)
    records.record(FeedBegun(cursor=cursor), who="watch_arrivals", key=FeedBegun.what)
    progress(f"the archive's feed is read from change {cursor} on")


def _has_uid(study_uid: StudyUid, log: Log, progress: Progress) -> bool:
    """Return whether a study's UID is one; what bears another text is said, once, and left alone."""
    if is_uid(study_uid):
        return True
    progress("a study came whose UID is none; it is left alone")
    digest = sha256(study_uid.encode()).hexdigest()  # the text may be anything, a name too
    event = StudyRefused(code=Code.MISSING_UID, characters=len(study_uid), digest=digest)
    log.record(event, who="watch_arrivals", key=f"no-uid:{digest}")
    return False


def look(
    services: Services,
    launcher: Launcher,
    progress: Progress = silent,
    *,
    again: Collection[str] = UNFINISHED,
) -> tuple[list[Arrival], list[str]]:
    """Look after every arrival that something came to or that is under way.

    Parameters
    ----------
    services
        What to work with.
    launcher
        Starts runs, and knows what became of them.
    progress
        Told each step.
    again
        What is asked for anew although it was not complete when it was looked at: codes of `UNFINISHED`.

    Returns
    -------
    tuple
        What those that changed have become, and the studies for which the archive did not answer.
    """
    changed: list[Arrival] = []
    unanswered: list[str] = []
    end = monotonic() + LOOK_SECONDS
    for before in _new_first(services.records.open_arrivals()):
        if before.state in ANSWERED and monotonic() > end:
            progress("the other studies that have results are looked at by the next watch")
            break
        after = before
        if before.state is ArrivalState.SUBMITTED:
            after = followed(before, launcher.state(before.run))
        lost = after.state is not before.state
        asked = before.code in again or (before.touched and before.code not in UNFINISHED)
        if before.is_study and (asked or lost):
            try:
                after = _looked_at(after, services.archive, services.source, services.cases, services.records)
            except PacsFailed as error:
                progress(f"{before.uid}: {error}")
                unanswered.append(before.uid)
                continue
        if after == before or not _change(before, after, services.records):
            continue
        if after != replace(before, touched=after.touched, instances=after.instances):
            _tell(after, progress)
            changed.append(after)
    return changed, unanswered


def _new_first(arrivals: Sequence[Arrival]) -> list[Arrival]:
    """Return what is to be done as it came, then what has results, the newest first."""
    answered = [one for one in arrivals if one.state in ANSWERED]
    return [*(one for one in arrivals if one.state not in ANSWERED), *reversed(answered)]


def _change(before: Arrival, after: Arrival, arrivals: Arrivals) -> bool:
    event = event_of(before, after)
    key = renewal_key(after.study_uid, after.version) if isinstance(event, StudyRenewed) else None
    return arrivals.change_arrival(before, after, event=event, key=key)


def _looked_at(
    arrival: Arrival,
    archive: Archive | None,
    source: QuerySource | None,
    cases: CaseStore,
    records: Records,
) -> Arrival:
    """Return a study's arrival by what the archive holds; SEGs in it that are not ours are taken in."""
    if archive is None:
        return arrival
    study = archive.study(arrival.study_uid)
    if study is None:
        return judged(arrival, None, expected=_still_to_come(arrival, study, source, records))
    fault = patient_fault(study, arrival, cases, records)
    kinds = [(uid, one.modality) for one in study.series for uid in one.sop_instance_uids]
    # By UID alone: the archive overwrites nothing (OverwriteInstances), so no save can be under ours.
    ours = {uid for uid, kind in kinds if kind in OURS and records.find_result(uid) is not None}
    instances = len(kinds) - len(ours)
    after = judged(
        arrival,
        study,
        fault=fault,
        instances=instances,
        expected=instances + _still_to_come(arrival, study, source, records),
    )
    if after.version and study.stable:
        note_saves(study, archive, records)
        for uid, kind in kinds:
            if kind != SEG or uid in ours:
                continue
            if is_uid(uid):
                seg = Arrival(uid, study.study_uid, version=uid, urgent=study.urgent, touched=False)
                records.change_arrival(None, seg)
            else:
                digest = sha256(uid.encode()).hexdigest()  # the text may be anything, a name too
                refused = CorrectionRefused(study_uid=study.study_uid, code=Code.MISSING_UID, digest=digest)
                records.record(refused, who="watch_arrivals", key=f"no-uid:{digest}")
    return after


def _still_to_come(
    arrival: Arrival, study: ArchivedStudy | None, source: QuerySource | None, results: Results
) -> int:
    """Return `lacking`; where the PACS does not answer, only what is being retrieved waits for it."""
    try:
        return lacking(arrival.study_uid, study, source, results)
    except PacsFailed:
        if arrival.code == INCOMPLETE:
            raise
        return 0


def submit(
    services: Services,
    launcher: Launcher,
    progress: Progress = silent,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> tuple[list[Arrival], str | None]:
    """Start a run for what is ready, urgent studies first, a few at a time; see `startable`.

    Parameters
    ----------
    services, launcher, progress
        As `look`.
    now
        The clock: what was cut short pauses before it is started again.

    Returns
    -------
    tuple
        What those that were started have become, and why studies were not started, or None.
    """
    arrivals = services.records.open_arrivals()
    ready = startable(arrivals, services.settings.studies_at_once, now())
    held = _why_held(services.records, services.endpoints) if any(one.is_study for one in ready) else None
    if held is not None:
        progress(f"nothing is segmented: {held}")
        ready = [one for one in ready if not one.is_study]
    started = []
    for before in ready:
        deployment = SEGMENT if before.is_study else INGEST
        key = f"{deployment}:{before.uid}:{before.changed_at}"
        run = launcher.launch(deployment, before.uid, key, urgent=before.urgent)
        after = replace(before, state=ArrivalState.SUBMITTED, run=run, code="", detail="")
        if services.records.change_arrival(before, after):
            _tell(after, progress)
            started.append(after)
    return started, held


def _why_held(releases: Releases, endpoints: Sequence[Endpoint]) -> str | None:
    """Return why no study can be segmented now; a run that must fail would only use up an attempt."""
    number = releases.incumbent()
    if number is None:
        return NONE_SERVES
    why = None
    for endpoint in endpoints:
        try:
            if endpoint.ready(number):
                return None  # one is enough: another may be restarting, or its node gone
            why = f"release {number} is not served"
        except ServingFailed as error:
            why = str(error)
    return why


def _tell(arrival: Arrival, progress: Progress) -> None:
    progress(f"{arrival.uid}: {arrival.state} {arrival.code}".rstrip())
