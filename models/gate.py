"""The gate: a candidate against the incumbent on the frozen gate set, organ by organ.

An untouched organ must be the same bytes and answer the same bits. A tuned organ must be shown, over
patients: not worse by its margin on the gate set, better where it was meant to be, no case lost, and no
site paying for another. Every reason names its consequence; the gravest decides. No reason: promote.
All organs must pass, so no correction for their number is due (intersection-union test).

Only independent truth decides: truth edited or accepted from a release favours that release. It is shown.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from models.corrections import INDEPENDENT
from models.dsc import Outcome
from models.gate_report import CaseDsc, Decision, GatePolicy, GateReason, GateReport, OrganGate
from models.organs import organ as catalogue_entry
from models.paired import MeanDifference, PairedScore, mean_difference, patients_needed
from models.release import Release
from models.release_faults import changed_heads, release_faults


@dataclass(frozen=True)
class OrganEvidence:
    """Both releases on one organ.

    Parameters
    ----------
    gate_set
        Every case of the frozen gate set, all sites the incumbent serves.
    target
        Held-out cases of the kind the corrections came from, where a gain is expected; may share cases
        with the gate set, never a patient with the corrections learnt from. May be empty when untouched.
    """

    gate_set: tuple[PairedScore, ...]
    target: tuple[PairedScore, ...] = ()


def gate(
    incumbent: Release,
    candidate: Release,
    tuned: Collection[str],
    evidence: Mapping[str, OrganEvidence],
    learnt_from: Collection[str],
    profile: str,
    policy: GatePolicy,
) -> GateReport:
    """Decide on a candidate.

    Parameters
    ----------
    incumbent, candidate
        The two releases.
    tuned
        Organs whose heads were meant to change.
    evidence
        By organ, of the whole contract: both releases on the same cases.
    learnt_from
        Pseudonyms of the patients the candidate was tuned or calibrated on.
    profile
        Serving profile both answered in.
    policy
        What was fixed before.

    Raises
    ------
    ValueError
        If an organ of the contract has no evidence, or `tuned` names one it lacks.
    """
    organs = incumbent.contract.organs
    if set(evidence) != set(organs) or not set(tuned) <= set(organs):
        raise ValueError(f"evidence and tuned organs must be of the contract: {', '.join(organs)}")
    reasons = [
        *release_faults(incumbent, candidate, tuned),
        *_evidence_reasons(evidence, learnt_from, policy),
    ]
    changed = changed_heads(incumbent, candidate, tuned)
    findings = tuple(
        _tuned(organ, evidence[organ], policy)
        if organ in changed
        else _untouched(organ, evidence[organ], incumbent, candidate)
        for organ in organs
    )
    return _report(incumbent, candidate, profile, policy, reasons, findings)


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
    return _report(incumbent, candidate, profile, policy, reasons, ())


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


def _untouched(organ: str, evidence: OrganEvidence, incumbent: Release, candidate: Release) -> OrganGate:
    """Demand the same bytes and the same bits; no statistics."""
    reasons = []
    if incumbent.heads[organ] != candidate.heads.get(organ):
        reasons.append(
            GateReason("untouched-head-changed", Decision.REFUSE, "The head is not the same bytes.")
        )
    cases = evidence.gate_set + evidence.target
    differing = [score.case for score in cases if score.incumbent_digest != score.candidate_digest]
    if differing:
        detail = f"{len(differing)} of {len(cases)} cases are answered with other bits."
        reasons.append(GateReason("untouched-output-changed", Decision.REFUSE, detail))
    if not cases:
        detail = "No case was answered by both releases."
        reasons.append(GateReason("no-output-compared", Decision.INSUFFICIENT_EVIDENCE, detail))
    return OrganGate(
        organ=organ,
        tuned=False,
        margin=catalogue_entry(organ).gate_margin,
        decision=_gravest(reasons),
        reasons=_in_order(reasons),
        gate_set=None,
        target=None,
        sites={},
        origins={},
        patients_needed=None,
        worst=(),
        cases=(),
    )


def _tuned(organ: str, evidence: OrganEvidence, policy: GatePolicy) -> OrganGate:
    gate_set, target = _independent(evidence.gate_set), _independent(evidence.target)
    on_gate, on_target = _difference(gate_set, policy), _difference(target, policy)
    sites = _grouped(gate_set, "site", policy)
    every_case = {score.case: score for score in evidence.gate_set + evidence.target}.values()
    deciding = _independent(tuple(every_case))
    losses = [(score.case, score.difference) for score in deciding if score.difference is not None]
    margin = catalogue_entry(organ).gate_margin
    needed = _needed(on_gate, margin, policy)
    not_worse = _not_worse(on_gate, margin, needed, policy)
    reasons = [
        *not_worse,
        *_better(on_target, policy),
        *_no_site_pays(sites, policy),
        *_no_case_lost(deciding, policy),
    ]
    return OrganGate(
        organ=organ,
        tuned=True,
        margin=margin,
        decision=_gravest(reasons),
        reasons=_in_order(reasons),
        gate_set=on_gate,
        target=on_target,
        sites=sites,
        origins=_grouped(evidence.gate_set, "origin", policy),
        patients_needed=needed if _gravest(not_worse) is Decision.INSUFFICIENT_EVIDENCE else None,
        worst=tuple(sorted(losses, key=lambda loss: (loss[1], loss[0]))[:5]),
        cases=tuple(
            CaseDsc(s.case, s.site, s.origin, s.incumbent_dsc, s.candidate_dsc, s.difference)
            for s in sorted(every_case, key=lambda score: score.case)
        ),
    )


def _not_worse(
    found: MeanDifference | None, margin: float, needed: int, policy: GatePolicy
) -> list[GateReason]:
    """Non-inferiority on the gate set."""
    patients = found.patients if found else 0
    would_do = f"{needed} would do for an equal candidate."
    if found is None or patients < policy.fewest_patients:
        detail = f"{patients} patients with independent truth; {would_do}"
        return [GateReason("too-few-patients", Decision.INSUFFICIENT_EVIDENCE, detail)]
    if found.lower_bound is not None and found.lower_bound > -margin:
        return []
    detail = f"Mean DSC {found.mean:+.3f} over {patients} patients"
    if found.mean <= -margin:
        detail += f"; the margin is {margin}."
        return [GateReason("worse-than-incumbent", Decision.REFUSE, detail)]
    detail += f" does not rule out a loss of {margin}; {would_do}"
    return [GateReason("not-shown-equal", Decision.INSUFFICIENT_EVIDENCE, detail)]


def _needed(found: MeanDifference | None, margin: float, policy: GatePolicy) -> int:
    """Patients that would do: never fewer than the fewest, nor than those that did not."""
    if found is None or found.deviation is None:
        return policy.fewest_patients
    by_power = patients_needed(found.deviation, margin, policy.confidence)
    beyond = found.patients + 1 if found.patients >= policy.fewest_patients else 0
    return max(policy.fewest_patients, by_power, beyond)


def _better(found: MeanDifference | None, policy: GatePolicy) -> list[GateReason]:
    """Superiority where the tuning was meant to help."""
    patients = found.patients if found else 0
    if found is None or patients < policy.fewest_target_patients:
        fewest = policy.fewest_target_patients
        detail = f"{patients} held-out patients of the kind corrected have independent truth; "
        detail += f"{fewest} are the fewest."
        return [GateReason("too-few-target-patients", Decision.INSUFFICIENT_EVIDENCE, detail)]
    if found.lower_bound is not None and found.lower_bound > 0:
        return []
    detail = f"Mean DSC {found.mean:+.3f} over {patients} held-out patients of the kind corrected"
    if found.mean <= 0:
        return [GateReason("no-gain", Decision.REFUSE, f"{detail}: nothing was learnt.")]
    return [GateReason("gain-not-shown", Decision.INSUFFICIENT_EVIDENCE, f"{detail} may be chance.")]


def _no_site_pays(sites: Mapping[str, MeanDifference], policy: GatePolicy) -> list[GateReason]:
    return [
        GateReason(
            "site-collapse",
            Decision.REFUSE,
            f"Site {site}: mean DSC {found.mean:+.3f} over {found.patients} patients; "
            f"{policy.site_loss} may be lost.",
        )
        for site, found in sites.items()
        if found.mean < -policy.site_loss
    ]


def _no_case_lost(scores: Collection[PairedScore], policy: GatePolicy) -> list[GateReason]:
    """Veto: new misses, new hallucinations, ruined cases; large losses go to a person."""

    def named(code: str, decision: Decision, what: str, cases: list[str]) -> list[GateReason]:
        shown = ", ".join(sorted(cases)[:5]) + (", …" if len(cases) > 5 else "")
        return [GateReason(code, decision, f"{what} in {len(cases)} cases: {shown}.")] if cases else []

    def new(outcome: Outcome) -> list[str]:
        return [
            s.case for s in scores if s.candidate_outcome is outcome and s.incumbent_outcome is not outcome
        ]

    loss = {s.case: -s.difference for s in scores if s.difference is not None}
    ruined = [case for case, lost in loss.items() if lost > policy.ruinous_loss]
    large = [case for case, lost in loss.items() if policy.large_loss < lost <= policy.ruinous_loss]
    return [
        *named("new-miss", Decision.REFUSE, "The organ is newly missed", new(Outcome.MISSED)),
        *named("new-hallucination", Decision.REFUSE, "An absent organ is found", new(Outcome.HALLUCINATED)),
        *named("ruined-case", Decision.REFUSE, f"More than {policy.ruinous_loss} DSC is lost", ruined),
        *named("large-loss", Decision.NEEDS_APPROVAL, f"More than {policy.large_loss} DSC is lost", large),
    ]


def _report(
    incumbent: Release,
    candidate: Release,
    profile: str,
    policy: GatePolicy,
    reasons: Collection[GateReason],
    findings: tuple[OrganGate, ...],
) -> GateReport:
    everything = [*reasons, *(reason for finding in findings for reason in finding.reasons)]
    return GateReport(
        incumbent=incumbent.digest,
        candidate=candidate.digest,
        profile=profile,
        policy=policy,
        decision=_gravest(everything),
        reasons=_in_order(reasons),
        organs=findings,
    )


def _independent(scores: tuple[PairedScore, ...]) -> tuple[PairedScore, ...]:
    return tuple(score for score in scores if score.origin == INDEPENDENT)


def _difference(scores: tuple[PairedScore, ...], policy: GatePolicy) -> MeanDifference | None:
    return mean_difference(scores, policy.confidence, policy.resamples, policy.seed)


def _grouped(scores: tuple[PairedScore, ...], key: str, policy: GatePolicy) -> dict[str, MeanDifference]:
    groups: dict[str, MeanDifference] = {}
    for name in sorted({getattr(score, key) for score in scores}):
        found = _difference(tuple(score for score in scores if getattr(score, key) == name), policy)
        if found is not None:
            groups[name] = found
    return groups


def _gravest(reasons: Collection[GateReason]) -> Decision:
    decisions = {reason.decision for reason in reasons}
    return next((decision for decision in Decision if decision in decisions), Decision.PROMOTE)


def _in_order(reasons: Collection[GateReason]) -> tuple[GateReason, ...]:
    gravity = list(Decision)
    return tuple(sorted(reasons, key=lambda reason: gravity.index(reason.decision)))
