"""Sites and kinds of acquisition: every one is covered, and none pays for another.

A head tuned on new cases forgets the old ones first, and a mean over all patients does not show it: what
one site gains hides what another loses.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from scipy import stats

from models.gate.paired import MeanDifference, Metric, PairedScore, mean_difference
from models.gate.report import Decision, GatePolicy, GateReason

SITE = "site"
"""The fact whose groups are held to the organ's margin; all others to `GatePolicy.group_loss`."""

Groups = Mapping[str, Mapping[str, MeanDifference]]
"""Mean DSC difference by fact and group."""


def groups_of(scores: Sequence[PairedScore], policy: GatePolicy) -> dict[str, dict[str, MeanDifference]]:
    """Return the mean DSC difference by fact and group of one organ, the sites among them."""

    def by(fact: str) -> Callable[[PairedScore], str | None]:
        return lambda score: score.groups.get(fact)

    facts = sorted({fact for score in scores for fact in score.groups})
    return {
        SITE: grouped(scores, lambda score: score.site, policy),
        **{fact: grouped(scores, by(fact), policy) for fact in facts},
    }


def grouped(
    scores: Sequence[PairedScore], key: Callable[[PairedScore], str | None], policy: GatePolicy
) -> dict[str, MeanDifference]:
    """Return the mean DSC difference by what the key names, bounded by Student's t."""
    found: dict[str, MeanDifference] = {}
    for name in sorted({group for score in scores if (group := key(score)) is not None}):
        of_group = [score for score in scores if key(score) == name]
        mean = mean_difference(of_group, policy.confidence, resamples=0, seed=policy.seed)
        if mean is not None:
            found[name] = mean
    return found


def no_group_pays(groups: Groups, margin: float | None, share: float, policy: GatePolicy) -> list[GateReason]:
    """No site loses more than the margin, no other group collapses; where it may be chance, a person looks.

    Parameters
    ----------
    groups
        Of one organ.
    margin
        Mean DSC the organ may lose; None: not established, and a site may lose as any other group.
    share
        Chance that a group that loses nothing is refused: `models.gate.noise.tail_share` over all groups
        of all tuned organs.
    policy
        What was fixed before.
    """
    at_a_site = policy.group_loss if margin is None else margin
    return [
        reason
        for fact, of_fact in groups.items()
        for group, found in of_fact.items()
        for reason in _pays(
            fact, group, found, at_a_site if fact == SITE else policy.group_loss, share, policy
        )
    ]


def _pays(
    fact: str, group: str, found: MeanDifference, may_lose: float, share: float, policy: GatePolicy
) -> list[GateReason]:
    if found.mean >= -may_lose:
        return []
    what = f"{fact.capitalize()} {group}: mean DSC {found.mean:+.3f} over {found.patients} patients"
    detail = f"{what}; {may_lose} may be lost."
    if _upper_bound(found, 1 - share) < 0:
        return [GateReason(f"{fact}-collapse", Decision.REFUSE, detail)]
    if found.patients >= policy.fewest_group_patients:
        return [GateReason(f"{fact}-may-collapse", Decision.NEEDS_APPROVAL, f"{detail} It may be chance.")]
    return []


def _upper_bound(found: MeanDifference, confidence: float) -> float:
    """One-sided upper bound by Student's t: groups are too small for the bootstrap."""
    if found.deviation is None:
        return np.inf
    spread = found.deviation / np.sqrt(found.patients)
    return float(found.mean + stats.t.ppf(confidence, found.patients - 1) * spread)


def sites_covered(
    scores: Collection[PairedScore], served: Collection[str], policy: GatePolicy
) -> list[GateReason]:
    """Every site the incumbent serves has patients in the gate set: a tuned head forgets old ones first.

    Parameters
    ----------
    scores
        Cases of one organ that decide; every gate case has truth of every organ.
    served
        Sites the incumbent serves.
    policy
        What was fixed before.
    """
    patients = _patients_by_site(scores)
    return [
        GateReason(
            "site-not-covered",
            Decision.INSUFFICIENT_EVIDENCE,
            f"Site {site} has {patients.get(site, 0)} gate patients with independent truth; "
            f"{policy.fewest_site_patients} would do.",
        )
        for site in sorted({*served, *patients} - {""})
        if patients.get(site, 0) < policy.fewest_site_patients
    ]


def organ_covered(scores: Collection[PairedScore], policy: GatePolicy) -> list[GateReason]:
    """Return the sites covered by patients who have not this organ: its new head was never seen there."""
    patients = _patients_by_site(scores)
    having = _patients_by_site([score for score in scores if score.values(Metric.DSC) is not None])
    return [
        GateReason(
            "organ-not-covered",
            Decision.INSUFFICIENT_EVIDENCE,
            f"Of {patients[site]} gate patients of site {site}, {having.get(site, 0)} have the organ; "
            f"{policy.fewest_site_patients} would do.",
        )
        for site in sorted(set(patients) - {""})
        if having.get(site, 0) < policy.fewest_site_patients <= patients[site]
    ]


def _patients_by_site(scores: Collection[PairedScore]) -> dict[str, int]:
    patients: dict[str, set[str]] = {}
    for score in scores:
        patients.setdefault(score.site, set()).add(score.patient)
    return {site: len(found) for site, found in patients.items()}
