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
        One sentence, without a patient.
    page
        Path of the page to look at.
    """

    key: str
    words: str
    page: str


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
    states = records.release_states()
    last = {one.said.release: one for one in records.all(GateDecided) if now - one.at < LATELY}
    for release, decided in last.items():
        page, reasons = f"/model/candidates/{release}", ", ".join(decided.said.reasons)
        if states.get(release) is ReleaseState.NEEDS_APPROVAL:
            words = f"Release {release} waits for a person who promotes or declines it ({reasons})."
            yield Matter(f"approval:{decided.number}", words, page)
        elif decided.said.decision in REFUSING and states.get(release) is not ReleaseState.DECLINED:
            words = f"The gate does not let release {release} pass ({reasons})."
            yield Matter(f"refused:{decided.number}", words, page)


def _nights(records: Records, now: datetime) -> Iterator[Matter]:
    ended = records.last(NightEnded)
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
        words = f"What comes to the archive cannot be taken in: {watch.trouble}"
        found.append(Matter("archive-away", words, "/model"))
    for note in records.witness_notes():
        if note.trouble:
            words = f"Witness {note.name} cannot be told the log's head: {note.trouble}"
            found.append(Matter(f"witness:{note.name}", words, "/log"))
    late = [one for one in records.studies_of((ArrivalState.SUBMITTED,), 500) if _is_late(one, now)]
    if late:
        studies = "1 study is" if len(late) == 1 else f"{len(late)} studies are"
        words = f"{studies} being segmented for more than {RUN_SECONDS // 60} minutes."
        found.append(Matter(f"late:{now:%Y-%m-%d}", words, "/model"))
    freed = sum(now - one.at < timedelta(days=1) for one in records.all(RunFreed))
    if freed:
        runs = "1 run of the last day was" if freed == 1 else f"{freed} runs of the last day were"
        words = f"{runs} ended: nobody worked on it any more."
        found.append(Matter(f"freed:{now:%Y-%m-%d}", words, "/model"))
    return tuple(found)


def _is_late(arrival: Arrival, now: datetime) -> bool:
    return arrival.changed_at is not None and now - arrival.changed_at > timedelta(seconds=RUN_SECONDS)
