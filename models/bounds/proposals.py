"""What a site's own cases propose as an organ's target and margin; a person decides, see `models.targets`.

Target: the DSC that nine of ten cases reach, as low as the cases leave open. Two order statistics hold a
quantile of any distribution between them, with a probability the binomial gives (David and Nagaraja 2003,
Order Statistics, section 7.1); the lower one is Wilks' tolerance limit (1941, doi 10.1214/aoms/1177731788).
An organ that misses it is among the worst tenth of what this network does here. That is how well it does, not
how well it should: a network that draws an organ badly is proposed a low target.

Margin: a loss that is small beside how much the DSC differs from case to case, a fifth of its standard
deviation (Cohen 1988, a small effect), at the lower end of the bootstrap's interval of that deviation. It is
at most what the catalogue lets any organ lose.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom, bootstrap

from models.bounds.certificate import ALPHA, DELTA, fewest_certified
from models.organs import CATALOGUE

SMALL_EFFECT = 0.2
"""Share of the standard deviation that counts as small."""

MOST_MARGIN = max(entry.gate_margin or 0.0 for entry in CATALOGUE)
"""The widest margin that is proposed."""

RESAMPLES = 4999
FINEST = 1000
"""What is proposed is rounded down to a thousandth: what is rounded up the cases do not show."""


@dataclass(frozen=True)
class Proposal:
    """What the cases propose of one organ.

    Parameters
    ----------
    cases
        Patients with independent truth in whom the organ is, or was found.
    dsc_target
        DSC that at least nine of ten such patients reach, with confidence 0.9; None: see `missing`.
    interval
        DSC between which that of one in ten lies, each end with confidence 0.9.
    median
        DSC of the middle case.
    gate_margin
        Mean DSC; None where the cases do not differ, or are too few.
    missing
        What is missing, in words; empty where nothing is.
    """

    cases: int
    dsc_target: float | None = None
    interval: tuple[float, float] | None = None
    median: float | None = None
    gate_margin: float | None = None
    missing: str = ""


def propose(dsc: Sequence[float]) -> Proposal:
    """Propose target and margin of one organ.

    Parameters
    ----------
    dsc
        Of the served mask against independent truth, one case a patient, 0..1; 0 where it was missed.

    Returns
    -------
    Proposal
        With fewer cases than `models.bounds.certificate.fewest_certified`, 22, nothing but their number.

    Raises
    ------
    ValueError
        If a value is no DSC.
    """
    values = np.sort(np.asarray(dsc, dtype=np.float64))
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise ValueError("each case has one DSC, 0..1")
    fewest = fewest_certified()
    if values.size < fewest:
        said = f"{values.size} cases with independent truth; {fewest} are the fewest that show anything"
        return Proposal(values.size, missing=said)
    low, high = _interval(values)
    target, margin = _down(low), _margin(values)
    missing = []
    if target <= 0:
        missing.append("one case in ten may be missed altogether: there is no target above 0")
    elif target >= 1:
        missing.append("nine in ten agree to the voxel: there is no target below 1")
    if not margin:
        missing.append("the cases hardly differ: there is no loss that is small beside that")
    return Proposal(
        cases=values.size,
        dsc_target=target if 0 < target < 1 else None,
        interval=(_down(low), -_down(-high)),
        median=_down(float(np.median(values))),
        gate_margin=margin or None,
        missing="; ".join(missing),
    )


def _interval(values: np.ndarray) -> tuple[float, float]:
    """Return the order statistics round the quantile `ALPHA`, each wrong with probability `DELTA` at most."""
    ranks = np.arange(1, values.size + 1)
    lower = ranks[binom.cdf(ranks - 1, values.size, ALPHA) <= DELTA][-1]
    upper = ranks[binom.sf(ranks - 1, values.size, ALPHA) <= DELTA][0]
    return float(values[lower - 1]), float(values[upper - 1])


def _margin(values: np.ndarray) -> float:
    if values[0] == values[-1]:
        return 0.0
    drawn = bootstrap(
        (values,),
        lambda sample, axis: np.std(sample, axis=axis, ddof=1),
        confidence_level=1 - 2 * DELTA,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return min(MOST_MARGIN, _down(SMALL_EFFECT * float(drawn.confidence_interval.low)))


def _down(value: float) -> float:
    return math.floor(value * FINEST + 1e-9) / FINEST
