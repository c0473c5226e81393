"""Split-conformal calibration: from the DSC the segmenter expects to a lower bound that holds.

For calibration cases r = E - DSC, E the expected DSC (`models.bounds.expectation.expected_dsc`); the bound of
a new case is E - q, q the ceil((n+1)c)-th smallest r. If the new case is exchangeable with the calibration
cases, P(DSC >= bound) >= c, whatever the distribution and however poor E. It holds on average over
calibration sets and cases, organ by organ; it does not hold under shift, which is why out-of-domain studies
get no bound. What voxels are calibrated by and the regression behind E come from the same cases; each
residual is taken without its own case (`models.bounds.fit`), so that it holds but for what one case of n
moves them.

Source: Vovk et al. 2005; for DSC Wundram et al. 2024, arXiv 2407.13307.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from models.calibration import OrganCalibration

CONFIDENCE = 0.9
"""Probability with which a bound holds, unless told otherwise."""


def fewest_cases(confidence: float) -> int:
    """Return the smallest number of calibration cases that can carry a bound: 9 for 0.9, 19 for 0.95."""
    return math.ceil(confidence / (1 - confidence) - 1e-9)


def conformal_quantile(expected: ArrayLike, dsc: ArrayLike, confidence: float = CONFIDENCE) -> float | None:
    """Return what is to be subtracted from the expected DSC of one organ.

    Parameters
    ----------
    expected, dsc
        Expected and true DSC of each calibration case with the organ found, shape (n,).
        The truth must be independent of the release's own result.
    confidence
        Probability with which the bound is to hold, 0..1.

    Returns
    -------
    float or None
        None when n is under `fewest_cases`: the organ stays uncalibrated, no number is made up.

    Raises
    ------
    ValueError
        If lengths differ, a value is not finite, or the confidence is not inside (0, 1).
    """
    residual = np.asarray(expected, dtype=np.float64) - np.asarray(dsc, dtype=np.float64)
    if residual.ndim != 1 or np.shape(expected) != np.shape(dsc) or not np.isfinite(residual).all():
        raise ValueError("expected and true DSC must be finite and one per case")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be inside (0, 1), not {confidence}")
    rank = math.ceil((residual.size + 1) * confidence - 1e-9)
    if rank > residual.size:
        return None
    return float(np.partition(residual, rank - 1)[rank - 1])


def lower_bound(expected: float, calibration: OrganCalibration) -> float:
    """Return the lower bound of DSC, 0..1."""
    return min(1.0, max(0.0, expected - calibration.quantile))
