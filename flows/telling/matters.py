"""What people should hear of: a candidate that waits or was refused, a night that stays out, a standstill."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from flows.launching import RUN_SECONDS
from models.gate.report import Decision
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.releases import ReleaseState
from services.records.events.gate import GateDecided
from services.records.events.operations import NightEnded, RunFreed
from services.records.port import Records

WATCHED_LATE = timedelta(minutes=2)
"""The archive is watched every ten seconds; so long without a look, nobody watches."""

LASTING = timedelta(minutes=10)
"""What is over sooner wakes nobody, and what comes up meanwhile goes into the same message."""

NIGHT_LATE = timedelta(hours=30)
"""Nights end a day apart, more or less; after so long without an end one has stayed out."""

LATELY = timedelta(days=7)
"""What was decided longer ago is no news: who names an address is not told of all the past."""

REFUSING = (Decision.REFUSE, Decision.INSUFFICIENT_EVIDENCE)


@dataclass(frozen=True)
class Matter:
    """One thing people should hear of.

    Parameters
    ----------
    key
        The same for the same thing: nobody is told of it twice.
    words
        One sentence, without a patient or a UID: it leaves the site.
    page
        Path of the page to look at.
    detail
        What the page says beside.
    lasting
        How long it has to last before anybody is told.
    """

    key: str
    words: str
    page: str
    detail: str = ""
    lasting: timedelta = LASTING


def matters(records: Records, now: datetime) -> tuple[Matter, ...]:
    """Return everything people should hear of now.

    Parameters
    ----------
    records
        What is on record.
    now
        The time of the question.
    """
    return (*_candidates(records, now), *_nights(records, now), *standstills(records, now))


def _candidates(records: Records, now: datetime) -> Iterator[Matter]:
    states, incumbent = records.release_states(), records.incumbent()
    last = {one.said.release: one for one in records.all(GateDecided) if now - one.at < LATELY}
    last = {release: one for release, one in last.items() if one.said.against == incumbent}
    for release, decided in last.items():
        page, reasons = f"/model/candidates/{release}", ", ".join(decided.said.reasons)
        if states.get(release) is ReleaseState.NEEDS_APPROVAL:
            words = f"Release {release} waits for a person who promotes or declines it ({reasons})."
            yield Matter(f"approval:{decided.number}", words, page)
        elif decided.said.decision == Decision.PROMOTE and states.get(release) is ReleaseState.CANDIDATE:
            words = f"Release {release} passed the gate and waits for a person who promotes or declines it."
            yield Matter(f"approval:{decided.number}", words, page)
        elif decided.said.decision in REFUSING and states.get(release) is not ReleaseState.DECLINED:
            words = f"The gate does not let release {release} pass ({reasons})."
            yield Matter(f"refused:{decided.number}", words, page)


def _nights(records: Records, now: datetime) -> Iterator[Matter]:
    ended = records.last(NightEnded)
    if ended is None and records.incumbent() is not None:
        words = "No night has come to its end here yet."
        yield Matter("night:never", words, "/model/tonight", lasting=NIGHT_LATE)
    if ended is not None and now - ended.at > NIGHT_LATE:
        at = ended.at.astimezone().strftime("%d.%m. %H:%M")
        yield Matter(f"night:{ended.number}", f"No night has ended since {at}.", "/model/tonight")


def standstills(records: Records, now: datetime) -> tuple[Matter, ...]:
    """Return what stands still."""
    found = []
    watch = records.last_watch()
    if watch is None:
        words = "The archive has not been watched yet: no worker has started here."
        found.append(Matter("watch:never", words, "/model"))
    elif now - watch.at > WATCHED_LATE:
        since = watch.at.astimezone().strftime("%d.%m. %H:%M")
        words = f"The archive was watched last on {since}: look whether a worker runs."
        found.append(Matter(f"watch:{watch.at.isoformat()}", words, "/model"))
    elif watch.trouble:
        words = "What comes to the archive cannot be taken in; the page says more."
        found.append(Matter("archive-away", words, "/model", watch.trouble))
    for note in records.witness_notes():
        if note.trouble:
            words = "A witness cannot be told the head of the log; the page says more."
            found.append(Matter(f"witness:{note.name}", words, "/model", f"{note.name}: {note.trouble}"))
    late = [one for one in records.studies_of((ArrivalState.SUBMITTED,), 500) if _is_late(one, now)]
    if late:
        studies = "1 study is" if len(late) == 1 else f"{len(late)} studies are"
        words = f"{studies} being segmented for more than {RUN_SECONDS // 60} minutes."
        first = min(one.changed_at.isoformat() for one in late if one.changed_at)
        found.append(Matter(f"late:{first}", words, "/model"))
    freed = [one for one in records.all(RunFreed) if now - one.at < timedelta(days=1)]
    if freed:
        runs = "1 run of the last day was" if len(freed) == 1 else f"{len(freed)} runs of the last day were"
        words = f"{runs} ended: nobody worked on it any more."
        found.append(Matter(f"freed:{freed[-1].number}", words, "/model"))
    return tuple(found)


def _is_late(arrival: Arrival, now: datetime) -> bool:
    return arrival.changed_at is not None and now - arrival.changed_at > timedelta(seconds=RUN_SECONDS)
