"""How unlike the pictures of slices are, and where the way from each to the next is longer than it need be.

Anatomy is continuous: what lies two steps apart differs more than what lies one step apart. So the way from
picture to picture is never much longer than the way that leaves some out, takes some in reverse, or turns
some over.
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

REVERSED_ENDS = range(3, 6)
"""So many slices at either end are looked at in reverse: their way begins or ends with one jump alone."""

LONGEST_PART = 2
"""What is out of place is at most the half of a series."""

Pictures = NDArray[np.float32]
"""Axes (slice, down, across), HU."""

TURNED = (np.s_[..., ::-1, :], np.s_[..., ::-1], np.s_[..., ::-1, ::-1])
"""How a picture is turned over: upside down, mirrored, both."""


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


@dataclass(frozen=True)
class Step:
    """The way from a slice to the next.

    Parameters
    ----------
    to
        The slice that it leads to, from 0.
    times
        How many times as long it is as most of those around.
    over
        How many times as long it is as the longer of the ways that begin before it or end behind it.
    turned
        How many times as long it is as if all from here on were turned over.
    """

    to: int
    times: float
    over: float
    turned: float


def picture_of(hu: NDArray[Any]) -> NDArray[np.float32]:
    """Return the means of a slice, axes (row, column), HU, over fields of equal size, axes (down, across).

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
    return np.asarray(fields / (high * wide), dtype=np.float32)


def apart(one: Pictures, other: Pictures) -> NDArray[np.float32]:
    """Return how far pictures lie from others, HU: the mean difference of their fields."""
    return np.asarray(np.abs(one - other).mean(axis=(-2, -1)))


def left_out(pictures: Pictures) -> Iterator[Detour]:
    """Yield for each slice, or slices between two jumps, how much shorter the way is without."""
    steps, twos = apart(pictures[1:], pictures[:-1]), apart(pictures[2:], pictures[:-2])
    for k, times in enumerate((steps[1:] + steps[:-1]) / (twos + NOTHING_HU), 1):
        yield Detour(k, k, float(times))
    for a, b in _pairs(steps):
        if 1 < b - a <= len(pictures) // LONGEST_PART:
            without = apart(pictures[a], pictures[b + 1]) + NOTHING_HU
            yield Detour(a + 1, b, float((steps[a] + steps[b]) / without))


def steps_of(pictures: Pictures) -> Iterator[Step]:
    """Yield the step to each slice but the first."""
    steps, twos = apart(pictures[1:], pictures[:-1]), apart(pictures[2:], pictures[:-2])
    times = steps / (_usual(steps) + NOTHING_HU)
    over = steps / (np.maximum(np.append(twos, 0), np.insert(twos, 0, 0)) + NOTHING_HU)
    turned = np.min([apart(pictures[1:][way], pictures[:-1]) for way in TURNED], axis=0)
    turned = steps / (turned + NOTHING_HU)
    for n, measured in enumerate(zip(times.tolist(), over.tolist(), turned.tolist(), strict=True), 1):
        yield Step(n, *measured)


def reversed_(pictures: Pictures) -> Iterator[Detour]:
    """Yield how much shorter the way is with some in reverse.

    Looked at are neighbours, a few slices at either end, and those between two jumps.
    """
    count, steps = len(pictures), apart(pictures[1:], pictures[:-1])
    some = [(k, k + 1) for k in range(count - 1)]
    some += [(0, n - 1) for n in REVERSED_ENDS] + [(count - n, count - 1) for n in REVERSED_ENDS]
    some += [(a + 1, b) for a, b in _pairs(steps) if b > a + 2]
    for first, last in some:
        way, other = 0.0, NOTHING_HU
        if first > 0:
            way, other = float(steps[first - 1]), other + float(apart(pictures[first - 1], pictures[last]))
        if last < count - 1:
            way, other = way + float(steps[last]), other + float(apart(pictures[first], pictures[last + 1]))
        yield Detour(first, last, way / other)


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
    soft = np.clip(pictures.reshape(len(pictures), -1), -200, 300)
    new = soft[1:-1] - (soft[2:] + soft[:-2]) / 2
    size = float((new**2).sum())
    if size < NOTHING_HU**2 * new.size:
        return 0.0, 0.0
    scale = size / len(new)
    return tuple(float((new[n:] * new[:-n]).sum() / (len(new) - n) / scale) for n in (1, 2))  # type: ignore[return-value]
