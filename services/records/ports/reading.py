"""What waits for a reader and what readers say without drawing, as flows and pages see it.

A part of `services.records.port`; what holds of all its methods holds here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from models.corrections.opinions import Opinion
from models.people import Person
from models.uids import StudyUid
from services.records.entries.reading import (
    Given,
    Listed,
    Narrowed,
    OrganSaid,
    Place,
    ReadingState,
    ReadingTime,
)


class Reading(Protocol):
    """What waits for a reader, what was said of it, and what readers said without drawing."""

    def list_study(self, listed: Listed, organs: Collection[OrganSaid]) -> None:
        """Put a result on the worklist in place of an earlier one of its study; told again, nothing.

        Of a patient who was taken out nothing is listed.

        Answers to the earlier one stay on record and count for it alone. The study is free again.
        """

    def worklist(
        self,
        state: ReadingState = ReadingState.WAITING,
        *,
        behind: Place | None = None,
        at_most: int = 50,
        narrowed: Narrowed | None = None,
    ) -> tuple[Listed, ...]:
        """Return studies of a state in the order in which they are to be read.

        Parameters
        ----------
        state
            How far they have come.
        behind
            Only those that stand behind this place; None begins with the first.
        at_most
            So many.
        narrowed
            Only those of these.
        """

    def waiting(self, at_most: int = 501) -> int:
        """Return how many studies wait, counted no further than told."""

    def listed(self, page: str) -> Listed | None:
        """Return the study of that name on the pages; None if there is none."""

    def listed_studies(self, study_uids: Collection[StudyUid]) -> tuple[Listed, ...]:
        """Return those of these studies that are listed, in whatever state, in the order of reading."""

    def listed_of_patient(self, patient: str) -> tuple[Listed, ...]:
        """Return the listed studies of a patient, by its keyed hash, in the order of listing."""

    def findings(self, results: Collection[str]) -> Mapping[str, tuple[OrganSaid, ...]]:
        """Return what was said of the organs of listed results, by result and in their order."""

    def give_opinion(
        self,
        result: str,
        organs: Collection[str],
        opinion: Opinion,
        *,
        reader: Person,
        why: str = "",
        seen: str,
    ) -> None:
        """Put on record what a reader says of organs of a listed result, in one act.

        It enters no calibration, gate or audit, and teaches nothing.

        Raises
        ------
        Refused
            `drawn-anew` if another result stands in its place by now, `unknown-organ`.
        """

    def opinions(self, study_uid: StudyUid) -> tuple[Given, ...]:
        """Return what readers said of a study's results without drawing, in order."""

    def answered_organs(self, study_uid: StudyUid) -> frozenset[str]:
        """Return the organs of a listed study's result that a reader has answered, in whatever way."""

    def hold(
        self, study_uid: StudyUid, reader: Person, *, take_over: bool = False, reading: bool = True
    ) -> Listed:
        """Reserve a listed study for who opens it, or give a sign of life; return it as it is then.

        While another holds it, it stays the other's, unless it is taken over. It is free ten minutes after
        the last sign of life. What lies between two signs counts as reading unless it is over a minute, or
        the second one is of a window in which nobody does anything (`reading`).

        Raises
        ------
        Refused
            `not-listed` if the study is not on the list any more.
        """

    def still_held(self, study_uid: StudyUid, reader: Person) -> None:
        """Take a sign of life of a study that this reader holds; of another, or one not listed, none.

        It reserves nothing: who saves in the viewer need not have the study open on the pages.
        """

    def note_viewer(self, study_uid: StudyUid, reader: Person) -> None:
        """Note that this reader opens a listed study's result in the viewer; raises as `hold`."""

    def opened_viewer(self, result: str, reader: Person) -> bool:
        """Tell whether this reader has opened a result in the viewer."""

    def let_go(self, study_uid: StudyUid, reader: Person) -> None:
        """Free a study that this reader holds; what another holds stays so."""

    def forget_reading(self, patient: str, *, who: str) -> int:
        """Take out what was said of a patient, by its keyed hash, and what readers said.

        Returns how many findings and opinions; the numbers of what happened stay in the log.
        """

    def seconds_read(self, result: str, reader: Person) -> float:
        """Return how long this reader had a result open, without the idle time, seconds."""

    def reading_times(self, since_ms: int) -> tuple[ReadingTime, ...]:
        """Return how long readers had studies open that are listed, and of whom nothing is said.

        Parameters
        ----------
        since_ms
            Those whose last sign of life came later, milliseconds since 1970.
        """
