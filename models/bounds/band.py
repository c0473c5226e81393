"""The band round an organ that on average holds at least 95 % of it: conformal risk control.

Lowering the probability asked of a voxel makes the set larger and its miss, the share of the true organ
outside it, smaller. The greatest probability is taken at which the mean miss of the calibration cases,
with one more case that misses all, stays within `RISK`.

Source: Angelopoulos et al. 2022, arXiv 2208.02814: E[miss] <= RISK for a case exchangeable with them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.resampling import NEGLIGIBLE_PROBABILITY

RISK = 0.05
"""Share of the organ that on average may lie outside."""

PROBABILITIES = np.linspace(NEGLIGIBLE_PROBABILITY, 0.5, 49)[::-1]
"""Served probabilities that are tried, the strictest first."""


def missed(probability: NDArray, truth: NDArray[np.bool_], elsewhere: int = 0) -> NDArray[np.float64] | None:
    """Return the share of an organ with a probability under each of `PROBABILITIES`.

    Parameters
    ----------
    probability
        Axes (k, j, i) on the CT grid, 0..1.
    truth
        The organ, same axes, bool.
    elsewhere
        Voxels of the organ outside these arrays, where the probability is negligible.

    Returns
    -------
    ndarray or None
        Shape (49,), 0..1, falling; None when the organ is not there.
    """
    inside = np.sort(probability[truth])
    size = inside.size + elsewhere
    return (np.searchsorted(inside, PROBABILITIES) + elsewhere) / size if size else None


def fit_band(cases: ArrayLike, risk: float = RISK) -> float | None:
    """Return the greatest probability whose set misses at most `risk` of the organ on average.

    Parameters
    ----------
    cases
        Axes (case, probability): `missed` of each calibration case with the organ there.
    risk
        As `RISK`.

    Returns
    -------
    float or None
        None when no set does, or so few cases (19 for 0.05) can show none.
    """
    table = np.asarray(cases, dtype=np.float64).reshape(-1, len(PROBABILITIES))
    n = len(table)
    if n == 0:
        return None
    expected = (n * table.mean(axis=0) + 1) / (n + 1)
    enough = np.flatnonzero(expected <= risk)
    return float(PROBABILITIES[enough[0]]) if enough.size else None
