"""The records, concern by concern, as the flows see them; a function asks for what it uses.

Every write is one transaction and may be repeated: told the same thing twice, the records hold it once. All
methods raise `StorageFailed` when the database cannot be reached or written.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Protocol, Self

from models.people import Person
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.cases import Case, Erasure, FrozenSet, Purpose
from services.records.entries.corrections import Agreement, Correction
from services.records.entries.leases import Lease
from services.records.entries.log import GuardedRow, Line, WitnessNote
from services.records.entries.releases import ReleaseState
from services.records.entries.results import Result
from services.records.events.event import E_co, Event, Recorded
from services.records.ports.arrivals import Arrivals
from services.records.ports.reading import Reading
from services.records.ports.searching import Searching


class Results(Protocol):
    """What was written, and when first."""

    def first_written(self, key: str, proposed: datetime) -> datetime:
        """Return the time first proposed for a result's key; it is kept from then on."""

    def record_result(
        self,
        key: str,
        *,
        study_uid: StudyUid,
        series_uid: SeriesUid,
        release: int,
        objects: Mapping[str, SopUid],
        site: str = "",
    ) -> None:
        """Record a result whose time `first_written` has given; `objects` are SOP Instance UIDs by kind.

        The site, where it was scanned, is said in the event only; empty if not known.

        Raises
        ------
        ValueError
            If `first_written` was never asked for the key.
        """

    def find_result(self, sop_instance_uid: SopUid) -> Result | None:
        """Return the result one of whose objects has this SOP Instance UID."""

    def results_of_series(self, series_uid: SeriesUid) -> tuple[Result, ...]:
        """Return the results of a CT series, in the order they were written first."""

    def results_of_study(self, study_uid: StudyUid) -> tuple[Result, ...]:
        """Return the results of a study, in the order they were written first."""


class Corrections(Protocol):
    """What readers corrected and accepted."""

    def record_correction(self, correction: Correction) -> Correction:
        """Record a correction, its ledger and its questions; return it with its version.

        Told again, nothing is recorded. With another content, scope, ledger or answers than any version
        of the same SOP Instance UID it is the next version; what was there stays. Its content came when it
        was put on record first, or earlier, where `note_saves` told of it.
        """

    def corrections(
        self, *, sop_instance_uid: SopUid | None = None, series_uid: SeriesUid | None = None
    ) -> tuple[Correction, ...]:
        """Return all corrections, or those of one object or CT series, in the order of record."""

    def withdraw(self, sop_instance_uid: SopUid, *, reader: str, reason: str) -> tuple[Correction, ...]:
        """Record that a correction is taken back, whatever version of it is on record.

        Raises
        ------
        Refused
            `unknown-correction` if there is none under this SOP Instance UID.
        """

    def record_agreement(self, agreement: Agreement) -> None:
        """Record how far two readers agree."""

    def agreements(self) -> tuple[Agreement, ...]:
        """Return how far readers agree, wherever two have a word on the same organ."""

    def record_acceptance(
        self,
        study_uid: StudyUid,
        series_uid: SeriesUid,
        release: int,
        organs: Collection[str],
        reader: str,
        *,
        result: str = "",
    ) -> None:
        """Record that a reader accepts these organs of a release's result on a CT series as they are.

        It is the reader's word on the result that is listed, too.

        Raises
        ------
        Refused
            `drawn-anew` if the key of a result is given, and another is listed by now.
        """

    def accepted_organs(self, series_uid: SeriesUid, release: int) -> frozenset[str]:
        """Return the organs that readers accepted of a release's result on a CT series."""


class Saves(Protocol):
    """In which order saves came; no clock is asked."""

    def note_saves(self, study_uid: StudyUid, in_order: Iterable[Collection[SopUid]]) -> None:
        """Put on record in which order SEGs that are not ours came to the archive, before they are read.

        Parameters
        ----------
        study_uid
            StudyInstanceUID.
        in_order
            SOP Instance UIDs as they came. Of those of one group nobody knows which came first. One that was
            told before, or is on record as a correction, keeps its place.
        """

    def untold_saves(self, study_uid: StudyUid, sop_instance_uids: Collection[SopUid]) -> tuple[SopUid, ...]:
        """Return those of a study's saves of which nothing on record tells yet, in the order given."""

    def place_of_save(self, study_uid: StudyUid, sop_instance_uid: SopUid) -> int | None:
        """Return the number of the event that told of a save of the archive; None if none did."""


class Releases(Protocol):
    """How far each release has come, and which one serves."""

    def record_release(self, number: int, digest: str, state: ReleaseState) -> None:
        """Record a release, or how far it has come.

        Raises
        ------
        ValueError
            If the number is on record with another digest.
        """

    def release_states(self) -> Mapping[int, ReleaseState]:
        """Return the state of every release on record, by number."""

    def incumbent(self) -> int | None:
        """Return the number of the release that serves; None before the first."""

    def set_incumbent(
        self,
        release: int,
        *,
        approver: str,
        reason: str,
        replacing: int | None = None,
        act: str = "promotion",
    ) -> None:
        """Make a release the incumbent: one row, changed in one transaction together with its event.

        Parameters
        ----------
        release
            The release that shall serve; if it does already, nothing changes.
        approver, reason
            Whose act it is, and why.
        replacing
            The incumbent it was weighed against; None to replace whichever serves.
        act
            What it is: `promotion`, `rollback`, or `golden-failed`, when golden studies take one back.

        Raises
        ------
        Refused
            `incumbent-changed` if another release than `replacing` has come to serve meanwhile;
            `declined` if a person has decided against it.
        """

    def decline(self, release: int, digest: str, *, approver: str, reason: str) -> None:
        """Record that a person has decided against a candidate: it can never serve. Told again, nothing.

        Raises
        ------
        Refused
            `is-incumbent` if it serves, `was-incumbent` if it did: then a rollback takes it back.
        ValueError
            If the number is on record with another digest.
        """


