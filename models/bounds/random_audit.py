"""The random audit: a few studies are for review whatever their flags say.

Bounds are only known to hold on for studies that somebody looked at without being told to. The draw is by
study, before anything is known of it, and by a keyed hash: nobody can guess it, and it repeats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import betainc, betaln
from scipy.stats import beta

INTERVAL = 0.9
"""Probability with which the interval of a coverage holds the truth, looked at once."""

FALSE_ALARM = 0.05
"""Probability with which any bound that holds is ever called broken, however often it is looked at."""


def drawn(pseudonym: str, share: float) -> bool:
    """Tell whether a study is drawn.

    Parameters
    ----------
    pseudonym
        HMAC of its Study Instance UID under the site's key, hexadecimal, 16 digits or more.
    share
        Fraction of studies to draw, 0..1.
    """
    return int(pseudonym[:16], 16) < share * 2**64


@dataclass(frozen=True)
class Coverage:
    """How often a bound held where somebody looked.

    Parameters
    ----------
    held, looked_at
        Organs whose DSC was at least the bound, of those looked at.
    low, high
        Clopper-Pearson interval of the probability that the bound holds, two-sided, `INTERVAL`.
    promised
        Probability with which it should.
    broken
        Whether the bound is shown to hold less often than promised.
    """

    held: int
    looked_at: int
    low: float
    high: float
    promised: float
    broken: bool


def coverage(held: int, looked_at: int, promised: float, bounds: int = 1) -> Coverage:
    """Return the coverage with its interval; with nothing looked at it says nothing: 0 to 1.

    Parameters
    ----------
    held, looked_at, promised
        As of `Coverage`.
    bounds
        How many bounds are looked at side by side; `FALSE_ALARM` is shared by them (Bonferroni).

    Notes
    -----
    Source of the interval: Clopper and Pearson 1934, Biometrika 26:404. It holds for one look; every
    night is one more, so that it is not what decides (see `evidence`).
    """
    tail, missed = (1 - INTERVAL) / 2, looked_at - held
    low = float(beta.ppf(tail, held, missed + 1)) if held else 0.0
    high = float(beta.ppf(1 - tail, held + 1, missed)) if missed else 1.0
    broken = evidence(held, looked_at, promised) >= math.log(bounds / FALSE_ALARM)
    return Coverage(held, looked_at, low, high, promised, broken)


def evidence(held: int, looked_at: int, promised: float) -> float:
    """Return the logarithm of the evidence that a bound holds less often than promised.

    The likelihood under coverages below what is promised, averaged evenly over them, over that under what
    is promised. If the bound holds, its expectation is at most 1 after every case, and with probability
    1 - a it never once reaches 1 / a.

    Notes
    -----
    Source: Ville 1939; Robbins 1970, Annals of Mathematical Statistics 41:1397.
    """
    missed = looked_at - held
    below = math.log(betainc(held + 1, missed + 1, promised)) + float(betaln(held + 1, missed + 1))
    return below - math.log(promised) - held * math.log(promised) - missed * math.log1p(-promised)
