"""The statistics of the flags, from measured studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import betabinom, rankdata

from models.bounds.acquisition_facts import strange_facts
from models.bounds.conformal import CONFIDENCE, lower_bound
from models.bounds.domain import is_out_of_domain
from models.bounds.expectation import expected_dsc
from models.bounds.fit import OrganCase, fit_organ
from models.bounds.reliability import counted_confidence
from models.calibration import AS_SERVED, Calibration, OrganCalibration
from models.findings import Flag
from models.judgement.flags import flag
from models.judgement.reasons import Reason
from models.organs import ORGANS
from models.organs import organ as catalogue_entry
from tests.bench.flags.measures import TOP, Measured

THRESHOLD = 0.5
"""Of every organ of the shipped contract."""

RULES = frozenset(Reason) - {
    Reason.OUT_OF_DOMAIN,
    Reason.DOUBTFUL_SLICES,
    Reason.BOUND_UNDER_HALF_TARGET,
    Reason.BOUND_UNDER_TARGET,
    Reason.NO_TARGET,
    Reason.UNCALIBRATED,
    Reason.RANDOM_AUDIT,
}
"""Reasons that are rules on what was found."""

SUREST_LAST = (Flag.REJECT, Flag.REVIEW, Flag.CLEAR)
"""The shipped flag orders organs by what is told, those of which the same is told by their bound."""


@dataclass(frozen=True)
class Judged:
    """One found organ of one study under some calibration.

    Parameters
    ----------
    organ
        Key in the catalogue.
    dsc
        Against the truth.
    under
        Whether that is under the organ's target.
    flagged
        Whether the reader is asked to look, the domain aside.
    scores
        By name; greater is surer.
    """

    organ: str
    dsc: float
    under: bool
    flagged: bool
    scores: Mapping[str, float]


def judged(studies: Sequence[Measured], organs: Mapping[str, OrganCalibration]) -> list[Judged]:
    """Judge every found organ of some studies under a calibration."""
    rows = []
    for study in studies:
        for organ, row in study.organs.items():
            if not row.found or row.dsc is None or organ not in organs:
                continue
            fitted, target = organs[organ], catalogue_entry(organ).dsc_target
            case = study.case.organs[organ]
            signs = case.signs(THRESHOLD, fitted.reliability)
            confidence = counted_confidence(case.counts, THRESHOLD, fitted.reliability)
            served = counted_confidence(case.counts, THRESHOLD, AS_SERVED)
            assert signs is not None
            assert confidence is not None
            assert served is not None
            assert case.agreement is not None
            assert row.entropy is not None
            assert row.disagreement is not None
            assert row.importance_ml is not None
            assert row.members is not None
            bound = lower_bound(expected_dsc(signs, fitted.expectation), fitted)
            told, _ = flag(
                catalogue_entry(organ).dsc_target, bound, [r for r in map(Reason, row.reasons) if r in RULES]
            )
            scores = {
                "flag": 2.0 * SUREST_LAST.index(told) + bound - target,
                "bound": bound - target,
                "SDC, calibrated": confidence - target,
                "SDC, as served": served,
                "pairwise Dice of members": case.agreement,
                "disagreement of members": -row.members,
                "disagreement of windows": -row.disagreement,
                "mean entropy": -row.entropy,
                "importance": -row.importance_ml,
            }
            rows.append(Judged(organ, row.dsc, row.dsc < target, told is not Flag.CLEAR, scores))
    return rows


def auroc(score: ArrayLike, bad: ArrayLike) -> float:
    """Return the probability that a bad organ scores lower than a good one; ties count half."""
    score, bad = np.asarray(score, dtype=float), np.asarray(bad, dtype=bool)
    ranks, n = rankdata(score), int(bad.sum())
    others = len(bad) - n
    return float(1 - (ranks[bad].sum() - n * (n + 1) / 2) / (n * others)) if n and others else float("nan")


def aurocs(rows: Sequence[Judged]) -> dict[str, float]:
    """Return the AUROC of "DSC under target" of every score."""
    bad = [row.under for row in rows]
    return {name: auroc([row.scores[name] for row in rows], bad) for name in rows[0].scores}


def risk_coverage(score: ArrayLike, bad: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return share kept and share under target among them, the surest organs first."""
    order = np.argsort(-np.asarray(score, dtype=float), kind="stable")
    kept = np.arange(1, len(order) + 1)
    return kept / len(order), np.cumsum(np.asarray(bad)[order]) / kept


