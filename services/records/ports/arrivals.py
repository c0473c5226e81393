"""What came, how far each has come, and where the archive's feed was read to."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, datetime
from typing import Protocol

from models.uids import SopUid, StudyUid
from services.records.entries.arrivals import Arrival, ArrivalState, Watch
from services.records.events.event import Event


class Arrivals(Protocol):
    """What came, how far each has come, and where the archive's feed was read to."""

    def feed_cursor(self) -> int | None:
        """Return where the archive's feed is read next; None before the first time."""

    def take_in(self, study_uids: Collection[StudyUid], cursor: int) -> None:
        """Note that something came to these studies, and move the cursor, in one transaction."""

    def note_watch(self, trouble: str = "") -> None:
        """Note that the archive was watched just now, and why that came to nothing, if it did."""

    def last_watch(self) -> Watch | None:
        """Return when the archive was watched last; None if it never was."""

    def sweep(self, day: date, came_after: datetime) -> int:
        """Have the segmented studies that came lately looked at again, once a day; return how many.

        No feed tells of a study that was deleted.
        """

    def arrival(self, uid: StudyUid | SopUid) -> Arrival | None:
        """Return what is known of one arrival; None if nothing is."""

    def arrivals(self) -> tuple[Arrival, ...]:
        """Return all arrivals, in order of coming."""

    def arrivals_of_code(self, code: str, at_most: int) -> tuple[Arrival, ...]:
        """Return arrivals of a code, in order of coming, so many at most."""

    def arrivals_by_state(self) -> Mapping[ArrivalState, int]:
        """Return how many arrivals are in each state that any is in."""

    def studies_by_code(self, states: Collection[ArrivalState]) -> Mapping[tuple[ArrivalState, str], int]:
        """Return how many studies are in each of these states, by state and code."""

    def studies_of(self, states: Collection[ArrivalState], at_most: int) -> tuple[Arrival, ...]:
        """Return studies in these states, those that changed last first, so many at most."""

    def has_sent(self) -> bool:
        """Tell whether results of any study were ever stored in the archive."""

    def open_arrivals(self) -> tuple[Arrival, ...]:
        """Return the arrivals that something is to be done about, in order of coming.

        Those are the ones that wait or are submitted, and those to which something came since, of the settled
        ones some hundred, the newest.
        """

    def change_arrival(
        self,
        before: Arrival | None,
        after: Arrival,
        *,
        event: Event | None = None,
        key: str | None = None,
        who: str = "arrivals",
    ) -> bool:
        """Put one arrival in another's place, with its event, unless it has changed meanwhile.

        Parameters
        ----------
        before
            As it was read; None for one that is not on record yet.
        after
            What it becomes; its times and revision are not looked at.
        event, key
            What happened, if it is worth an event; with a key, it is on record once only.
        who
            Whose act it is.

        Returns
        -------
        bool
            Whether it was done; if not, somebody else changed it, and nothing was written.
        """