class Cases(Protocol):
    """Which case is kept for what, and the sets that are frozen."""

    def add_case(self, case: Case) -> None:
        """Take a case into the set of its purpose; where that is frozen, it counts from the next freezing.

        Raises
        ------
        Refused
            `patient-leak` if the patient is kept for another purpose, `patient-erased` if the patient
            was taken out, `case-changed` if the case is in it with other content.
        """

    def cases(self, purpose: Purpose) -> tuple[Case, ...]:
        """Return the cases kept for a purpose, by identifier."""

    def erase_patient(self, patient: str, *, who: str, reason: str) -> Erasure:
        """Take a patient out of every set, and refuse the patient from then on.

        Told again, it answers what it answered first.
        """

    def erased(self, patient: str) -> bool:
        """Tell whether a patient was taken out."""

    def freeze(self, purpose: Purpose) -> FrozenSet:
        """Freeze a set as it is: the newest version if nothing has changed since, else the next.

        Raises
        ------
        Refused
            `empty-set` if there is nothing to freeze.
        """

    def frozen(self, purpose: Purpose, version: int | None = None) -> FrozenSet | None:
        """Return a version of a frozen set, by default the newest; None if it was never frozen so."""


class Leases(Protocol):
    """Who may do a thing now."""

    def acquire(self, name: str, holder: str, seconds: float) -> Lease | None:
        """Take a lease that is free, has run out or is this holder's; None while it is another's.

        Every taking gives out the next token, so what a holder had before it is lost.

        Parameters
        ----------
        name
            Of what only one may do at a time; at most 128 characters.
        holder
            Names one process or run, and no other; not empty.
        seconds
            For so long, by the database's clock, nobody else gets it by `acquire`. Everybody asks for the
            same time: a lease that runs for longer was given out while the clock was wrong, and is free.
        """

    def take_over(self, name: str, holder: str, seconds: float) -> Lease:
        """Take a lease whoever holds it, for one that is believed dead; parameters as of `acquire`."""

    def renew(self, lease: Lease, seconds: float) -> None:
        """Hold a lease for so long from now, also one that has run out and that nobody took.

        Raises
        ------
        LeaseLost
            If another has taken it, or it was given back.
        """

    def release(self, lease: Lease) -> None:
        """Give a lease back; one that another has taken stays the other's."""


class Log(Protocol):
    """What happened, in order; never changed or taken back."""

    def record(self, event: Event, *, who: str, key: str | None = None) -> None:
        """Record that something happened; with a key, once only.

        Parameters
        ----------
        event
            What happened.
        who
            Name of the person or the flow.
        key
            Of `Event.key`, or another that no other event bears.
        """

    def last(self, kind: type[E_co], *, key: str | None = None, **by: str | int) -> Recorded[E_co] | None:
        """Return the last event of a kind; None if there is none.

        Parameters
        ----------
        kind
            Of `services.records.events`.
        key
            The key under which it was recorded.
        by
            Values of its fields.

        Raises
        ------
        AttributeError
            If the kind has no such field.
        StorageFailed
            If an event on record cannot be read as one of its kind.
        """

    def all(self, *of: type[E_co], **by: str | int) -> tuple[Recorded[E_co], ...]:
        """Return the events of these kinds with these values of their fields, in order; raises as `last`."""

    def studies_by_site(self) -> Mapping[str, int]:
        """Return how many studies have results, by the site where they were scanned; "" if not known."""

    def lines(self, after: int = 0, at_most: int | None = None) -> tuple[Line, ...]:
        """Return the log's lines behind one, in order, whatever their kinds."""


class Seals(Protocol):
    """The rows that the log guards."""

    def guarded_rows(self) -> tuple[GuardedRow, ...]:
        """Return every row that the log guards, as it lies."""

    def seal_rows(self, who: str) -> int:
        """Seal the rows that older versions wrote, as they are; return how many there were.

        A row that no event speaks of, or speaks of otherwise, is not sealed: it stays a fault.
        """


class Witnessed(Protocol):
    """The head of the log, and who was told of it."""

    def head(self) -> Line | None:
        """Return the last line; None of an empty log."""

    def note_witness(self, name: str, number: int, digest: str, trouble: str = "") -> None:
        """Note that a witness was told a head just now, or why it could not be."""

    def witness_notes(self) -> tuple[WitnessNote, ...]:
        """Return when each witness was told last, by name."""


class Records(
    Results,
    Reading,
    Corrections,
    Saves,
    Releases,
    Cases,
    Arrivals,
    Leases,
    Log,
    Searching,
    Seals,
    Witnessed,
    Protocol,
):
    """All of them, in one database."""

    @property
    def person(self) -> Person | None:
        """Whose acts these are; None where no name is proven."""

    def signed(self, person: Person) -> Self:
        """Return these records for a person whose name is proven.

        What is recorded under that name from then on says by whom it was proven; what flows record beside,
        under their own names, does not.
        """

    def fenced(self, lease: Lease) -> Self:
        """Return these records for the holder of a lease, however late it comes.

        Each of their transactions begins by making sure that nobody has taken the lease since, and raises
        `LeaseLost` if so: then nothing was read or written.
        """
