"""What may be certified of the organs that are not flagged: Learn then Test.

Calibration cases are ordered by expected DSC (`models.bounds.expectation.expected_dsc`), here their
confidence. The most confident m are tested, m growing: if k of them miss the target and a binomial of m with
rate alpha would give at most k with probability delta or less, the rate among all cases more confident than
the next one is at most alpha, with confidence 1 - delta. The first m that cannot be shown ends it (fixed
sequence), so that the whole claim errs with probability delta at most. An organ is certified if that reaches
down to the confidence from which its bound lets it go unflagged.

Source: Angelopoulos et al. 2021, arXiv 2110.01052. The order is that of the data, which needs a risk that
does not fall as confidence falls.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binom

from models.calibration import Certificate

ALPHA = 0.1
"""Share of unflagged organs that may miss the target."""

DELTA = 0.1
"""Probability with which any certificate of a release may be wrong; its organs share it (Bonferroni)."""

FIRST_SHARE = 1 / 3
"""Share of the cases that is tested first: so few that they should be safe, enough for a miss or two."""


def fewest_certified(alpha: float = ALPHA, delta: float = DELTA) -> int:
    """Return the smallest number of cases, none under target, that shows anything: 22 for .10, .10."""
    return math.ceil(math.log(delta) / math.log(1 - alpha) - 1e-9)


def safe_above(
    expected: ArrayLike, dsc: ArrayLike, target: float, alpha: float = ALPHA, delta: float = DELTA
) -> float | None:
    """Return the expected DSC above which at most `alpha` of the cases miss the target.

    Parameters
    ----------
    expected, dsc
        Expected and true DSC of each calibration case, shape (n,). The truth must be
        independent of the release's own result.
    target
        DSC under which an organ misses its target.
    alpha, delta
        Share that may miss it, and the probability with which the claim may be wrong, 0..1.

    Returns
    -------
    float or None
        0 when every case may go unflagged; None when the cases are fewer than `fewest_certified` or
        show nothing.
    """
    confidence, truth = np.asarray(expected, dtype=np.float64), np.asarray(dsc, dtype=np.float64)
    if confidence.ndim != 1 or confidence.shape != truth.shape:
        raise ValueError("expected and true DSC must be one per case")
    order = np.argsort(-confidence, kind="stable")
    misses = np.cumsum(truth[order] < target)
    confidence = np.append(confidence[order], 0.0)
    tested = np.arange(
        max(fewest_certified(alpha, delta), math.ceil(FIRST_SHARE * len(order))), len(order) + 1
    )
    # A threshold takes all cases of equal confidence or none.
    tested = tested[confidence[tested] < confidence[tested - 1]]
    shown = binom.cdf(misses[tested - 1], tested, alpha) <= delta
    passed = tested[: int(np.argmin(np.append(shown, False)))]
    return float(confidence[passed[-1]]) if passed.size else None


def certify(
    expected: ArrayLike,
    dsc: ArrayLike,
    target: float,
    unflagged_from: float,
    alpha: float = ALPHA,
    delta: float = DELTA,
) -> Certificate | None:
    """Certify the organs that are not flagged, or not.

    Parameters
    ----------
    expected, dsc, target, alpha, delta
        As `safe_above`.
    unflagged_from
        Expected DSC from which the bound reaches the target.

    Returns
    -------
    Certificate or None
        None when it cannot be shown: no number is made up.
    """
    safe = safe_above(expected, dsc, target, alpha, delta)
    if safe is None or unflagged_from <= safe:
        return None
    unflagged = np.asarray(expected) >= unflagged_from
    under = np.count_nonzero(np.asarray(dsc)[unflagged] < target)
    return Certificate(alpha, delta, target, int(np.count_nonzero(unflagged)), int(under))
