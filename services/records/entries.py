"""What the records hold, entry by entry: results, corrections, cases, sets, events, arrivals."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from models.corrections.ledger import OrganLedger
from models.series.acquisition import Acquisition
from models.uids import SeriesUid, SopUid, StudyUid


class ReleaseState(StrEnum):
    """How far a release has come."""

    CANDIDATE = "candidate"
    REFUSED = "refused"
    NEEDS_APPROVAL = "needs-approval"
    DECLINED = "declined"
    """By a person; final."""
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
    study_uid: StudyUid
    series_uid: SeriesUid
    release: int
    objects: Mapping[str, SopUid]
    written_at: datetime


@dataclass(frozen=True)
class OpenQuestion:
    """What a person has to answer before anything is learnt from a segment, as it goes on record.

    Parameters
    ----------
    segment
        SegmentNumber; None when an organ that was sent did not come back.
    label
        SegmentLabel as it came, or as it was sent.
    candidates
        Organs it may be, likeliest first.
    why
        Code of the doubt.
    """

    segment: int | None
    label: str
    candidates: tuple[str, ...]
    why: str


@dataclass(frozen=True)
class Answer:
    """What a person answered, in words, and who: ``3=stomach``."""

    answer: str
    reader: str


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
        What a person has to answer first.
    content
        SHA-256 of all that was read of the SEG: a save under the same UID with another content is
        another version.
    scope
        Where it is truth: `organ`, `slices` or `regions`.
    answers
        What persons answered; kept from version to version of a content.
    saved_at
        When the viewer saved it, ISO 8601, with its offset from UTC only if the object says it; None if
        it says nothing.
    version
        1, 2, 3, … among those of one SOP Instance UID; given by the records.
    withdrawn
        Whether this content was taken back by an act; said by the records.
    """

    sop_instance_uid: SopUid
    sent_uid: SopUid
    study_uid: StudyUid
    series_uid: SeriesUid
    release: int | None
    status: str
    reader: str
    viewer: str
    organs: tuple[OrganLedger, ...]
    questions: tuple[OpenQuestion, ...] = ()
    content: str = ""
    scope: str = "organ"
    answers: tuple[Answer, ...] = ()
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
class ErasedCase:
    """A case that was kept of a patient who was taken out: its name, its digest, what it was kept for."""

    case_id: str
    digest: str
    purpose: str


@dataclass(frozen=True)
class Erasure:
    """A patient who was taken out.

    Parameters
    ----------
    patient
        HMAC of the patient; it stays, so that nothing of the patient is kept again.
    cases
        Each case that was kept.
    thawed
        Digest of each frozen set that lost a case, by its purpose; it must be frozen anew.
    """

    patient: str
    cases: tuple[ErasedCase, ...]
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
class Lease:
    """The right to do one thing, until somebody else gets it.

    Parameters
    ----------
    name
        Of the thing, e.g. ``segment:<study UID>``; at most 128 characters.
    holder
        Who has it: names one process or run, and no other.
    token
        Grows each time the lease is given out; a holder with an older one is followed by another.
    """

    name: str
    holder: str
    token: int


@dataclass(frozen=True)
class Line:
    """One line of the log, as it lies there; never changed or taken back.

    Parameters
    ----------
    number
        Order on record.
    at
        When.
    what
        Name of the kind of event (`services.records.events`).
    who
        Name of the person or the flow.
    payload
        What else is known, as JSON holds it.
    key
        What is recorded once only; None without.
    previous, digest
        Links of the chain (`services.records.chain`): of the event before, and of this one.
    """

    number: int
    at: datetime
    what: str
    who: str
    payload: Mapping[str, object] = field(default_factory=dict)
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
    """A SEG of a reader's was read; the code says what came of it, empty if an earlier version read it."""
    REFUSED = "refused"
    """On the data: a study until new images come, a SEG until a person settles it."""
    FAILED = "failed"
    """As often as it is tried."""
    IGNORED = "ignored"
    """Nothing for us."""
    GONE = "gone"
    """No longer in the archive."""


@dataclass(frozen=True)
class Watch:
    """The last time that the archive was watched.

    Parameters
    ----------
    at
        When.
    trouble
        Why what came could not be taken in then; empty where it was.
    """

    at: datetime
    trouble: str = ""


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
        How many runs of this version failed by themselves.
    interrupted
        How many were cut short by what was not this study's fault, or ended without a word.
    run
        The last flow run; empty before.
    code, detail
        Why it waits, was refused, failed or is ignored; of a SEG, what `ingest` said of it.
    patient
        HMAC of the patient under whom results were stored; empty before.
    touched
        Whether something came since it was last looked at.
    came_at, changed_at
        When it was first heard of, and when more of it changed last than `touched`; set by the records.
    revision
        Counts the changes; set by the records.
    """

    uid: StudyUid | SopUid
    study_uid: StudyUid
    state: ArrivalState = ArrivalState.WAITING
    version: str = ""
    instances: int = 0
    urgent: bool = False
    attempts: int = 0
    interrupted: int = 0
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
