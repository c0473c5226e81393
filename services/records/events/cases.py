"""Which case came into which set, which set was frozen, which patient was taken out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from models.documents import called
from services.records.entries.cases import ErasedCase
from services.records.events.event import Event, RowsChanged


@dataclass(frozen=True, kw_only=True)
class CaseAdded(RowsChanged):
    """A case was taken into the set of its purpose; its fields as `services.records.entries.cases.Case`."""

    what: ClassVar[str] = "case-added"

    case_id: str
    purpose: str
    patient: str
    origin: str
    digest: str
    site: str = ""
    acquisition: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class SetFrozen(RowsChanged):
    """A set was frozen as a version with the manifest's digest; `cases` is their number."""

    what: ClassVar[str] = "set-frozen"

    purpose: Annotated[str, called("set")]
    version: int = 1
    digest: str
    cases: int = 0


@dataclass(frozen=True, kw_only=True)
class PatientErased(RowsChanged):
    """A patient was taken out: the cases, and by purpose the frozen sets that must be frozen anew."""

    what: ClassVar[str] = "patient-erased"

    patient: str
    reason: str
    cases: tuple[ErasedCase, ...]
    thawed: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class LearntFromErased(Event):
    """Which releases learnt from a patient who was taken out, and which were tuned from those."""

    what: ClassVar[str] = "releases-learnt-from-erased"

    patient: str
    releases: tuple[int, ...]
    inherited: tuple[int, ...]
    scores: int
