"""What was said of a study, whether it was sent, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from models.documents import LEFT_OUT, called
from services.records.events.event import Event, RowsChanged


@dataclass(frozen=True, kw_only=True)
class ResultRecorded(RowsChanged):
    """A result was stored; `objects` are SOP Instance UIDs by kind, `site` where it was scanned."""

    what: ClassVar[str] = "result-recorded"

    result: Annotated[str, called("key")]
    study_uid: str
    release: int
    objects: Mapping[str, str]
    site: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class SpeechChanged(Event):
    """A person had the site speak, or be silent: whether results are sent to its archive from then on."""

    what: ClassVar[str] = "speech-changed"

    speaks: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class ResultKept(Event):
    """A result was made while the site was silent, and sent nowhere; SHA-256 of each file kept, by its name.

    `unseen` says that none of its key was on record before: nobody can have it from the archive.
    """

    what: ClassVar[str] = "result-kept"

    result: Annotated[str, called("key")]
    study_uid: str
    release: int
    files: Mapping[str, str]
    unseen: bool


@dataclass(frozen=True, kw_only=True)
class KeptResultSent(Event):
    """A result that was made while the site was silent goes to the archive, because somebody asked again."""

    what: ClassVar[str] = "kept-result-sent"

    result: Annotated[str, called("key")]
    study_uid: str
    release: int


@dataclass(frozen=True, kw_only=True)
class ResultDiffers(Event):
    """The archive holds another object under the UID of one of a result's: it was not stored."""

    what: ClassVar[str] = "result-differs"

    result: str
    study_uid: str
    release: int
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class StudySegmented(Event):
    """What a result cost, seconds by step, and how its organs were flagged; None where nothing is."""

    what: ClassVar[str] = "study-segmented"

    study_uid: str
    release: int
    seconds: Mapping[str, float]
    flags: Mapping[str, str | None]
    result: str = ""
    targets: Annotated[str | None, LEFT_OUT] = None
    """SHA-256 of what the site had established of organs; None where the catalogue alone counts."""


@dataclass(frozen=True)
class Claim:
    """What was claimed of an organ: the lower bound of its DSC, and with which confidence, 0..1."""

    bound: float | None
    confidence: float | None
    volume_ml: float
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AuditDrawn(Event):
    """A study was drawn for the random audit; what was claimed of each organ that was found."""

    what: ClassVar[str] = "audit-drawn"

    study_uid: str
    series_uid: str
    release: int
    importance_ml: float
    organs: Mapping[str, Claim]


@dataclass(frozen=True, kw_only=True)
class BoundBroken(Event):
    """Readers found a release's bound of an organ broken more often than it promised; shares, 0..1."""

    what: ClassVar[str] = "bound-broken"

    release: int
    organ: str
    held: int
    looked_at: int
    low: float
    high: float
    promised: float
    broken: bool


@dataclass(frozen=True)
class CheckedBound:
    """How often the bound of an organ held where readers looked; `promised` is a share, 0..1."""

    held: int
    looked_at: int
    promised: float
    broken: bool


@dataclass(frozen=True, kw_only=True)
class BoundsChecked(Event):
    """Bounds were compared with what readers made of audited studies, and it is not what was found before."""

    what: ClassVar[str] = "bounds-checked"

    release: int
    drawn: int
    reviewed: int
    organs: Mapping[str, CheckedBound]
