"""The gate: a candidate against the incumbent on the frozen gate set, organ by organ.

An untouched organ must be the same bytes and answer the same bits. A tuned organ must be shown, over
patients: not worse by its margin on the gate set, better where it was meant to be, no case lost, and no
site or kind of acquisition paying for another (`models.gate.rules`). Every reason names its consequence;
the gravest decides. No reason: promote.

Of a tuned organ whose margin nobody has established, no loss can be called small: all else is measured and
may refuse it, and at best there is insufficient evidence, which names what is missing. So a candidate that
changes such an organ does not pass. One that leaves it untouched does: the same bits need no margin.

An organ the incumbent lacks has nothing to be compared with: a person decides on it
(`models.gate.new_organs`), and is told where it has no target.

Only independent truth decides: truth edited or accepted from a release favours that release. It is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from models.calibration import OrganCalibration
from models.gate.bounds import bound_check, bound_holds
from models.gate.evidence import OrganEvidence, every_case, independent, taken_voxels
from models.gate.groups import SITE, Groups, grouped, groups_of, no_group_pays, organ_covered, sites_covered
from models.gate.new_organs import new_organ
from models.gate.noise import tail_share
from models.gate.paired import MeanDifference, Metric, PairedScore, mean_difference
from models.gate.release_faults import added_organs, changed_heads, release_faults
from models.gate.report import (
    BoundCheck,
    Decision,
    GatePolicy,
    GateReason,
    GateReport,
    OrganGate,
    gravest,
    in_order,
)
from models.gate.rules import (
    affordable,
    better,
    enough_to_see,
    looked_before,
    losses_allowed,
    margin_missing,
    mean_hd95,
    needed_patients,
    no_case_lost,
    noise_of,
    not_worse,
    presence,
)
from models.gate.serving_cost import ServingCost
from models.release import Release
from models.targets import FROM_THE_CATALOGUE, Required, Targets


@dataclass(frozen=True)
class Tuning:
    """What is on record of how a candidate came to be.

    Parameters
    ----------
    organs
        Whose heads were meant to change.
    patients
        Pseudonyms of the patients it was tuned or calibrated on.
    recalibrated
        Whether only its calibration was meant to change.
    retrained
        Whether the whole network was trained again: every organ is touched.
    estimates
        By tuned organ the DSC that tuning itself estimated, on patients that only judged; an organ of which
        it has none is missing.
    """

    organs: Collection[str] = ()
    patients: Collection[str] = ()
    recalibrated: bool = False
    retrained: bool = False
    estimates: Mapping[str, float] = field(default_factory=dict)


def gate(
    incumbent: Release,
    candidate: Release,
    tuning: Tuning,
    evidence: Mapping[str, OrganEvidence],
    profile: str,
    policy: GatePolicy,
    served: Collection[str] = (),
    cost: ServingCost | None = None,
    looks: int = 0,
    targets: Targets = FROM_THE_CATALOGUE,
) -> GateReport:
    """Decide on a candidate.

    Parameters
    ----------
    incumbent, candidate
        The two releases.
    tuning
        What is on record of the candidate.
    evidence
        By organ, of the candidate's whole contract: both releases on the same cases.
    profile
        Serving profile both answered in.
    policy
        What was fixed before.
    served
        Sites the incumbent serves.
    cost
        What either costs the server; None where nobody counted it.
    looks
        How often the gate has decided on this candidate before, on other sets or by other rules.
    targets
        What the site has established.

    Raises
    ------
    ValueError
        If an organ of the contract has no evidence, or the tuning names one it lacks.
    """
    added = () if tuning.retrained else added_organs(incumbent, candidate, tuning.organs)
    organs = (*incumbent.contract.organs, *added)
    if set(evidence) != set(organs) or not set(tuning.organs) <= set(organs):
        raise ValueError(f"evidence and tuned organs must be of the contract: {', '.join(organs)}")
    changed = changed_heads(incumbent, candidate, tuning.organs) - set(added)
    reasons = [
        *release_faults(
            incumbent,
            candidate,
            tuning.organs,
            recalibrated=tuning.recalibrated,
            retrained=tuning.retrained,
        ),
        *_evidence_reasons(evidence, tuning.patients, policy),
        *_covered(evidence, served, policy),
        *affordable(cost, policy),
        *looked_before(looks),
    ]
    groups = {organ: groups_of(independent(evidence[organ].gate_set), policy) for organ in changed}
    bounds = {
        organ: bound_check(evidence[organ].deciding, _claimed(organ, incumbent, candidate, changed))
        for organ in organs
    }
    shares = _Shares(
        case=tail_share(policy.false_alarm, _comparisons(evidence, changed)),
        group=tail_share(
            1 - policy.confidence, sum(len(found) for facts in groups.values() for found in facts.values())
        ),
        bound=tail_share(1 - policy.confidence, sum(check is not None for check in bounds.values())),
    )
    required = {organ: targets.required(organ, candidate.contract) for organ in organs}
    findings = tuple(
        _tuned(organ, required[organ], evidence[organ], groups[organ], bounds[organ], shares, policy)
        if organ in changed
        else _untouched(
            organ, required[organ].gate_margin, evidence[organ], incumbent, candidate, bounds[organ], shares
        )
        for organ in incumbent.contract.organs
    ) + tuple(
        new_organ(
            organ,
            required[organ],
            evidence[organ],
            tuning.estimates.get(organ),
            _calibration(candidate, organ) is not None,
            bounds[organ],
            bound_holds(bounds[organ], shares.bound),
        )
        for organ in added
    )
    return _report(incumbent, candidate, profile, policy, reasons, findings, cost)


@dataclass(frozen=True)
class _Shares:
    """The chance each of many comparisons may have, so that all of a kind have one false alarm.

    Of single cases, of groups, of bounds; `models.gate.noise.tail_share`.
    """

    case: float
    group: float
    bound: float


def decide_without_cases(
    incumbent: Release, candidate: Release, reasons: Collection[GateReason], profile: str, policy: GatePolicy
) -> GateReport:
    """Report a decision for which no case need be asked, or none can be.

    Parameters
    ----------
    incumbent, candidate
        The two releases.
    reasons
        At least one, all against the release as a whole.
    profile, policy
        As `gate`.

    Raises
    ------
    ValueError
        If there is no reason: only cases can show that a candidate may serve.
    """
    if not reasons:
        raise ValueError("without cases there must be a reason against the candidate")
    return _report(incumbent, candidate, profile, policy, reasons, (), None)


def _evidence_reasons(
    evidence: Mapping[str, OrganEvidence], learnt_from: Collection[str], policy: GatePolicy
) -> list[GateReason]:
    reasons = []
    patients = {s.patient for organ in evidence.values() for s in organ.gate_set + organ.target}
    leaked = patients & set(learnt_from)
    if leaked:
        detail = f"{len(leaked)} patients of the evidence were learnt from."
        reasons.append(GateReason("leaked-patient", Decision.REFUSE, detail))
    if policy.approval_required:
        detail = "This site promotes nothing without a named approver."
        reasons.append(GateReason("approval-required", Decision.NEEDS_APPROVAL, detail))
    return reasons


def _covered(
    evidence: Mapping[str, OrganEvidence], served: Collection[str], policy: GatePolicy
) -> list[GateReason]:
    """Every gate case was asked about every organ, so any organ's cases tell the sites."""
    return sites_covered(independent(next(iter(evidence.values())).gate_set), served, policy)


