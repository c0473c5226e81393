"""What an arrival becomes: by what the archive holds of it, and by what became of its run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from flows.archived_study import GONE, INCOMPLETE, RENEWED, renewed, version_of
from flows.launching import RunState
from models.errors import Refused
from models.verdict import Code
from services.pacs.port import ArchivedStudy
from services.records.port import Arrival, ArrivalState

ATTEMPTS = 3
"""So often a version is submitted; then it has failed, and a person is told."""

ARRIVING = "arriving"
RUN_FAILED = "run-failed"

EVENTS = {
    ArrivalState.GONE: "study-gone",
    ArrivalState.REFUSED: "study-refused",
    ArrivalState.FAILED: "arrival-failed",
    ArrivalState.IGNORED: "study-ignored",
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
        kinds = ", ".join(sorted({one.modality for one in study.series})) or "nothing"
        return _set_aside(seen, ArrivalState.IGNORED, Refused(Code.NOT_CT, f"It holds {kinds} and no CT."))
    seen = replace(seen, urgent=study.urgent)
    if version != seen.version:
        seen = replace(seen, state=ArrivalState.WAITING, version=version, attempts=0, run="")
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

    A run puts its own outcome on record; where it has ended and did not, its work is not done.
    """
    if run is RunState.GOING:
        return arrival
    if arrival.attempts < ATTEMPTS:
        return replace(arrival, state=ArrivalState.WAITING)
    why = f" ({arrival.code}: {arrival.detail})" if arrival.code else ""
    detail = f"{arrival.attempts} runs ended without a result, the last of them {arrival.run}{why}."
    return replace(arrival, state=ArrivalState.FAILED, code=RUN_FAILED, detail=detail)


def event_of(before: Arrival, after: Arrival) -> str | None:
    """Return what is to be put on record about a change; None if it is not worth an event."""
    if after.state in EVENTS and (before.state, before.code) != (after.state, after.code):
        return EVENTS[after.state]
    return RENEWED if renewed(before, after.version) else None


def in_order(arrivals: Collection[Arrival]) -> list[Arrival]:
    """Return the arrivals that can be submitted, urgent ones first, then as they came.

    The code of a study that waits says what it waits for; that of a SEG, why its last run failed.
    """
    waiting = [one for one in arrivals if one.state is ArrivalState.WAITING]
    ready = [one for one in waiting if not (one.is_study and one.code)]
    return sorted(ready, key=lambda one: not one.urgent)


def _set_aside(arrival: Arrival, state: ArrivalState, why: Refused) -> Arrival:
    return replace(arrival, state=state, code=why.code, detail=why.detail, version="", attempts=0, run="")
