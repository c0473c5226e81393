"""What came to the archive, or went, and what a PACS that is queried did not send."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from models.documents import LEFT_OUT
from services.records.events.event import Event


@dataclass(frozen=True, kw_only=True)
class ArrivalEvent(Event):
    """What became of one arrival; `uid` is the study's, or of a SEG its SOP Instance UID."""

    uid: Annotated[str | None, LEFT_OUT] = None
    study_uid: Annotated[str | None, LEFT_OUT] = None
    code: Annotated[str | None, LEFT_OUT] = None
    version: Annotated[str | None, LEFT_OUT] = None
    attempts: Annotated[int | None, LEFT_OUT] = None
    interrupted: Annotated[int | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class StudyGone(ArrivalEvent):
    """The archive holds it no longer."""

    what: ClassVar[str] = "study-gone"


@dataclass(frozen=True, kw_only=True)
class StudyIgnored(ArrivalEvent):
    """It is nothing for us."""

    what: ClassVar[str] = "study-ignored"


@dataclass(frozen=True, kw_only=True)
class ArrivalFailed(ArrivalEvent):
    """It was tried as often as it is."""

    what: ClassVar[str] = "arrival-failed"


@dataclass(frozen=True, kw_only=True)
class StudyRenewed(ArrivalEvent):
    """CT images came, or went, after results were stored."""

    what: ClassVar[str] = "study-renewed"


@dataclass(frozen=True, kw_only=True)
class StudyRefused(ArrivalEvent):
    """It was refused on the data; of a text that is no UID only its length and digest are kept."""

    what: ClassVar[str] = "study-refused"

    characters: Annotated[int | None, LEFT_OUT] = None
    digest: Annotated[str | None, LEFT_OUT] = None
    detail: Annotated[str | None, LEFT_OUT] = None
    measured: Annotated[Mapping[str, object] | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class CorrectionRefused(ArrivalEvent):
    """A SEG that came was not taken."""

    what: ClassVar[str] = "correction-refused"

    digest: Annotated[str | None, LEFT_OUT] = None
    detail: Annotated[str | None, LEFT_OUT] = None
    measured: Annotated[Mapping[str, object] | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class SavesArrived(Event):
    """SEGs that are not ours came to the archive; of several nobody knows which came first.

    The number of the event is their place in the order in which saves came.
    """

    what: ClassVar[str] = "saves-arrived"

    study_uid: str
    saves: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class SiteKeyChanged(Event):
    """Pseudonyms on record were made with another key; both keys by their first digits."""

    what: ClassVar[str] = "site-key-changed"

    before: str
    now: str


@dataclass(frozen=True, kw_only=True)
class FeedBegun(Event):
    """The archive's feed is read from this change on."""

    what: ClassVar[str] = "feed-begun"

    cursor: int


@dataclass(frozen=True, kw_only=True)
class FeedBeganAgain(Event):
    """The archive's feed begins again: its database is another one."""

    what: ClassVar[str] = "feed-began-again"

    cursor: int
    begun_again_to: int


@dataclass(frozen=True, kw_only=True)
class PacsQueried(Event):
    """The PACS said what it has; once a day, ISO 8601."""

    what: ClassVar[str] = "pacs-queried"

    day: str


@dataclass(frozen=True, kw_only=True)
class StudyNotSent(Event):
    """The PACS did not send what it says it has; `missing` instances are still to come."""

    what: ClassVar[str] = "study-not-sent"

    study_uid: str
    code: str
    missing: int
