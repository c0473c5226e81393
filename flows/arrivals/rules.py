"""What an arrival becomes: by what the archive holds of it, and by what became of its run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from flows.arrivals.archived_study import GONE, INCOMPLETE, by_this_program, renewed, version_of
from flows.launching import RunState
from models.errors import Refused
from models.series.terms import MODALITIES, term
from models.series.verdict import Code
from services.pacs.port import ArchivedStudy
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.events.arrivals import (
    ArrivalEvent,
    ArrivalFailed,
    StudyGone,
    StudyIgnored,
    StudyRefused,
    StudyRenewed,
)

ATTEMPTS = 3
"""So many runs of a version fail by themselves; then it has failed, and a person is told."""
INTERRUPTIONS = 10
"""So many runs of a version are cut short, however innocent it looks; then it has failed too. With the
pauses between them that is a quarter of an hour at least."""
ALONE_AFTER = 3
"""Cut short so often, it runs alone: what ends its process each time takes no other study with it."""
LONGEST_PAUSE = timedelta(minutes=10)

ARRIVING = "arriving"
RUN_FAILED = "run-failed"
RUN_INTERRUPTED = "run-interrupted"
NOT_ITS_FAULT = frozenset(
    {
        "invalid-release",
        "lease-lost",
        "pacs-failed",
        "pacs-unavailable",
        "read-failed",
        "serving-timed-out",
        "serving-unavailable",
        "storage-failed",
    }
)
"""Codes of errors that say nothing about the study: the archive, Triton or the records were away."""

_LATE = " (ended because it took too long)"

EVENTS: Mapping[ArrivalState, type[ArrivalEvent]] = {
    ArrivalState.GONE: StudyGone,
    ArrivalState.REFUSED: StudyRefused,
    ArrivalState.FAILED: ArrivalFailed,
    ArrivalState.IGNORED: StudyIgnored,
}
"""What is worth an event when an arrival comes to it."""


def judged(
    arrival: Arrival,
    study: ArchivedStudy | None,
    *,
    fault: Refused | None = None,
    instances: int = 0,
    expected: int = 0,
) -> Arrival:
    """Return a study's arrival by what the archive holds of it now.

    A refusal by the images, a failure and a result hold for one version of the images. What is wrong with
    the study and not with its images (gone, two patients) holds as long as it lasts, and its version is
    forgotten: when it is over, the study is done again, which makes the same objects.

    Parameters
    ----------
    arrival
        As it is on record.
    study
        What the archive holds; None for nothing.
    fault
        Why no results may be stored, whatever the images are.
    instances
        How many instances that are not ours the archive holds.
    expected
        How many there are with those that the PACS has that is queried.
    """
    seen = replace(arrival, touched=False, instances=instances)
    if study is None and expected and not seen.version:
        return seen  # nothing of it came yet
    if study is None:
        fault = Refused(GONE, "The archive holds the study no longer.")
        return _set_aside(seen, ArrivalState.GONE, fault)
    if fault is not None:
        return _set_aside(seen, ArrivalState.REFUSED, fault)
    version = version_of(study)
    if not version:
        kinds = ", ".join(sorted({term(one.modality, MODALITIES) for one in study.series})) or "nothing"
        return _set_aside(seen, ArrivalState.IGNORED, Refused(Code.NOT_CT, f"It holds {kinds} and no CT."))
    seen = by_this_program(replace(seen, urgent=study.urgent), study)
    if version != seen.version:
        seen = replace(seen, state=ArrivalState.WAITING, version=version, attempts=0, interrupted=0, run="")
    if seen.state is not ArrivalState.WAITING:
        return seen
    if instances < expected:
        detail = f"{instances} of the {expected} instances are here that the PACS says it holds."
        return replace(seen, code=INCOMPLETE, detail=detail)
    if not study.stable:
        return replace(seen, code=ARRIVING, detail="More may be on its way.")
    return replace(seen, code="", detail="")


def followed(arrival: Arrival, run: RunState) -> Arrival:
    """Return an arrival by what became of its run.

    A run puts its own outcome on record; where it has ended and did not, its work is not done. Only
    a run that failed by itself, and not because something else was away, counts as an attempt.
    """
    if run is RunState.GOING:
        return arrival
    if run in (RunState.DONE, RunState.FAILED) and arrival.code not in NOT_ITS_FAULT:
        arrival = replace(arrival, attempts=arrival.attempts + 1)
    else:
        arrival = replace(arrival, interrupted=arrival.interrupted + 1)
    why = f" ({arrival.code}: {arrival.detail})" if arrival.code else _LATE if run is RunState.LATE else ""
    if arrival.attempts >= ATTEMPTS:
        detail = f"{arrival.attempts} runs ended without a result, the last of them {arrival.run}{why}."
        return replace(arrival, state=ArrivalState.FAILED, code=RUN_FAILED, detail=detail)
    if arrival.interrupted >= INTERRUPTIONS:
        detail = (
            f"{arrival.interrupted} runs were cut short, the last of them, {arrival.run}, while no other "
            f"study ran{why}: it ends the process that works on it, or something was away each time."
        )
        return replace(arrival, state=ArrivalState.FAILED, code=RUN_INTERRUPTED, detail=detail)
    return replace(arrival, state=ArrivalState.WAITING)


def event_of(before: Arrival, after: Arrival) -> ArrivalEvent | None:
    """Return what is to be put on record about a change; None if it is not worth an event."""
    if after.state in EVENTS and (before.state, before.code) != (after.state, after.code):
        kind = EVENTS[after.state]
    elif after.state is ArrivalState.WAITING and renewed(before, after.version):
        kind = StudyRenewed
    else:
        return None
    return kind(
        uid=after.uid,
        study_uid=after.study_uid,
        code=after.code,
        version=after.version,
        attempts=after.attempts,
        interrupted=after.interrupted,
    )


def in_order(arrivals: Collection[Arrival]) -> list[Arrival]:
    """Return the arrivals that can be submitted, urgent ones first, then as they came.

    The code of a study that waits says what it waits for; that of a SEG, why its last run failed.
    """
    waiting = [one for one in arrivals if one.state is ArrivalState.WAITING]
    ready = [one for one in waiting if not (one.is_study and one.code)]
    return sorted(ready, key=lambda one: not one.urgent)


def startable(arrivals: Collection[Arrival], at_once: int, now: datetime) -> list[Arrival]:
    """Return the arrivals that are submitted now.

    What was cut short waits 2, 4, 8, ... seconds, at last `LONGEST_PAUSE`, so that an outage uses nothing
    up. What was cut short often runs while nothing else does, for it may be what ends every process around
    it; until it has, only what is urgent is begun.

    Parameters
    ----------
    arrivals
        All that something is to be done about, those under way too.
    at_once
        How many may be under way.
    now
        The time.
    """
    under_way = [one for one in arrivals if one.state is ArrivalState.SUBMITTED]
    if any(_runs_alone(one) for one in under_way):
        return []
    room = max(at_once - len(under_way), 0)
    ready = [one for one in in_order(arrivals) if now >= _not_before(one, now)]
    others = [one for one in ready if not _runs_alone(one)]
    if len(others) == len(ready):
        return others[:room]
    urgent = [one for one in others if one.urgent]
    if urgent or under_way:
        return urgent[:room]
    return [one for one in ready if _runs_alone(one)][:1]


def _runs_alone(arrival: Arrival) -> bool:
    return arrival.interrupted >= ALONE_AFTER


def _not_before(arrival: Arrival, now: datetime) -> datetime:
    """Return when it may start; where the clock was ahead when it was cut short, that hour is not waited."""
    since = arrival.changed_at or now
    if not arrival.interrupted or since > now + LONGEST_PAUSE:
        return now
    return since + min(timedelta(seconds=2**arrival.interrupted), LONGEST_PAUSE)


def _set_aside(arrival: Arrival, state: ArrivalState, why: Refused) -> Arrival:
    return replace(
        arrival, state=state, code=why.code, detail=why.detail, version="", attempts=0, interrupted=0, run=""
    )