def _comparisons(evidence: Mapping[str, OrganEvidence], changed: Collection[str]) -> int:
    return sum(
        score.change(metric) is not None
        for organ in changed
        for score in evidence[organ].deciding
        for metric in Metric
    )


def _untouched(
    organ: str,
    margin: float | None,
    evidence: OrganEvidence,
    incumbent: Release,
    candidate: Release,
    bound: BoundCheck | None,
    shares: _Shares,
) -> OrganGate:
    """Demand the same bytes and the same bits; no statistics."""
    reasons = []
    if incumbent.heads[organ] != candidate.heads.get(organ):
        reasons.append(
            GateReason("untouched-head-changed", Decision.REFUSE, "The head is not the same bytes.")
        )
    cases = evidence.gate_set + evidence.target
    differing = [score.case for score in cases if score.incumbent.digest != score.candidate.digest]
    if differing:
        detail = f"{len(differing)} of {len(cases)} cases are answered with other bits."
        reasons.append(GateReason("untouched-output-changed", Decision.REFUSE, detail))
    if not cases:
        detail = "No case was answered by both releases."
        reasons.append(GateReason("no-output-compared", Decision.INSUFFICIENT_EVIDENCE, detail))
    reasons += bound_holds(bound, shares.bound)
    return OrganGate(
        organ=organ,
        tuned=False,
        margin=margin,
        decision=gravest(reasons),
        reasons=in_order(reasons),
        bound=bound,
    )


