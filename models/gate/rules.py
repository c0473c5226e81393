"""The gate's rules on one tuned organ: what each test asks, and what follows if it fails.

Margins and thresholds are fixed before (`models.gate.report.GatePolicy`). All rules must be passed and all
organs, so no correction for their number is due (intersection-union test); only what refuses by itself, if
any one of many comparisons does, shares one false alarm among them: single cases, groups, bounds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from models.gate.noise import loss_thresholds
from models.gate.paired import MeanDifference, Metric, PairedScore, patients_needed
from models.gate.report import Decision, GatePolicy, GateReason, Noise, Presence
from models.gate.serving_cost import ServingCost
from models.metrics.dsc import Outcome
from models.targets import Required

SHOWN = 5
"""Cases named in one sentence."""


def not_worse(
    found: MeanDifference | None, margin: float, needed: int, metric: Metric, policy: GatePolicy
) -> list[GateReason]:
    """Non-inferiority on the gate set: the lower bound of the mean lies above minus the margin."""
    patients = found.patients if found else 0
    would_do = f"{needed} would do for an equal candidate."
    if found is None or patients < policy.fewest_patients:
        detail = f"{patients} patients with independent truth; {would_do}"
        return [GateReason("too-few-patients", Decision.INSUFFICIENT_EVIDENCE, detail)]
    if found.lower_bound is not None and found.lower_bound > -margin:
        return []
    word, codes = {
        Metric.DSC: ("Mean DSC", ("worse-than-incumbent", "not-shown-equal")),
        Metric.NSD: ("Mean surface DSC", ("surface-worse-than-incumbent", "surface-not-shown-equal")),
    }[metric]
    detail = f"{word} {found.mean:+.3f} over {patients} patients"
    if found.mean <= -margin:
        return [GateReason(codes[0], Decision.REFUSE, f"{detail}; the margin is {margin}.")]
    detail += f" does not rule out a loss of {margin}; {would_do}"
    return [GateReason(codes[1], Decision.INSUFFICIENT_EVIDENCE, detail)]


def margin_missing(found: MeanDifference | None, required: Required, policy: GatePolicy) -> list[GateReason]:
    """No margin, no non-inferiority: say what is missing, and how many patients there are."""
    missing = "margin" if required.dsc_target is not None else "margin and no target"
    patients = found.patients if found else 0
    detail = (
        f"Nobody has established how much DSC it may lose: it has no {missing}. {patients} patients with "
        f"independent truth; {policy.fewest_patients} are the fewest. `organloop calibrate --propose FILE` "
        "proposes both; what a person agrees to belongs in the file that ORGANLOOP_TARGETS names."
    )
    return [GateReason("no-margin", Decision.INSUFFICIENT_EVIDENCE, detail)]


def enough_to_see(scores: Collection[PairedScore], policy: GatePolicy) -> list[GateReason]:
    """Send a small set to a person: a loss in few patients is seen only if one of them is in it.

    No test finds what the set does not hold: of n patients none is among a share s that loses in
    (1-s)^n of all sets.
    """
    patients = len({score.patient for score in scores if score.values(Metric.DSC) is not None})
    fewest = math.ceil(math.log(1 - policy.confidence) / math.log(1 - policy.unseen_share))
    if patients >= fewest or patients < policy.fewest_patients:
        return []
    unseen = 1 - (1 - policy.confidence) ** (1 / patients)
    detail = (
        f"{patients} patients leave open that up to {unseen:.0%} of patients lose the organ unseen; "
        f"{fewest} would rule out {policy.unseen_share:.0%}."
    )
    return [GateReason("few-patients", Decision.NEEDS_APPROVAL, detail)]


def looked_before(looks: int) -> list[GateReason]:
    """Tell a person: a candidate that is weighed again and again passes some time by chance alone."""
    if not looks:
        return []
    detail = (
        f"The gate has decided on this candidate {looks} times before, on other sets or by other rules; each "
        "look lets one in twenty that are worse pass."
    )
    return [GateReason("looked-before", Decision.NEEDS_APPROVAL, detail)]


def needed_patients(found: MeanDifference | None, margin: float, policy: GatePolicy) -> int:
    """Patients that would do: never fewer than the fewest, nor than those that did not."""
    if found is None or found.deviation is None:
        return policy.fewest_patients
    by_power = patients_needed(found.deviation, margin, policy.confidence)
    beyond = found.patients + 1 if found.patients >= policy.fewest_patients else 0
    return max(policy.fewest_patients, by_power, beyond)


def better(found: MeanDifference | None, policy: GatePolicy) -> list[GateReason]:
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


def losses_allowed(
    scores: Sequence[PairedScore], metric: Metric, share: float, policy: GatePolicy
) -> dict[str, float]:
    """Return by case the loss beyond which it is more than the incumbent's own noise.

    Parameters
    ----------
    scores
        Cases of one organ that decide.
    metric
        DSC or surface DSC.
    share
        `models.gate.noise.tail_share` over all comparisons of the gate.
    policy
        What was fixed before.

    Returns
    -------
    dict
        A case nobody scanned again has the smallest threshold there is.
    """
    smallest = policy.smallest_loss * _factor(metric, policy)
    allowed = {score.case: smallest for score in scores if score.change(metric) is not None}
    noise = {case: score.noise(metric) for score in scores if (case := score.case) in allowed}
    most = max(map(len, noise.values()), default=0)
    scanned = [case for case, repeats in noise.items() if repeats and len(repeats) == most]
    thresholds = loss_thresholds([noise[case] for case in scanned], share) if scanned else None
    if thresholds is not None:
        for case, threshold in zip(scanned, thresholds, strict=True):
            allowed[case] = max(smallest, float(threshold))
    return allowed


def _factor(metric: Metric, policy: GatePolicy) -> float:
    return policy.surface_factor if metric is Metric.NSD else 1.0


def noise_of(scores: Sequence[PairedScore], allowed: Mapping[str, float]) -> Noise:
    """Return how noisy the incumbent is on one organ's cases, and what they may lose in the middle."""
    noise = [repeats for score in scores if (repeats := score.noise(Metric.DSC))]
    deviation = float(np.sqrt(np.mean(np.square(np.concatenate(noise))))) if noise else None
    return Noise(len(noise), deviation, float(np.median(list(allowed.values()))) if allowed else None)


