"""A rescale that is wrong in some slices of a series, told by the values on both sides of its change."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import Refused
from models.series.slice_facts import SliceFacts
from models.series.verdict import Code

AIR_HU, METAL_HU = -1024.0, 3071.0
"""Differences are taken within the plain CT scale; its lower end may be padding and is not compared."""

JUMP_HU = 50.0
"""Neighbours that differ by less on average pass: those of real series mostly do."""

JUMP_RATIO = 3.0
"""By this factor the neighbours must be more alike under one rescale for both than under their own."""

FEWEST_COMPARED = 0.01
"""The least part of a slice that must be left to compare."""


class RescaleJumps:
    """Compares each slice with the one before it, where the rescale changes between them.

    A rescale of its own for every slice is what the standard allows (PS3.3 C.11.1), and scanners use it.
    Rightly so, neighbours agree in HU and not in their stored values. Where it is the stored values that
    agree, and the HU that jump, one of the two rescales is not the slice's own.
    """

    def __init__(self) -> None:
        self._before: tuple[SliceFacts, NDArray[Any]] | None = None
        self._seen = 0

    def add(self, s: SliceFacts, hu: NDArray[Any]) -> None:
        """Compare a slice, axes (row, column), HU, with the one before; slices come in k order.

        The array must not change until the next one was added.

        Raises
        ------
        Refused
            `bad-rescale` if the mean difference is over `JUMP_HU` and `JUMP_RATIO` times what it is with
            one rescale for both.
        """
        before, self._before = self._before, (s, hu)
        self._seen += 1
        if before is None or _rescale(before[0]) == _rescale(s):
            return
        (slope, intercept), (own_slope, own_intercept) = _rescale(before[0]), _rescale(s)
        kept = (before[1] > AIR_HU) & (hu > AIR_HU)
        if np.count_nonzero(kept) < FEWEST_COMPARED * hu.size:
            return
        first, second = before[1][kept].astype(np.float64), hu[kept].astype(np.float64)
        alike = (second - own_intercept) / own_slope * slope + intercept
        jump, under_one = _difference(first, second), _difference(first, alike)
        if jump <= JUMP_HU or jump <= JUMP_RATIO * under_one:
            return
        raise Refused(
            Code.BAD_RESCALE,
            f"Between slices {self._seen - 1} and {self._seen} the rescale changes (slope {slope:g} to "
            f"{own_slope:g}, intercept {intercept:g} to {own_intercept:g}) and values differ by {jump:.0f} "
            f"HU on average; with one rescale for both it would be {under_one:.0f} HU, so one of the two is "
            "wrong.",
            {
                "between_slices": [self._seen - 1, self._seen],
                "between_instances": [before[0].sop_instance_uid, s.sop_instance_uid],
                "difference_hu": round(jump, 1),
                "difference_with_one_rescale_hu": round(under_one, 1),
            },
        )


def _rescale(s: SliceFacts) -> tuple[float, float]:
    return s.slope or 0.0, s.intercept or 0.0


def _difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return the mean difference of two sets of values, HU, each within the plain CT scale."""
    return float(np.abs(np.clip(a, AIR_HU, METAL_HU) - np.clip(b, AIR_HU, METAL_HU)).mean())
