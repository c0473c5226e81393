"""How much a case may lose by chance: the incumbent's own noise on it, told from scanning it again.

Cases differ in noise, and a further scan or two of one say little about its own. So each case's variance is
drawn towards what is usual of the organ, as far as the cases show that they are alike (empirical Bayes);
the difference over the square root of it then has Student's t. The threshold is its quantile, so high that
equal models exceed any of all thresholds in the share of gates that was asked for.

Source: Smyth 2004, Stat. Appl. Genet. Mol. Biol. 3:3 (moderated t); Sidak 1967, JASA 62:626.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

LEAST_NOISE = 1e-3
"""Standard deviation below which nothing is believed, DSC."""

DEGREES = (1.0, 6.0)
"""Degrees of freedom that what is usual of an organ may count for. The upper keeps tails heavy: a few
dozen cases cannot show that noise is normal."""

FEWEST_CASES = 5
"""Cases scanned again, below which nothing is known of an organ's noise."""


def tail_share(false_alarm: float, comparisons: int) -> float:
    """Return the chance each of so many comparisons may have, for any of them to have `false_alarm`."""
    return 1.0 - (1.0 - false_alarm) ** (1.0 / max(1, comparisons))


def loss_thresholds(noise: Sequence[Sequence[float]], share: float) -> NDArray[np.float64] | None:
    """Return the loss each case exceeds by chance in that share of equal models.

    Parameters
    ----------
    noise
        By case of one organ: the incumbent's score on each further scan minus that on the first.
    share
        `tail_share`.

    Returns
    -------
    ndarray or None
        Positive, one per case; None for fewer than `FEWEST_CASES`.
    """
    if len(noise) < FEWEST_CASES:
        return None
    repeats = np.asarray(noise, dtype=np.float64)
    own_degrees = repeats.shape[1]
    variance = np.maximum(np.mean(repeats**2, axis=1), LEAST_NOISE**2)
    degrees, usual = _usual(variance, own_degrees)
    drawn = (degrees * usual + own_degrees * variance) / (degrees + own_degrees)
    return np.asarray(np.sqrt(drawn) * stats.t.isf(share, degrees + own_degrees), dtype=np.float64)


def _usual(variance: NDArray[np.float64], own_degrees: int) -> tuple[float, float]:
    """Return for how many degrees of freedom the usual variance counts, and the usual variance."""
    logs = np.log(variance) - special.digamma(own_degrees / 2) + math.log(own_degrees / 2)
    excess = float(logs.var(ddof=1)) - float(special.polygamma(1, own_degrees / 2))
    degrees = 2 * _inverse_trigamma(excess) if excess > 0 else math.inf
    degrees = min(max(degrees, DEGREES[0]), DEGREES[1])
    shift = float(special.digamma(degrees / 2)) - math.log(degrees / 2)
    return degrees, math.exp(float(logs.mean()) + (shift if excess > 0 else 0.0))


def _inverse_trigamma(value: float) -> float:
    """Newton's method on 1/trigamma, which is nearly straight (Smyth 2004, appendix)."""
    if value > 1e7:
        return 1.0 / math.sqrt(value)
    found = 0.5 + 1.0 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, found))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, found))
        found += step
        if abs(step) < 1e-9 * found:
            break
    return found