def no_case_lost(
    scores: Collection[PairedScore], allowed: Mapping[Metric, Mapping[str, float]], policy: GatePolicy
) -> list[GateReason]:
    """Veto: new misses and hallucinations, ruined cases, and more lost cases than one would be by chance.

    However noisy the incumbent, a ruinous loss is seen by a person: equal models have one by chance where
    the incumbent itself moves as much, and three patients ruined are refused whatever the noise.
    """

    def new(outcome: Outcome) -> list[PairedScore]:
        return [s for s in scores if s.candidate.outcome is outcome and s.incumbent.outcome is not outcome]

    def beyond(score: PairedScore, metric: Metric, most: float) -> bool:
        change = score.change(metric)
        return change is not None and -change > min(most, allowed[metric][score.case])

    def lost(metric: Metric) -> list[PairedScore]:
        return [s for s in scores if beyond(s, metric, policy.ruinous_loss * _factor(metric, policy))]

    def is_ruined(score: PairedScore) -> bool:
        return score.difference is not None and -score.difference > policy.ruinous_loss

    ruined = [s for s in scores if is_ruined(s)]
    unexplained = [s for s in ruined if beyond(s, Metric.DSC, np.inf)]
    large = lost(Metric.DSC)
    rough = [s for s in lost(Metric.NSD) if s not in large]
    gone = Decision.REFUSE if unexplained else _by_number(ruined, policy)
    beyond_noise = "More is lost than the incumbent's own noise explains"
    return [
        *_named("new-miss", Decision.REFUSE, "The organ is newly missed", new(Outcome.MISSED)),
        *_named("new-hallucination", Decision.REFUSE, "An absent organ is found", new(Outcome.HALLUCINATED)),
        *_named("ruined-case", gone, f"More than {policy.ruinous_loss} DSC is lost", ruined),
        *_named("large-loss", _by_number(large, policy), beyond_noise, [s for s in large if s not in ruined]),
        *_named("surface-loss", _by_number(rough, policy), f"{beyond_noise}, of surface DSC", rough),
    ]


