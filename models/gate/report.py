"""What the gate decides and why, as data: the report a release pins and a person reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum

from models.gate.paired import MeanDifference
from models.gate.serving_cost import ServingCost


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
    unseen_share
        Share of patients that may lose the organ without one of them being in the gate set: with fewer
        patients than show less, at `confidence`, a person looks (59 for 5 %).
    fewest_target_patients
        Patients with the organ, below which no gain can be shown.
    fewest_site_patients
        Gate patients of each site the incumbent serves, below which nothing is known of that site.
    group_loss
        Mean DSC that any one scanner, kernel, thickness or contrast may lose; a site, the organ's margin.
    fewest_group_patients
        Patients of a subgroup from which on a mean loss beyond that goes to a person, though it may be
        chance; shown to be none, it is refused.
    false_alarm
        Share of gates in which equal models may exceed any case's threshold, over all tuned organs.
    smallest_loss
        Loss in one case, below which no threshold lies.
    ruinous_loss
        Loss in one case that no gain elsewhere makes good; no threshold lies above it.
    ruined_patients
        Patients beyond their thresholds who need no person to refuse.
    surface_factor
        By how much margin and smallest loss are wider for the surface DSC: it moves more than the DSC.
    costlier
        Factor by which operations and bytes moved of a study may grow, beyond the two budgets that follow.
    study_flops
        Operations a study may take whatever it took before: 11 s of one core at the 94 GFLOP/s that were
        measured (BENCHMARKS.md), as much as a whole study takes (deploy/SIZING.md). So a study costs at most
        twice that, and that reserve is planned there.
    study_moved_bytes
        Bytes a study may move whatever it moved before: as many as the demonstration's networks move for
        `study_flops`.
    larger
        Factor by which the networks a server loads may grow; also what is alive in a window, beyond:
    live_bytes
        May be alive in a window whatever it was before: half of the 1 GB that is planned for a loaded
        release (deploy/SIZING.md).
    approval_required
        Whether a named person must agree to what passes.
    """

    confidence: float = 0.95
    resamples: int = 4999
    seed: int = 0
    fewest_patients: int = 10
    unseen_share: float = 0.05
    fewest_target_patients: int = 5
    fewest_site_patients: int = 5
    group_loss: float = 0.03
    fewest_group_patients: int = 5
    false_alarm: float = 0.05
    smallest_loss: float = 0.05
    ruinous_loss: float = 0.25
    ruined_patients: int = 3
    surface_factor: float = 2.0
    costlier: float = 1.5
    study_flops: int = 10**12
    study_moved_bytes: int = 14 * 10**10
    larger: float = 1.25
    live_bytes: int = 2**29
    approval_required: bool = False

    def timed(self) -> dict[str, object]:
        """Return what was fixed while seconds were weighed and nothing was counted; the rest is the same."""
        counted = ("costlier", "study_flops", "study_moved_bytes", "live_bytes")
        kept = {name: value for name, value in asdict(self).items() if name not in counted}
        return {**kept, "slower": 1.5, "slower_seconds": 1.0}


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
class GateCase:
    """What both releases scored on one organ of one case.

    Parameters
    ----------
    case, site, origin, groups
        As in `models.gate.paired.PairedScore`.
    incumbent, candidate
        DSC, 0..1; None when the release and the truth are both empty, nobody drew the organ, or the
        incumbent lacks it.
    difference, surface_difference
        Candidate minus incumbent, DSC and surface DSC; None where the organ is truly absent, or as above.
    may_lose
        DSC beyond which a loss is more than the incumbent's own noise on the case; None where the organ is
        truly absent.
    """

    case: str
    site: str
    origin: str
    groups: Mapping[str, str]
    incumbent: float | None
    candidate: float | None
    difference: float | None
    surface_difference: float | None
    may_lose: float | None


@dataclass(frozen=True)
class Presence:
    """Cases with independent truth by agreement about presence, for one release.

    Parameters
    ----------
    present, missed, hallucinated, absent
        As `models.metrics.dsc.Outcome`.
    """

    present: int
    missed: int
    hallucinated: int
    absent: int


@dataclass(frozen=True)
class Noise:
    """The incumbent's own noise on one organ's cases.

    Parameters
    ----------
    cases
        Scanned again.
    deviation
        Root mean square of its DSC differences between scans; None without a case.
    may_lose
        Median of the cases' thresholds, DSC.
    """

    cases: int
    deviation: float | None
    may_lose: float | None


