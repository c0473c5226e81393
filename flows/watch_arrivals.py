"""What came to the archive: looked at, segmented when it is complete, and tried again when a run is lost.

Plain functions first; the Prefect tasks and the flow at the end only wrap them. Killed between any two
steps, the next watch goes on: the feed's cursor and the arrivals advance in one transaction, a run is
started under a key, and an arrival is only changed by who has seen its last change.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace
from datetime import date, datetime, time, timedelta
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.archived_study import INCOMPLETE, RENEWED, patient_fault, renewal_key
from flows.arrival_rules import ARRIVING, event_of, followed, in_order, judged
from flows.launching import INGEST, SEGMENT, Launcher, PrefectLauncher
from flows.segment_study import RUN_SECONDS
from flows.serving import Progress, silent
from models.errors import PacsFailed, Refused, ServingFailed
from services.pacs.port import QuerySource
from services.records.port import Arrival, ArrivalState, Records
from services.settings import Settings
from services.wiring import Services, connect

IN_FLIGHT = 8
"""So many runs wait or run at a time: what is urgent must not stand behind a long queue."""

DAYS_BACK = 1
"""A PACS that is queried is asked for the studies of today and of so many days before."""

DAYS_WATCHED = 30
"""Once a day segmented studies that came in so many days are looked at again: deleted ones tell nobody."""

SEG = "SEG"
OURS = (SEG, "SR")
"""Modalities in which results of ours may be."""

SHOWN = ("uid", "study_uid", "state", "code", "detail", "urgent", "attempts", "run")


def watch(
    services: Services, launcher: Launcher, today: date | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Take in what came, look at it, and start what is to be done; repeatable.

    Parameters
    ----------
    services
        What to work with; without an archive there is nothing to do.
    launcher
        Starts the runs.
    today
        For the query of a PACS; by default the date here.
    progress
        Told each step.

    Returns
    -------
    dict
        ``came``, how many studies were touched; ``arrivals``, what each that changed has become;
        ``unanswered``, the studies for which the archive did not answer; ``held``, why nothing was started,
        or None.

    Raises
    ------
    PacsFailed
        If the archive's feed, or the PACS that is queried, did not answer.
    StorageFailed
        If the records cannot be reached or written.
    """
    came = take_in(services, today or date.today(), progress)
    changed, unanswered = look(services, launcher, progress)
    started, held = submit(services, launcher, progress)
    return {"came": came, "arrivals": [*changed, *started], "unanswered": unanswered, "held": held}


def take_in(services: Services, today: date, progress: Progress = silent) -> int:
    """Read the archive's feed to its end; return how many studies were touched. Raises as `watch`."""
    _begin(services, progress)
    if services.source is not None:
        _retrieve(services.source, services.records, today, progress)
    services.records.sweep(today, datetime.combine(today, time()).astimezone() - timedelta(days=DAYS_WATCHED))
    came: set[str] = set()
    more = services.feed is not None
    while more and services.feed is not None:
        cursor = services.records.feed_cursor() or 0
        changes = services.feed.changes(cursor)
        services.records.take_in(changes.study_uids, changes.cursor)
        if changes.cursor < cursor:
            progress("the archive's feed begins again: its database is another one")
            payload = {"cursor": cursor, "begun_again_to": changes.cursor}
            services.records.event("feed-began-again", who="watch_arrivals", payload=payload)
        came.update(changes.study_uids)
        more = changes.more
    progress(f"{len(came)} studies were touched")
    return len(came)


def _begin(services: Services, progress: Progress) -> None:
    """Begin the feed where the site wants it, before it is read for the first time."""
    feed, records = services.feed, services.records
    if feed is None or records.feed_cursor() is not None:
        return
    cursor = feed.end() if services.settings.watch_from == "now" else 0
    records.take_in((), cursor)
    records.event("feed-begun", who="watch_arrivals", payload={"cursor": cursor}, key="feed-begun")
    progress(f"the archive's feed is read from change {cursor} on")


def _retrieve(source: QuerySource, records: Records, today: date, progress: Progress) -> None:
    """Retrieve the studies of which the PACS has more than the archive held when it was looked at last.

    What comes is told by the archive's feed, as what is pushed.
    """
    for study_uid in source.studies_since(today - timedelta(days=DAYS_BACK)):
        arrival = records.arrival(study_uid)
        if arrival is not None and source.instances(study_uid) <= arrival.instances:
            continue
        progress(f"retrieving study {study_uid}")
        try:
            source.retrieve(study_uid)
        except Refused as refused:
            progress(f"study {study_uid}: {refused}")  # asked for again by the next watch


def look(
    services: Services, launcher: Launcher, progress: Progress = silent
) -> tuple[list[dict[str, Any]], list[str]]:
    """Look after every arrival that something came to or that is under way.

    Returns
    -------
    tuple
        What those that changed have become, and the studies for which the archive did not answer.
    """
    changed, unanswered = [], []
    for before in services.records.open_arrivals():
        after = before
        if before.state is ArrivalState.SUBMITTED:
            after = followed(before, launcher.state(before.run))
        lost = after.state is not before.state
        if before.is_study and (before.touched or lost or before.code in (ARRIVING, INCOMPLETE)):
            try:
                after = _looked_at(after, services)
            except PacsFailed as error:
                progress(f"{before.uid}: {error}")
                unanswered.append(before.uid)
                continue
        if after == before or not _change(before, after, services.records):
            continue
        if after != replace(before, touched=after.touched, instances=after.instances):
            changed.append(_shown(after, progress))
    return changed, unanswered