def _tuned(
    organ: str,
    required: Required,
    evidence: OrganEvidence,
    groups: Groups,
    bound: BoundCheck | None,
    shares: _Shares,
    policy: GatePolicy,
) -> OrganGate:
    gate_set, target, deciding = (
        independent(evidence.gate_set),
        independent(evidence.target),
        evidence.deciding,
    )
    margin = required.gate_margin
    on_gate, on_target = _difference(gate_set, policy), _difference(target, policy)
    on_surface = _difference(gate_set, policy, Metric.NSD)
    allowed = {metric: losses_allowed(deciding, metric, shares.case, policy) for metric in Metric}
    if margin is None:
        needed, equal = policy.fewest_patients, margin_missing(on_gate, required, policy)
    else:
        needed = needed_patients(on_gate, margin, policy)
        equal = [
            *not_worse(on_gate, margin, needed, Metric.DSC, policy),
            *_surface_not_worse(on_surface, margin * policy.surface_factor, policy),
        ]
    reasons = [
        *equal,
        *better(on_target, policy),
        *organ_covered(gate_set, policy),
        *no_group_pays(groups, margin, shares.group, policy),
        *no_case_lost(deciding, allowed, policy),
        *enough_to_see(deciding, policy),
        *bound_holds(bound, shares.bound),
    ]
    losses = [(score.case, score.difference) for score in deciding if score.difference is not None]
    return OrganGate(
        organ=organ,
        tuned=True,
        margin=margin,
        decision=gravest(reasons),
        reasons=in_order(reasons),
        gate_set=on_gate,
        target=on_target.plain() if on_target else None,
        surface=on_surface.plain() if on_surface else None,
        hd95_mm=mean_hd95(gate_set),
        sites=groups[SITE],
        groups={fact: found for fact, found in groups.items() if fact != SITE},
        origins=grouped(evidence.gate_set, lambda score: score.origin, policy),
        presence=presence(deciding),
        bound=bound,
        noise=noise_of(deciding, allowed[Metric.DSC]),
        taken_voxels=taken_voxels(deciding),
        patients_needed=needed if gravest(equal) is Decision.INSUFFICIENT_EVIDENCE else None,
        worst=tuple(sorted(losses, key=lambda loss: (loss[1], loss[0]))[:5]),
        cases=every_case(evidence, allowed[Metric.DSC]),
    )


def _surface_not_worse(found: MeanDifference | None, margin: float, policy: GatePolicy) -> list[GateReason]:
    """As the DSC, where surfaces were measured; too few patients are told once, by the DSC."""
    if found is None or found.patients < policy.fewest_patients:
        return []
    return not_worse(found, margin, needed_patients(found, margin, policy), Metric.NSD, policy)


def _calibration(release: Release, organ: str) -> OrganCalibration | None:
    return None if release.calibration is None else release.calibration.organs.get(organ)


def _claimed(
    organ: str, incumbent: Release, candidate: Release, changed: Collection[str]
) -> OrganCalibration | None:
    """Return what the candidate claims of an organ anew; None where all is as it was."""
    after = _calibration(candidate, organ)
    return after if organ in changed or after != _calibration(incumbent, organ) else None


def _report(
    incumbent: Release,
    candidate: Release,
    profile: str,
    policy: GatePolicy,
    reasons: Collection[GateReason],
    findings: tuple[OrganGate, ...],
    cost: ServingCost | None,
) -> GateReport:
    everything = [*reasons, *(reason for finding in findings for reason in finding.reasons)]
    return GateReport(
        incumbent=incumbent.digest,
        candidate=candidate.digest,
        profile=profile,
        policy=policy,
        decision=gravest(everything),
        reasons=in_order(reasons),
        organs=findings,
        cost=cost,
    )


def _difference(
    scores: tuple[PairedScore, ...], policy: GatePolicy, metric: Metric = Metric.DSC
) -> MeanDifference | None:
    return mean_difference(scores, policy.confidence, policy.resamples, policy.seed, metric)
