"""Telling people: in one message what came up together, and each matter once while it lasts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from flows.telling.matters import Matter, matters
from models.errors import NotTold
from services.people.messages import Messenger
from services.records.events.operations import PeopleNotTold, PeopleTold
from services.records.port import Records

AGAIN = timedelta(minutes=10)
"""Between two tries to tell what could not be told."""

TELLING = "tell-people"
"""Name of the lease: of all instances of the pages one tells."""

EVERY_SECONDS = 60.0
LEASE_SECONDS = 180.0


class Teller:
    """Tells people what waits for them; one look a minute, by whoever holds the lease.

    Parameters
    ----------
    messenger
        Takes the messages to people.
    address
        Of the pages, ``https://host``.
    holder
        Names this process, and no other, in the lease.
    clock
        The time now.
    """

    def __init__(
        self, messenger: Messenger, address: str, holder: str, clock: Callable[[], datetime]
    ) -> None:
        self._messenger, self._address, self._holder, self._clock = messenger, address, holder, clock
        self._since: dict[str, datetime] = {}
        self._again_at: datetime | None = None

    def look(self, records: Records) -> None:
        """Tell what has lasted and was not told, unless another instance of the pages tells.

        Raises
        ------
        StorageFailed
            If the records cannot be reached.
        """
        if records.acquire(TELLING, self._holder, LEASE_SECONDS) is None:
            return
        now = self._clock()
        found = {one.key: one for one in matters(records, now)}
        self._since = {key: self._since.get(key, now) for key in found}
        told = told_of(records)
        if over := sorted(told - found.keys()):  # if it comes again, people are told again
            records.record(PeopleTold(matters=(), over=tuple(over)), who="tell_people")
        due = [one for key, one in found.items() if key not in told and now - self._since[key] >= one.lasting]
        if due and (self._again_at is None or now >= self._again_at):
            self._tell(due, records, now)

    def _tell(self, due: list[Matter], records: Records, now: datetime) -> None:
        try:
            away = self._messenger.send(subject_of(due), message_of(due, self._address))
        except NotTold as failed:  # nobody
            self._again_at = now + AGAIN
            self._note(str(failed), records)
            return
        self._again_at = None
        records.record(PeopleTold(matters=tuple(one.key for one in due)), who="tell_people")
        if away:  # who was told is not told again because another was not
            self._note(away, records)

    def _note(self, why: str, records: Records) -> None:
        before = records.last(PeopleNotTold)
        if before is None or before.said.why != why or _is_mended(before.number, records):
            records.record(PeopleNotTold(why=why), who="tell_people")


def told_of(records: Records) -> set[str]:
    """Return the keys of what people were told of and what has not ended since."""
    told: set[str] = set()
    for one in records.all(PeopleTold):
        told = (told | set(one.said.matters)) - set(one.said.over)
    return told


def _is_mended(number: int, records: Records) -> bool:
    return any(one.number > number and one.said.matters for one in records.all(PeopleTold))


def why_not_told(records: Records) -> str:
    """Return why people could not be told lately; empty where they could, or nothing was to be told."""
    failed = records.last(PeopleNotTold)
    return "" if failed is None or _is_mended(failed.number, records) else failed.said.why


def subject_of(due: list[Matter]) -> str:
    """Return the subject of a message."""
    return "Organloop: 1 matter" if len(due) == 1 else f"Organloop: {len(due)} matters"


def message_of(due: list[Matter], address: str) -> str:
    """Return the text of a message: a sentence for each matter, and the page to look at."""
    return "\n\n".join(f"{one.words}\n{address}{one.page}" for one in due)