def _change(before: Arrival, after: Arrival, records: Records) -> bool:
    event = event_of(before, after)
    key = renewal_key(after.uid, after.version) if event == RENEWED else None
    payload = {"version": after.version, "attempts": after.attempts}
    return records.change_arrival(before, after, event=event, payload=payload, key=key)


def _looked_at(arrival: Arrival, services: Services) -> Arrival:
    """Return a study's arrival by what the archive holds; SEGs in it that are not ours are taken in."""
    archive, records = services.archive, services.records
    if archive is None:
        return arrival
    study = archive.study(arrival.study_uid)
    if study is None:
        return judged(arrival, None)
    fault = patient_fault(study, arrival, services)
    kinds = [(uid, one.modality) for one in study.series for uid in one.sop_instance_uids]
    ours = {uid for uid, kind in kinds if kind in OURS and records.find_result(uid) is not None}
    after = judged(
        arrival,
        study,
        fault=fault,
        instances=len(kinds) - len(ours),
        expected=services.source.instances(study.study_uid) if services.source else 0,
    )
    if after.version and study.stable:
        for uid, kind in kinds:
            if kind == SEG and uid not in ours:
                seg = Arrival(uid, study.study_uid, version=uid, urgent=study.urgent, touched=False)
                records.change_arrival(None, seg)
    return after


def submit(
    services: Services, launcher: Launcher, progress: Progress = silent
) -> tuple[list[dict[str, Any]], str | None]:
    """Start a run for what is ready, urgent studies first, a few at a time.

    Returns
    -------
    tuple
        What those that were started have become, and why studies were not started, or None.
    """
    arrivals = services.records.open_arrivals()
    states = Counter(one.state for one in arrivals)
    room = IN_FLIGHT - states[ArrivalState.SUBMITTED]
    ready = in_order(arrivals)
    held = _why_held(services) if any(one.is_study for one in ready) else None
    if held is not None:
        progress(f"nothing is segmented: {held}")
        ready = [one for one in ready if not one.is_study]
    started = []
    for before in ready[: max(room, 0)]:
        deployment = SEGMENT if before.is_study else INGEST
        key = f"{deployment}:{before.uid}:{before.changed_at}"
        run = launcher.launch(deployment, before.uid, key, urgent=before.urgent)
        attempts = before.attempts + 1
        after = replace(before, state=ArrivalState.SUBMITTED, run=run, attempts=attempts)
        if services.records.change_arrival(before, after):
            started.append(_shown(after, progress))
    return started, held


def _why_held(services: Services) -> str | None:
    """Return why no study can be segmented now; a run that must fail would only use up an attempt."""
    number = services.records.incumbent()
    if number is None:
        return "no release is the incumbent yet"
    try:
        if all(endpoint.ready(number) for endpoint in services.endpoints):
            return None
    except ServingFailed as error:
        return str(error)
    return f"release {number} is not served"


def _shown(arrival: Arrival, progress: Progress) -> dict[str, Any]:
    progress(f"{arrival.uid}: {arrival.state} {arrival.code}".rstrip())
    return {
        name: str(value) if name == "state" else value
        for name, value in asdict(arrival).items()
        if name in SHOWN
    }


@task(name="take in")
def take_in_task() -> int:
    """Read the archive's feed to its end."""
    return take_in(connect(Settings()), date.today(), print)


@task(name="look")
def look_task() -> tuple[list[dict[str, Any]], list[str]]:
    """Look after what came and what is under way."""
    return look(connect(Settings()), PrefectLauncher(RUN_SECONDS), print)


@task(name="submit")
def submit_task() -> tuple[list[dict[str, Any]], str | None]:
    """Start runs for what is ready."""
    return submit(connect(Settings()), PrefectLauncher(RUN_SECONDS), print)


@task(name="publish arrivals")
def publish_arrivals_task(arrivals: list[dict[str, Any]], held: str | None) -> None:
    """Show in the Prefect dashboard what came and what was done."""
    if arrivals or held:
        said = f"Not segmented for now: {held}." if held else "What changed in this watch."
        create_table_artifact(key="arrivals", table=arrivals, description=said)


@flow(name="watch-arrivals", log_prints=True)
def watch_arrivals() -> dict[str, Any]:
    """Take in what came to the archive, look after it, and start what is to be done."""
    came = take_in_task()
    changed, unanswered = look_task()
    started, held = submit_task()
    publish_arrivals_task([*changed, *started], held)
    if unanswered:
        raise PacsFailed(f"the archive did not answer for {', '.join(unanswered)}; the next watch asks again")
    return {"came": came, "arrivals": [*changed, *started], "unanswered": unanswered, "held": held}
