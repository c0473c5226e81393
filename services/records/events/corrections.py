"""What readers corrected, accepted and took back, and what of it teaches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from models.documents import LEFT_OUT
from services.records.events.event import Event, RowsChanged


@dataclass(frozen=True, kw_only=True)
class CorrectionRecorded(RowsChanged):
    """A version of a correction was understood; `edited` are organs, `supersedes` earlier versions."""

    what: ClassVar[str] = "correction-recorded"

    sop_instance_uid: str
    version: int
    study_uid: str
    status: str
    edited: tuple[str, ...]
    questions: int
    answers: int = 0
    supersedes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CorrectionWithdrawn(RowsChanged):
    """A correction was taken back by an act; who, is who recorded it."""

    what: ClassVar[str] = "correction-withdrawn"

    sop_instance_uid: str
    versions: tuple[int, ...]
    reason: str


@dataclass(frozen=True, kw_only=True)
class QuestionsAnswered(Event):
    """A person answered on the pages what was asked about a SEG of that content: ``3=stomach``."""

    what: ClassVar[str] = "questions-answered"

    study_uid: str
    sop_instance_uid: str
    content: str
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class OrgansAccepted(RowsChanged):
    """A reader accepts these organs of a release's result as they are."""

    what: ClassVar[str] = "organs-accepted"

    study_uid: str
    series_uid: str
    release: int
    organs: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class AgreementMeasured(RowsChanged):
    """How far two corrections, by name, agree on an organ; None when neither drew anything there."""

    what: ClassVar[str] = "agreement-measured"

    first: str
    second: str
    organ: str
    dsc: float | None


@dataclass(frozen=True, kw_only=True)
class KeptOutOfTuning(Event):
    """A correction teaches nothing: its patient is kept for another purpose, erased or not named."""

    what: ClassVar[str] = "kept-out-of-tuning"

    sop_instance_uid: str
    version: int
    why: str
    """A code, then a colon and a sentence."""


@dataclass(frozen=True, kw_only=True)
class ReadersDisagree(Event):
    """Two corrections, by name, show another outline of an organ than two readers usually do."""

    what: ClassVar[str] = "readers-disagree"

    corrections: tuple[str, ...]
    organ: str
    dsc: float


@dataclass(frozen=True, kw_only=True)
class SavedInViewer(Event):
    """Somebody who had signed in saved an object in the viewer; the study, where the archive named it."""

    what: ClassVar[str] = "saved-in-viewer"

    sop_instance_uid: str
    study_uid: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class SaverProven(Event):
    """Who saved an object came on record after it was read: it is ingested again, under that name."""

    what: ClassVar[str] = "saver-proven"

    sop_instance_uid: str
    study_uid: str