def area_under_risk(score: ArrayLike, bad: ArrayLike) -> float:
    """Return the mean risk over all coverages (AURC)."""
    return float(risk_coverage(score, bad)[1].mean())


@dataclass(frozen=True)
class SplitCoverage:
    """Coverage of the bound of one organ in one split.

    Parameters
    ----------
    organ
        Key in the catalogue.
    covered, tested
        Test organs whose DSC was at least the bound, and all.
    low, high
        The band they must lie in.
    """

    organ: str
    covered: int
    tested: int
    low: int
    high: int

    @property
    def inside(self) -> bool:
        """Whether the coverage lies in the band."""
        return self.low <= self.covered <= self.high


def coverages(
    studies: Sequence[Measured], calibrating: int, splits: int, error: float
) -> list[SplitCoverage]:
    """Calibrate on a part of the studies and count on the rest, again and again.

    Parameters
    ----------
    studies
        Of one site.
    calibrating
        Studies to calibrate on.
    splits
        How often.
    error
        Probability that a right bound leaves the band in any organ of one split: the band is the
        beta-binomial's, two-sided, with `error` shared by the organs (Bonferroni).
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(splits):
        order = rng.permutation(len(studies))
        chosen, rest = order[:calibrating], order[calibrating:]
        for organ in ORGANS:
            fitted = fit_organ(
                catalogue_entry(organ).dsc_target, [studies[n].case.organs[organ] for n in chosen], THRESHOLD
            )
            assert fitted is not None
            tested = [case for n in rest if (case := studies[n].case.organs[organ]).dsc is not None]
            held = [hold for case in tested if (hold := holds(case, fitted)) is not None]
            rank = int(np.ceil((fitted.cases + 1) * CONFIDENCE - 1e-9))
            band = betabinom(len(held), rank, fitted.cases + 1 - rank)
            tail = error / len(ORGANS) / 2
            low, high = int(band.ppf(tail)), int(band.ppf(1 - tail))
            found.append(SplitCoverage(organ, sum(held), len(held), low, high))
    return found


def holds(case: OrganCase, fitted: OrganCalibration) -> bool | None:
    """Tell whether the bound holds; None when the organ was not found and none is claimed."""
    signs = case.signs(THRESHOLD, fitted.reliability)
    if signs is None or case.dsc is None:
        return None
    return case.dsc >= lower_bound(expected_dsc(signs, fitted.expectation), fitted)


def outside(study: Measured, calibration: Calibration) -> tuple[bool, bool]:
    """Tell whether a study is out of domain by its features, and by its facts."""
    assert calibration.facts is not None
    return (
        is_out_of_domain(study.case.feature, calibration.domain),
        bool(strange_facts(study.case.facts, calibration.facts)),
    )


def band_share(studies: Sequence[Measured], organ: str, probability: float) -> float:
    """Return the mean share of an organ inside its band."""
    from models.bounds.band import PROBABILITIES

    index = int(np.argmin(np.abs(PROBABILITIES - probability)))
    missed = [study.case.organs[organ].missed for study in studies]
    return float(1 - np.mean([one[index] for one in missed if one is not None]))


def gain_per_ml(studies: Sequence[Measured], k: int) -> tuple[float, float]:
    """Return the DSC gained per millilitre looked at: our top k regions, and random ones."""
    assert k in TOP
    found = [study.gains[k] for study in studies if study.gains]
    ours = sum(one.ours for one in found) / sum(one.ours_ml for one in found)
    random = sum(one.random for one in found) / sum(one.random_ml for one in found)
    return ours, random


def rule_rates(studies: Sequence[Measured]) -> dict[Reason, tuple[int, int]]:
    """Return by rule how often it fires on an organ that is good: found at its target, or truly absent."""
    good = [
        row
        for study in studies
        for organ, row in study.organs.items()
        if (row.dsc is not None and row.dsc >= catalogue_entry(organ).dsc_target)
        or (not row.present and not row.found)
    ]
    return {rule: (sum(rule in row.reasons for row in good), len(good)) for rule in sorted(RULES)}