def _by_number(scores: Collection[PairedScore], policy: GatePolicy) -> Decision:
    """Equal models exceed one threshold in one gate of twenty; three, as good as never."""
    patients = {score.patient for score in scores}
    return Decision.REFUSE if len(patients) >= policy.ruined_patients else Decision.NEEDS_APPROVAL


def _named(code: str, decision: Decision, what: str, scores: Collection[PairedScore]) -> list[GateReason]:
    cases = sorted(score.case for score in scores)
    shown = ", ".join(cases[:SHOWN]) + (", …" if len(cases) > SHOWN else "")
    return [GateReason(code, decision, f"{what} in {len(cases)} cases: {shown}.")] if cases else []


def affordable(cost: ServingCost | None, policy: GatePolicy) -> list[GateReason]:
    """Ask that a candidate costs a server what a site can plan for; only what is counted is weighed."""
    if cost is None:
        return []
    before, after = cost.incumbent, cost.candidate
    study = (
        (after.study_flops, before.study_flops, policy.study_flops, "takes {} operations"),
        (after.study_moved_bytes, before.study_moved_bytes, policy.study_moved_bytes, "moves {} bytes"),
    )
    costly = [
        f"{what.format(f'{now:.3g}')} instead of {once:.3g} "
        f"({policy.costlier} times as many, or {budget:.3g}, may be)"
        for now, once, budget, what in study
        if now > max(policy.costlier * once, budget)
    ]
    reasons = []
    if costly:
        detail = f"A study of the gate set {', and '.join(costly)}."
        reasons.append(GateReason("too-costly", Decision.REFUSE, detail))
    if after.live_bytes > max(policy.larger * before.live_bytes, policy.live_bytes):
        detail = (
            f"In a window {after.live_bytes} bytes are alive at once instead of {before.live_bytes} "
            f"({policy.larger} times, or {policy.live_bytes}, may be)."
        )
        reasons.append(GateReason("too-much-memory", Decision.REFUSE, detail))
    if after.network_bytes > policy.larger * before.network_bytes:
        detail = f"Its networks hold {after.network_bytes} bytes instead of {before.network_bytes}."
        reasons.append(GateReason("too-large", Decision.REFUSE, detail))
    return reasons


def presence(scores: Collection[PairedScore]) -> dict[str, Presence]:
    """Count agreement about presence, apart from all overlap; cases in which nobody drew the organ do not."""

    def counted(outcomes: Sequence[Outcome | None]) -> Presence:
        return Presence(**{outcome.value: outcomes.count(outcome) for outcome in Outcome})

    return {
        "incumbent": counted([score.incumbent.outcome for score in scores]),
        "candidate": counted([score.candidate.outcome for score in scores]),
    }


def mean_hd95(scores: Collection[PairedScore]) -> tuple[float, float] | None:
    """Return the mean HD95 of incumbent and candidate, millimetres, where both are known and truly there."""
    known = [
        (s.incumbent.hd95_mm, s.candidate.hd95_mm)
        for s in scores
        if s.truly_there and s.incumbent.hd95_mm is not None and s.candidate.hd95_mm is not None
    ]
    if not known:
        return None
    before, after = np.mean(known, axis=0)
    return float(before), float(after)
