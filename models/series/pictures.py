"""How unlike the pictures of slices are, and where the way from each to the next is longer than it need be.

Anatomy is continuous: what lies two steps apart differs more than what lies one step apart. So the way from
picture to picture is never much longer than the way that leaves some out, or takes some in reverse.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE = 32
"""A picture is kept as the means of at most so many fields a side."""

LOWEST_HU, HIGHEST_HU = -1000, 1000
"""Pictures are compared between air and bone: padding is air, and metal is bone."""

NOTHING_HU = 1.0
"""Added to a difference by which is divided: in noise alone no picture is unlike another."""

JUMP = 1.25
"""What is out of place begins and ends with steps that are so many times as long as most of those around."""

AROUND = 5
"""Steps on each side with which one is compared."""

MOST_JUMPS = 64
"""So many of the longest are looked at; a series with more of them has no order."""

LONGEST_PART = 2
"""What is out of place is at most the half of a series."""

Pictures = NDArray[np.float32]
"""Axes (slice, field), HU."""


@dataclass(frozen=True)
class Detour:
    """Slices by which the way from picture to picture is longer.

    Parameters
    ----------
    first, last
        The slices, from 0.
    times
        How many times as long the way is as without them, or with them in reverse.
    """

    first: int
    last: int
    times: float


def picture_of(hu: NDArray[Any]) -> NDArray[np.float32]:
    """Return the means of a slice, axes (row, column), HU, over fields of equal size.

    Rows and columns that fill no field are left out.
    """
    rows, columns = hu.shape
    high, wide = max(1, rows // SIDE), max(1, columns // SIDE)
    down, across = rows // high, columns // wide
    ends = hu.dtype.type(LOWEST_HU), hu.dtype.type(HIGHEST_HU)
    kept = np.clip(hu[: down * high, : across * wide], *ends)
    total = np.int32 if np.issubdtype(hu.dtype, np.integer) else np.float64
    lines = kept.reshape(down, high, across * wide).sum(axis=1, dtype=total)
    fields = lines.reshape(down, across, wide).sum(axis=2, dtype=total)
    return np.asarray(fields.ravel() / (high * wide), dtype=np.float32)


def apart(one: Pictures, other: Pictures) -> NDArray[np.float32]:
    """Return how far pictures lie from others, HU: the mean difference of their fields."""
    return np.asarray(np.abs(one - other).mean(axis=-1))


def left_out(pictures: Pictures) -> Iterator[Detour]:
    """Yield for each slice, or slices between two jumps, how much shorter the way is without."""
    steps, twos = apart(pictures[1:], pictures[:-1]), apart(pictures[2:], pictures[:-2])
    for k, times in enumerate((steps[1:] + steps[:-1]) / (twos + NOTHING_HU), 1):
        yield Detour(k, k, float(times))
    for a, b in _pairs(steps):
        if 1 < b - a <= len(pictures) // LONGEST_PART:
            without = apart(pictures[a], pictures[b + 1]) + NOTHING_HU
            yield Detour(a + 1, b, float((steps[a] + steps[b]) / without))


def breaks(pictures: Pictures) -> Iterator[tuple[int, float]]:
    """Yield for each slice but the first how many times as far as usual it lies from the one before."""
    steps = apart(pictures[1:], pictures[:-1])
    for n, (step, usual) in enumerate(zip(steps, _usual(steps), strict=True), 1):
        yield n, float(step / (usual + NOTHING_HU))


def reversed_(pictures: Pictures) -> Iterator[Detour]:
    """Yield for slices between two jumps how much shorter the way is with these in reverse."""
    steps = apart(pictures[1:], pictures[:-1])
    for a, b in _pairs(steps):
        if b > a + 1:
            other = apart(pictures[a], pictures[b]) + apart(pictures[a + 1], pictures[b + 1])
            yield Detour(a + 1, b, float((steps[a] + steps[b]) / (other + NOTHING_HU)))


def _pairs(steps: NDArray[np.float32]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of steps between which slices may be out of place."""
    usual = _usual(steps)
    jumps = np.flatnonzero(steps > JUMP * usual)
    longest = sorted(jumps[np.argsort(-(steps[jumps] - usual[jumps]), kind="stable")[:MOST_JUMPS]].tolist())
    return ((a, b) for n, a in enumerate(longest) for b in longest[n + 1 :])


def _usual(steps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how long the steps around each are."""
    return np.array([np.median(_around(steps, n)) for n in range(len(steps))], dtype=np.float32)


def _around(steps: NDArray[np.float32], n: int) -> NDArray[np.float32]:
    return np.concatenate((steps[max(0, n - AROUND) : n], steps[n + 1 : n + 1 + AROUND]))


def alternation(pictures: Pictures) -> tuple[float, float]:
    """Return how alike what is new in a slice is to what is new in the next, and in the next but one.

    What is new is the difference from the mean of both neighbours. Noise gives -2/3 and 1/6; two passes
    that alternate -1 and 1.
    """
    soft = np.clip(pictures, -200, 300)
    new = soft[1:-1] - (soft[2:] + soft[:-2]) / 2
    size = float((new**2).sum())
    if size < NOTHING_HU**2 * new.size:
        return 0.0, 0.0
    scale = size / len(new)
    return tuple(float((new[n:] * new[:-n]).sum() / (len(new) - n) / scale) for n in (1, 2))  # type: ignore[return-value]
