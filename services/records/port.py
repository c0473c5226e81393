"""The records: what was written, corrected, decided and changed, as the flows see them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Protocol

from models.acquisition import Acquisition
from models.corrections import OrganLedger


class ReleaseState(StrEnum):
    """How far a release has come."""

    CANDIDATE = "candidate"
    REFUSED = "refused"
    NEEDS_APPROVAL = "needs-approval"
    PROMOTED = "promoted"


class Purpose(StrEnum):
    """What a case is kept for; a patient is kept for one purpose only."""

    TUNING = "tuning"
    CALIBRATION = "calibration"
    GATE = "gate"


@dataclass(frozen=True)
class Result:
    """One result that was written.

    Parameters
    ----------
    key
        Digest of what went in: images, release, settings.
    study_uid, series_uid
        The CT series.
    release
        Number of the release that answered.
    objects
        SOP Instance UID of each object, by kind.
    written_at
        When it was written first; written again, it bears the same time.
    """

    key: str
    study_uid: str
    series_uid: str
    release: int
    objects: Mapping[str, str]
    written_at: datetime


@dataclass(frozen=True)
class Correction:
    """One version of one correction, as it was understood.

    Parameters
    ----------
    sop_instance_uid
        Of the SEG that came in.
    sent_uid
        SOP Instance UID of the SEG that was corrected.
    study_uid, series_uid
        The CT series.
    release
        Number N of the release whose result was corrected; None if that is not on record, and then
        its truth has no origin and teaches nothing.
    status
        `ours-unchanged` or `correction`.
    reader, viewer
        Who and what wrote it, as far as it says.
    organs
        The ledger.
    questions
        What a person has to answer first: ``segment, label, candidates, why``.
    content
        SHA-256 of all that was read of the SEG: a save under the same UID with another content is
        another version.
    scope
        Where it is truth: `organ`, `slices` or `regions`.
    answers
        What persons answered: ``segment, organ, reader``; kept from version to version of a content.
    saved_at
        When the viewer saved it, ISO 8601, with its offset from UTC only if the object says it; None if
        it says nothing.
    version
        1, 2, 3, … among those of one SOP Instance UID; given by the records.
    withdrawn
        Whether this content was taken back by an act; said by the records.
    """

    sop_instance_uid: str
    sent_uid: str
    study_uid: str
    series_uid: str
    release: int | None
    status: str
    reader: str
    viewer: str
    organs: tuple[OrganLedger, ...]
    questions: tuple[Mapping[str, Any], ...] = ()
    content: str = ""
    scope: str = "organ"
    answers: tuple[Mapping[str, Any], ...] = ()
    saved_at: str | None = None
    version: int = 1
    withdrawn: bool = False

    @property
    def name(self) -> str:
        """Its SOP Instance UID; of a later version with the number behind it, ``1.2.3/2``."""
        return self.sop_instance_uid if self.version == 1 else f"{self.sop_instance_uid}/{self.version}"


@dataclass(frozen=True)
class Agreement:
    """How far two readers agree on one organ of one series.

    Parameters
    ----------
    first, second
        Names of the corrections, sorted.
    organ
        Key in the catalogue.
    dsc
        Where both are truth, 0..1; None when neither drew anything there.
    """

    first: str
    second: str
    organ: str
    dsc: float | None


@dataclass(frozen=True)
class Erasure:
    """A patient who was taken out.

    Parameters
    ----------
    patient
        HMAC of the patient; it stays, so that nothing of the patient is kept again.
    cases
        Name and digest of each case that was kept: ``case_id, digest, purpose``.
    thawed
        Digest of each frozen set that lost a case, by its purpose; it must be frozen anew.
    """

    patient: str
    cases: tuple[Mapping[str, str], ...]
    thawed: Mapping[str, str]


@dataclass(frozen=True)
class Case:
    """One case of the case store and the purpose it is kept for.

    Parameters
    ----------
    case_id
        Its name in the case store.
    purpose
        What it is kept for.
    patient
        HMAC of the patient under the site's key.
    origin
        Of its truth: `independent`, ``edited-from-N`` or ``accepted-from-N``.
    digest
        SHA-256 of its truth as it lies in the store.
    site
        Where it was scanned, as the site's own label for scanner and protocol; empty if not known.
    acquisition
        How it was scanned, as far as the headers say.
    """

    case_id: str
    purpose: Purpose
    patient: str
    origin: str
    digest: str
    site: str = ""
    acquisition: Acquisition = field(default_factory=Acquisition)


Manifest = tuple[Mapping[str, Any], ...]
"""Every field of every case of a set, by case identifier, as JSON holds it."""


def manifest_of(cases: Collection[Case]) -> Manifest:
    """Return the manifest of cases, whatever their order."""
    return tuple(asdict(case) for case in sorted(cases, key=lambda case: case.case_id))


def manifest_digest(manifest: Manifest) -> str:
    """Return the SHA-256 of a set's manifest."""
    return hashlib.sha256(json.dumps(list(manifest), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class FrozenSet:
    """One version of a set as it was frozen; a decision names its digest.

    Parameters
    ----------
    purpose
        Which set.
    version
        1, 2, …: each freezing after a change makes the next; earlier ones stay readable.
    digest
        Of the manifest.
    manifest
        The cases as they were.
    frozen_at
        When.
    """

    purpose: Purpose
    version: int
    digest: str
    manifest: Manifest
    frozen_at: datetime


@dataclass(frozen=True)
class Event:
    """One thing that happened; never changed or taken back.

    Parameters
    ----------
    number
        Order on record.
    at
        When.
    what
        Its kind, e.g. ``incumbent-changed``.
    who
        Name of the person or the flow.
    payload
        What else is known, as JSON holds it.
    key
        What is recorded once only; None without.
    previous, digest
        Links of the chain (`services.records.audit`): of the event before, and of this one.
    """

    number: int
    at: datetime
    what: str
    who: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    key: str | None = None
    previous: str = ""
    digest: str = ""


class ArrivalState(StrEnum):
    """How far what came has come."""

    WAITING = "waiting"
    """Not complete yet, or not submitted yet; the code says why."""
    SUBMITTED = "submitted"
    SEGMENTED = "segmented"
    """Results are in the archive."""
    INGESTED = "ingested"
    """A SEG of a reader's was read."""
    REFUSED = "refused"
    """On the data; until new images come."""
    FAILED = "failed"
    """As often as it is tried."""
    IGNORED = "ignored"
    """Nothing for us."""
    GONE = "gone"
    """No longer in the archive."""


@dataclass(frozen=True)
class Arrival:
    """A study that came, or a SEG that is not ours, and how far it has come.

    Parameters
    ----------
    uid
        StudyInstanceUID, or the SEG's SOP Instance UID.
    study_uid
        StudyInstanceUID.
    state
        How far it has come.
    version
        Digest of the SOP Instance UIDs of the study's CT images as last looked at; empty before.
    instances
        How many instances that are not ours the archive held then.
    urgent
        Whether it goes first.
    attempts
        How often this version was submitted.
    run
        The last flow run; empty before.
    code, detail
        Why it waits, was refused, failed or is ignored.
    patient
        HMAC of the patient under whom results were stored; empty before.
    touched
        Whether something came since it was last looked at.
    came_at, changed_at
        When it was first heard of, and when more of it changed last than `touched`; set by the records.
    revision
        Counts the changes; set by the records.
    """

    uid: str
    study_uid: str
    state: ArrivalState = ArrivalState.WAITING
    version: str = ""
    instances: int = 0
    urgent: bool = False
    attempts: int = 0
    run: str = ""
    code: str = ""
    detail: str = ""
    patient: str = ""
    touched: bool = True
    came_at: datetime | None = None
    changed_at: datetime | None = None
    revision: int = 0

    @property
    def is_study(self) -> bool:
        """Whether it is a study, and not a SEG of one."""
        return self.uid == self.study_uid


class Records(Protocol):
    """What happened, and which release is the incumbent.

    Every write is one transaction and may be repeated: told the same thing twice, the records hold it
    once. All methods raise `StorageFailed` when the database cannot be reached or written.
    """

    def first_written(self, key: str, proposed: datetime) -> datetime:
        """Return the time first proposed for a result's key; it is kept from then on."""

    def record_result(
        self, key: str, *, study_uid: str, series_uid: str, release: int, objects: Mapping[str, str]
    ) -> None:
        """Record a result whose time `first_written` has given; `objects` are SOP Instance UIDs by kind.

        Raises
        ------
        ValueError
            If `first_written` was never asked for the key.
        """

    def find_result(self, sop_instance_uid: str) -> Result | None:
        """Return the result one of whose objects has this SOP Instance UID."""

    def latest_result(self, study_uid: str) -> Result | None:
        """Return the result of a study that was written last; None if there is none."""

    def results_of_series(self, series_uid: str) -> tuple[Result, ...]:
        """Return the results of a CT series, in the order they were written first."""

    def results_of_study(self, study_uid: str) -> tuple[Result, ...]:
        """Return the results of a study, in the order they were written first."""

    def record_correction(self, correction: Correction) -> Correction:
        """Record a correction, its ledger and its questions; return it with its version.

        Told again, nothing is recorded. With another content, scope, ledger or answers than any version
        of the same SOP Instance UID it is the next version; what was there stays.
        """

    def corrections(
        self, *, sop_instance_uid: str | None = None, series_uid: str | None = None
    ) -> tuple[Correction, ...]:
        """Return all corrections, or those of one object or CT series, in order of arrival."""

    def corrections_since(self, release: int) -> tuple[Correction, ...]:
        """Return the corrections of results of this and later releases, in order of arrival."""

    def withdraw(self, sop_instance_uid: str, *, reader: str, reason: str) -> tuple[Correction, ...]:
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
        self, study_uid: str, series_uid: str, release: int, organs: Collection[str], reader: str
    ) -> None:
        """Record that a reader accepts these organs of a release's result on a CT series as they are."""

    def accepted_organs(self, series_uid: str, release: int) -> frozenset[str]:
        """Return the organs that readers accepted of a release's result on a CT series."""

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
            `incumbent-changed` if another release than `replacing` has come to serve meanwhile.
        """

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

    # arrivals

    def feed_cursor(self) -> int:
        """Return where the archive's feed is read next; 0 before the first time."""

    def take_in(self, study_uids: Collection[str], cursor: int) -> None:
        """Note that something came to these studies, and move the cursor, in one transaction."""

    def sweep(self, day: date, came_after: datetime) -> int:
        """Have the segmented studies that came lately looked at again, once a day; return how many.

        No feed tells of a study that was deleted.
        """

    def arrival(self, uid: str) -> Arrival | None:
        """Return what is known of one arrival; None if nothing is."""

    def open_arrivals(self) -> tuple[Arrival, ...]:
        """Return the arrivals that something is to be done about, in order of coming.

        Those are the ones that wait or are submitted, and those to which something came since.
        """

    def change_arrival(
        self,
        before: Arrival | None,
        after: Arrival,
        *,
        event: str | None = None,
        payload: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> bool:
        """Put one arrival in another's place, with its event, unless it has changed meanwhile.

        Parameters
        ----------
        before
            As it was read; None for one that is not on record yet.
        after
            What it becomes; its times and revision are not looked at.
        event, payload, key
            What happened, if it is worth an event: uid, study UID and code are always said with it.

        Returns
        -------
        bool
            Whether it was done; if not, somebody else changed it, and nothing was written.
        """

    def event(
        self, what: str, *, who: str, payload: Mapping[str, Any] | None = None, key: str | None = None
    ) -> None:
        """Record that something happened; with a key, once only."""

    def events(self, what: str | None = None) -> tuple[Event, ...]:
        """Return all events, or those of one kind, in order."""
