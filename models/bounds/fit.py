"""From calibration cases to the calibration of a release.

Each organ: voxels are calibrated first, then the residual of the expected DSC is ranked. So that
a case's residual is like a new case's, the numbers of the voxels and of the regression are fitted without it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from models.bounds.acquisition_facts import fit_facts
from models.bounds.band import fit_band
from models.bounds.certificate import DELTA, certify
from models.bounds.conformal import CONFIDENCE, conformal_quantile, fewest_cases
from models.bounds.domain import fit_domain
from models.bounds.expectation import Signs, expected_without, fit_expectation
from models.bounds.reliability import (
    VALUES,
    VoxelCounts,
    calibration_error,
    counted_confidence,
    fit_reliability,
    pooled,
)
from models.calibration import AS_SERVED, Calibration, OrganCalibration, Reliability


@dataclass(frozen=True, eq=False)
class OrganCase:
    """One organ in one calibration case.

    Parameters
    ----------
    counts
        Its voxels by served probability, on the model grid.
    dsc
        Of the served mask against the truth, on the CT grid; None when neither has the organ.
    missed
        `models.bounds.band.missed` on the CT grid; None when the truth has no such organ.
    agreement
        `models.bounds.uncertainty.member_agreement`.
    entropy
        `models.bounds.uncertainty.entropy_near` of served probabilities; None when nothing was found.
    """

    counts: VoxelCounts
    dsc: float | None
    missed: NDArray[np.float64] | None
    agreement: float | None = None
    entropy: float | None = None

    def signs(self, threshold: float, reliability: Reliability) -> Signs | None:
        """Return the signs of the case under a reliability; None when nothing was found."""
        confidence = counted_confidence(self.counts, threshold, reliability)
        if confidence is None or self.entropy is None:
            return None
        size = math.log(int(self.counts.voxels[threshold <= VALUES].sum()))
        return Signs(confidence, self.entropy, size, 1.0 if self.agreement is None else self.agreement)


@dataclass(frozen=True, eq=False)
class StudyCase:
    """One calibration case.

    Parameters
    ----------
    organs
        By organ with truth.
    feature
        `models.bounds.domain.study_feature`.
    facts
        `models.bounds.acquisition_facts.acquisition_facts`.
    """

    organs: Mapping[str, OrganCase]
    feature: NDArray[np.float64]
    facts: Mapping[str, float] = field(default_factory=dict)


def fit_organ(
    target: float | None,
    cases: Sequence[OrganCase],
    threshold: float,
    confidence: float = CONFIDENCE,
    delta: float = DELTA,
) -> OrganCalibration | None:
    """Calibrate one organ.

    Parameters
    ----------
    target
        DSC below which a reader should look (`models.targets`); None: nobody has established it.
    cases
        With truth that is independent of the release's own result, one patient each.
    threshold
        Served probability at and above which a voxel belongs to the organ.
    confidence
        Probability with which the bound is to hold, 0..1.
    delta
        Probability with which the organ's certificate may be wrong, 0..1.

    Returns
    -------
    OrganCalibration or None
        None when the organ was found in fewer than `fewest_cases`, or has no target: it stays uncalibrated.
    """
    if target is None:
        return None
    scored = [case for case in cases if case.dsc is not None and case.signs(threshold, AS_SERVED) is not None]
    if len(scored) < fewest_cases(confidence):
        return None
    total = pooled([case.counts for case in scored])
    reliability = fit_reliability(total)
    if reliability is None:
        return None
    signs = [_signs_without(case, total, threshold, reliability) for case in scored]
    dsc = [case.dsc for case in scored if case.dsc is not None]
    expected = expected_without(signs, dsc)
    quantile = conformal_quantile(expected, dsc, confidence)
    if quantile is None:
        return None
    return OrganCalibration(
        quantile=quantile,
        confidence=confidence,
        cases=len(scored),
        reliability=reliability,
        calibration_error=(calibration_error(total), calibration_error(total, reliability)),
        band_probability=_band([case.missed for case in cases if case.missed is not None], threshold),
        certificate=certify(expected, dsc, target, target + quantile, delta=delta),
        expectation=fit_expectation(signs, dsc),
    )


def fit_calibration(
    profile: str,
    cases: Sequence[StudyCase],
    thresholds: Mapping[str, float],
    targets: Mapping[str, float | None],
    confidence: float = CONFIDENCE,
) -> Calibration:
    """Calibrate a release in one serving profile.

    Parameters
    ----------
    profile
        The serving profile that answered the calibration cases.
    cases
        One study of one patient each; at least `models.bounds.domain.FEWEST_STUDIES`.
    thresholds
        By organ of the contract.
    targets
        By organ, as of `fit_organ`.
    confidence
        Probability with which each organ's bound is to hold.

    Returns
    -------
    Calibration
        Organs with too few cases are left out, and so uncalibrated.

    Raises
    ------
    ValueError
        If there are too few cases, or they do not differ.
    """
    return Calibration(
        profile=profile,
        organs=fit_organs(cases, thresholds, targets, len(thresholds), confidence),
        domain=fit_domain([case.feature for case in cases]),
        facts=fit_facts([case.facts for case in cases]),
    )


def fit_organs(
    cases: Sequence[StudyCase],
    thresholds: Mapping[str, float],
    targets: Mapping[str, float | None],
    claims: int,
    confidence: float = CONFIDENCE,
) -> dict[str, OrganCalibration]:
    """Calibrate some organs; those with too few cases are left out. Parameters as `fit_calibration`.

    `claims` is the number of organs of the release: they share the probability that a certificate is
    wrong (Bonferroni), so that all certificates of a release hold together.
    """
    fitted = {}
    for organ, threshold in thresholds.items():
        with_truth = [case.organs[organ] for case in cases if organ in case.organs]
        calibration = fit_organ(targets[organ], with_truth, threshold, confidence, DELTA / claims)
        if calibration is not None:
            fitted[organ] = calibration
    return fitted


def _signs_without(case: OrganCase, total: VoxelCounts, threshold: float, together: Reliability) -> Signs:
    own = case.counts
    others = VoxelCounts(total.voxels - own.voxels, total.inside - own.inside)
    found = case.signs(threshold, fit_reliability(others, together) or together)
    if found is None:
        raise ValueError("a case without the organ found has no signs to leave it out of")
    return found


def _band(misses: Sequence[NDArray[np.float64]], threshold: float) -> float | None:
    found = fit_band(misses) if misses else None
    return None if found is None else min(found, threshold)