@dataclass(frozen=True)
class BoundCheck:
    """Whether the bounds of DSC that the candidate claims held on the gate set.

    Parameters
    ----------
    cases
        Patients with independent truth and a bound.
    held
        Those whose DSC was at or above it.
    confidence
        With which each bound claims to hold.
    calibrated_on
        Calibration cases the bounds were fitted to.
    """

    cases: int
    held: int
    confidence: float
    calibrated_on: int


@dataclass(frozen=True)
class NewOrgan:
    """What is known of an organ that the incumbent lacks.

    Parameters
    ----------
    cases
        Gate cases the candidate was asked about.
    drawn
        Those with independent truth of the organ, absent or present.
    patients
        Patients who have it by independent truth.
    mean, least
        DSC of the candidate over these patients, 0..1; None without one.
    missed, hallucinated
        Cases, as `models.metrics.dsc.Outcome`.
    target
        DSC below which a reader should look; None: not established.
    estimate
        DSC that tuning itself estimated, by sampled voxels of patients that only judged; None: none.
    bounded
        Whether the candidate claims a bound of DSC for it; else every result of it is for review, or not
        judged where it has no target.
    shown
        Case and DSC of those to look at: the worst, then such as nobody drew it in (None).
    """

    cases: int
    drawn: int
    patients: int
    mean: float | None
    least: float | None
    missed: int
    hallucinated: int
    target: float | None
    estimate: float | None
    bounded: bool
    shown: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class OrganGate:
    """The gate's findings on one organ.

    Parameters
    ----------
    organ
        Key in the catalogue.
    tuned
        Whether its head was meant to change and did.
    margin
        Mean DSC it may lose on the gate set (`models.targets`); None: nobody has established it.
    decision
        The gravest of its reasons; `promote` with none.
    reasons
        Gravest first.
    gate_set, target
        Mean DSC difference on either, independent truth only; None when untouched or without a case that
        has the organ.
    surface
        The same on the gate set, by surface DSC at the organ's tolerance.
    hd95_mm
        Mean 95th percentile of the surfaces' distance, incumbent and candidate; for information.
    sites
        Mean DSC difference by site on the gate set, independent truth only.
    groups
        The same by acquisition fact and group.
    origins
        Mean DSC difference by origin of truth on the whole gate set; shown, only independent truth decides.
    presence
        Of incumbent and candidate, by release.
    bound
        Whether the candidate's bounds held; None where it claims none.
    noise
        What a case may lose; None when untouched.
    taken_voxels
        CT voxels taken from each other organ's mask beyond what the incumbent took, over all cases.
    patients_needed
        Patients of the gate set that would do for an equal candidate; None unless more are asked for.
    worst
        Case and DSC difference of the five largest losses, independent truth only, the worst first.
    cases
        Every case asked, by identifier; empty when untouched.
    new
        What is known of an organ that the incumbent lacks; None of all others.
    """

    organ: str
    tuned: bool
    margin: float | None
    decision: Decision
    reasons: tuple[GateReason, ...]
    gate_set: MeanDifference | None = None
    target: MeanDifference | None = None
    surface: MeanDifference | None = None
    hd95_mm: tuple[float, float] | None = None
    sites: Mapping[str, MeanDifference] = field(default_factory=dict)
    groups: Mapping[str, Mapping[str, MeanDifference]] = field(default_factory=dict)
    origins: Mapping[str, MeanDifference] = field(default_factory=dict)
    presence: Mapping[str, Presence] = field(default_factory=dict)
    bound: BoundCheck | None = None
    noise: Noise | None = None
    taken_voxels: Mapping[str, int] = field(default_factory=dict)
    patients_needed: int | None = None
    worst: tuple[tuple[str, float], ...] = ()
    cases: tuple[GateCase, ...] = ()
    new: NewOrgan | None = None


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
        By organ, in the order of the candidate's contract; empty when no case was asked.
    cost
        What either costs the server; None when no case was asked.
    """

    incumbent: str
    candidate: str
    profile: str
    policy: GatePolicy
    decision: Decision
    reasons: tuple[GateReason, ...]
    organs: tuple[OrganGate, ...]
    cost: ServingCost | None = None


def gravest(reasons: Collection[GateReason]) -> Decision:
    """Return the gravest decision reasons lead to; `promote` without any."""
    decisions = {reason.decision for reason in reasons}
    return next((decision for decision in Decision if decision in decisions), Decision.PROMOTE)


def in_order(reasons: Collection[GateReason]) -> tuple[GateReason, ...]:
    """Return reasons, the gravest first."""
    gravity = list(Decision)
    return tuple(sorted(reasons, key=lambda reason: gravity.index(reason.decision)))
