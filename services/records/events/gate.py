"""What the gate measured and decided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from services.records.events.event import Event


@dataclass(frozen=True, kw_only=True)
class CaseScored(Event):
    """Releases were asked about a gate case; SHA-256 of their scores by name."""

    what: ClassVar[str] = "gate-case-scored"

    case: str
    profile: str = ""
    scores: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class GateDecided(Event):
    """The gate decided on a candidate.

    `against` is the incumbent, `gate_set` the digest of the frozen set, `trial` the key of all the decision
    depends on; `report` and `page` are SHA-256, None where there is none.
    """

    what: ClassVar[str] = "gate-decided"

    release: int
    against: int | None = None
    decision: str
    gate_set: str | None = None
    reasons: tuple[str, ...] = ()
    trial: str | None = None
    report: str | None = None
    page: str | None = None
