"""What the gate decides and why, as data: the report a release pins and a person reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from models.paired import MeanDifference


class Decision(StrEnum):
    """What the gate decides, the gravest first."""

    REFUSE = "refuse"
    INSUFFICIENT_EVIDENCE = "insufficient-evidence"
    NEEDS_APPROVAL = "needs-approval"
    PROMOTE = "promote"


@dataclass(frozen=True)
class GatePolicy:
    """What is fixed before anyone looks.

    Parameters
    ----------
    confidence
        Of every one-sided bound.
    resamples, seed
        Of the bootstrap.
    fewest_patients
        Patients with the organ, below which the gate set decides nothing.
    fewest_target_patients
        Patients with the organ, below which no gain can be shown.
    site_loss
        Mean DSC that any one site may lose.
    large_loss
        Loss in one case that a person must have looked at.
    ruinous_loss
        Loss in one case that no gain elsewhere makes good.
    approval_required
        Whether a named person must agree to what passes.
    """

    confidence: float = 0.95
    resamples: int = 4999
    seed: int = 0
    fewest_patients: int = 10
    fewest_target_patients: int = 5
    site_loss: float = 0.03
    large_loss: float = 0.10
    ruinous_loss: float = 0.25
    approval_required: bool = False


@dataclass(frozen=True)
class GateReason:
    """Why not simply promote.

    Parameters
    ----------
    code
        Stable across versions.
    decision
        What it leads to.
    detail
        One sentence with the numbers.
    """

    code: str
    decision: Decision
    detail: str


@dataclass(frozen=True)
class CaseDsc:
    """What both releases scored on one organ of one case.

    Parameters
    ----------
    case, site, origin
        As in `models.paired.PairedScore`.
    incumbent, candidate
        DSC, 0..1; None when the release and the truth are both empty.
    difference
        Candidate minus incumbent; None where the organ is truly absent.
    """

    case: str
    site: str
    origin: str
    incumbent: float | None
    candidate: float | None
    difference: float | None


@dataclass(frozen=True)
class OrganGate:
    """The gate's findings on one organ.

    Parameters
    ----------
    organ
        Key in the catalogue.
    tuned
        Whether its head was meant to change.
    margin
        Mean DSC it may lose on the gate set, fixed in the catalogue.
    decision
        The gravest of its reasons; `promote` with none.
    reasons
        Gravest first.
    gate_set, target
        Mean difference on either, independent truth only; None when untouched or without a case that has
        the organ.
    sites
        Mean difference by site on the gate set, independent truth only.
    origins
        Mean difference by origin of truth on the whole gate set; shown, only independent truth decides.
    patients_needed
        Patients of the gate set that would do for an equal candidate; None unless more are asked for.
    worst
        Case and DSC difference of the five largest losses, independent truth only, the worst first.
    cases
        Every case asked, by identifier; empty when untouched.
    """

    organ: str
    tuned: bool
    margin: float
    decision: Decision
    reasons: tuple[GateReason, ...]
    gate_set: MeanDifference | None
    target: MeanDifference | None
    sites: Mapping[str, MeanDifference]
    origins: Mapping[str, MeanDifference]
    patients_needed: int | None
    worst: tuple[tuple[str, float], ...]
    cases: tuple[CaseDsc, ...]


@dataclass(frozen=True)
class GateReport:
    """The gate's decision on one candidate.

    Parameters
    ----------
    incumbent, candidate
        Release digests.
    profile
        Serving profile both answered in; nothing is claimed for another.
    policy
        What was fixed before.
    decision
        The gravest of all reasons; `promote` with none.
    reasons
        Those that concern the release as a whole, gravest first.
    organs
        By organ, in the contract's order; empty when no case was asked.
    """

    incumbent: str
    candidate: str
    profile: str
    policy: GatePolicy
    decision: Decision
    reasons: tuple[GateReason, ...]
    organs: tuple[OrganGate, ...]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)
