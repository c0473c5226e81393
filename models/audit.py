"""The random audit: a few studies are for review whatever their flags say.

Bounds are only known to hold on for studies that somebody looked at without being told to. The draw is by
study, before anything is known of it, and by a keyed hash: nobody can guess it, and it repeats.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import beta

INTERVAL = 0.9
"""Probability with which the interval of a coverage holds the truth."""


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
    """

    held: int
    looked_at: int
    low: float
    high: float
    promised: float

    @property
    def broken(self) -> bool:
        """Whether the bound is shown to hold less often than promised."""
        return self.high < self.promised


def coverage(held: int, looked_at: int, promised: float) -> Coverage:
    """Return the coverage with its interval; with nothing looked at it says nothing: 0 to 1.

    Notes
    -----
    Source: Clopper and Pearson 1934, Biometrika 26:404.
    """
    tail, missed = (1 - INTERVAL) / 2, looked_at - held
    low = float(beta.ppf(tail, held, missed + 1)) if held else 0.0
    high = float(beta.ppf(1 - tail, held + 1, missed)) if missed else 1.0
    return Coverage(held, looked_at, low, high, promised)
