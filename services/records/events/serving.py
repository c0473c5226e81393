"""Which release serves: what was written and proven, and who put which in whose place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from models.documents import LEFT_OUT, called
from services.records.events.event import Event, RowsChanged


@dataclass(frozen=True, kw_only=True)
class ReleaseStateChanged(RowsChanged):
    """How far a release has come; `reason` where a person decided so."""

    what: ClassVar[str] = "release-state"

    release: int
    digest: str
    state: str
    reason: Annotated[str | None, LEFT_OUT] = None


@dataclass(frozen=True, kw_only=True)
class IncumbentChanged(RowsChanged):
    """A release serves in another's place; `before` is None for the first."""

    what: ClassVar[str] = "incumbent-changed"

    before: Annotated[int | None, called("from")]
    after: Annotated[int, called("to")]
    reason: str
    act: str = "promotion"
    """`promotion`, `rollback`, or `golden-failed`, when golden studies take one back."""


@dataclass(frozen=True, kw_only=True)
class ReleasePromoted(Event):
    """A promotion is complete; `evidence` is the SHA-256 of its pack."""

    what: ClassVar[str] = "release-promoted"

    release: int
    replaced: int | None
    approver: str
    reason: str
    evidence: str | None = None
    digest: str


@dataclass(frozen=True, kw_only=True)
class BroughtIn(Event):
    """A rollback to what serves already, by an act of its own."""

    what: ClassVar[str] = "incumbent-brought-in"

    release: int
    reason: str
    not_reached: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class EndpointsNotReached(Event):
    """A release was made the incumbent again without these endpoints; why, one by one."""

    what: ClassVar[str] = "endpoints-not-reached"

    release: int
    endpoints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class CanaryFailed(Event):
    """A release answered the canary or the probe wrongly; organs by fault."""

    what: ClassVar[str] = "canary-failed"

    release: int
    faults: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class GoldenFailed(Event):
    """Golden studies took a release back; organs by case, none where nobody could ask."""

    what: ClassVar[str] = "golden-failed"

    release: int
    differing: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class VersionWritten(Event):
    """A release was written for the servers; SHA-256 by path, once for a content."""

    what: ClassVar[str] = "version-written"

    release: int
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class VersionTakenOut(Event):
    """A version held other files than any on record as written, and was taken out; SHA-256 by path."""

    what: ClassVar[str] = "version-taken-out"

    release: int
    files: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Served(Event):
    """A server was asked about phantoms; `networks` is the SHA-256 of what it answers with."""

    release: int
    digest: str
    profile: str
    networks: str


@dataclass(frozen=True, kw_only=True)
class ServedProven(Served):
    """It answers as was proven at export; voxels that flipped, by organ."""

    what: ClassVar[str] = "served-proven"

    flipped: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class ServedDiffers(Served):
    """It does not. It is asked again each time: what is amiss may be mended without another network."""

    what: ClassVar[str] = "served-differs"

    why: str


@dataclass(frozen=True, kw_only=True)
class GpuProven(Event):
    """`make gpu-proofs` passed here for a target, on a device as the settings name it."""

    what: ClassVar[str] = "gpu-proven"

    target: str
    device: str
    lines: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, kw_only=True)
class ActAsked(Event):
    """Somebody asked on the pages for an act, which a worker does.

    `act` is `promotion`, `completion` (of one that was cut short), `rollback` or `decline`; `report` the
    SHA-256 of the gate's report that was shown, `incumbent` the release that served then.
    """

    what: ClassVar[str] = "act-asked"

    act: str
    release: int
    reason: str = ""
    report: str | None = None
    incumbent: int | None = None


@dataclass(frozen=True, kw_only=True)
class ActStep(Event):
    """How far an act has come that was asked for by the event of this number."""

    what: ClassVar[str] = "act-step"

    asked: int
    step: str


@dataclass(frozen=True, kw_only=True)
class ActEnded(Event):
    """An act that was asked for has ended: what is so now, or the code and the words of a refusal."""

    what: ClassVar[str] = "act-ended"

    asked: int
    said: str
    code: str = ""
