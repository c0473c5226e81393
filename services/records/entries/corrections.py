"""What a reader corrected, asked and answered, and how far readers agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from models.corrections.ledger import OrganLedger
from models.uids import SeriesUid, SopUid, StudyUid


@dataclass(frozen=True)
class OpenQuestion:
    """What a person has to answer before anything is learnt from a segment, as it goes on record.

    Parameters
    ----------
    segment
        SegmentNumber; None when an organ that was sent did not come back.
    label
        The catalogue's label of the organ that SegmentLabel names; empty where it is any other text.
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
        When it was saved by the viewer's clock, as `services.dicom.seg.saving`; None if it does not say. An
        earlier version kept an offset only if the object named one. It is shown, and decides nothing.
    version
        1, 2, 3, … among those of one SOP Instance UID; given by the records.
    withdrawn
        Whether this content was taken back by an act; said by the records.
    arrived
        Its place in the order in which saves came, the same for every version of a content: the number of
        the event that told of it first, said by the records. Two of one place came in an order that nobody
        knows. None of what no event tells of: it came before all that have a place, in the order of record.
    recorded_at
        When this version was put on record; said by the records.
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
    arrived: int | None = field(default=None, compare=False)
    recorded_at: datetime | None = field(default=None, compare=False)

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
