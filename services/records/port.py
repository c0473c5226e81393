"""The records: what was written, corrected, decided and changed, as the flows see them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from models.corrections import OrganLedger


class ReleaseState(StrEnum):
    """How far a release has come."""

    CANDIDATE = "candidate"
    REFUSED = "refused"
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
    """One correction as it was understood.

    Parameters
    ----------
    sop_instance_uid
        Of the SEG that came in; a correction is recorded once.
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
    """

    case_id: str
    purpose: Purpose
    patient: str
    origin: str
    digest: str
    site: str = ""


def manifest_digest(cases: Collection[Case]) -> str:
    """Return the SHA-256 of a set's manifest: every field of every case, in the order given."""
    manifest = [asdict(case) for case in cases]
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


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
    """

    number: int
    at: datetime
    what: str
    who: str
    payload: Mapping[str, Any] = field(default_factory=dict)


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

    def record_correction(self, correction: Correction) -> bool:
        """Record a correction, its ledger and its questions; tell whether it was new."""

    def corrections_since(self, release: int) -> tuple[Correction, ...]:
        """Return the corrections of results of this and later releases, in order of arrival."""

    def record_acceptance(self, study_uid: str, release: int, organs: Collection[str], reader: str) -> None:
        """Record that a reader accepts these organs of a release's result as they are."""

    def accepted_organs(self, study_uid: str, release: int) -> frozenset[str]:
        """Return the organs that readers accepted of a release's result."""

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
        self, release: int, *, approver: str, reason: str, replacing: int | None = None
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

        Raises
        ------
        Refused
            `incumbent-changed` if another release than `replacing` has come to serve meanwhile.
        """

    def add_case(self, case: Case) -> None:
        """Take a case into the set of its purpose.

        Raises
        ------
        Refused
            `patient-leak` if the patient is kept for another purpose, `set-frozen` if the set is
            frozen without this case, `case-changed` if the case is in it with other content.
        """

    def cases(self, purpose: Purpose) -> tuple[Case, ...]:
        """Return the cases kept for a purpose, by identifier."""

    def freeze(self, purpose: Purpose) -> str:
        """Freeze a set; return the digest of its manifest, the same ever after.

        Raises
        ------
        Refused
            `empty-set` if there is nothing to freeze.
        """

    def frozen(self, purpose: Purpose) -> str | None:
        """Return the manifest digest of a frozen set, None while it is open."""

    def event(
        self, what: str, *, who: str, payload: Mapping[str, Any] | None = None, key: str | None = None
    ) -> None:
        """Record that something happened; with a key, once only."""

    def events(self, what: str | None = None) -> tuple[Event, ...]:
        """Return all events, or those of one kind, in order."""
