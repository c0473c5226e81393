"""Made CTs and a made network, for what lies round networks that nnU-Net planned.

Everything is arithmetic that has the same bits wherever it is run, so that what the genuine program answered
(`tests/fixtures/nnunet`) can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.geometry import Geometry
from models.nnunet.turn import Turn
from models.recipe import DIRECTIONS, Intensity, NnunetRecipe

CLASSES = 5
INTENSITY = Intensity((-900.5, 800.25), 40.3, 150.7)
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "in": [3], "other": [4], "last": [5]}
"""As dataset.json says them, painted in their order."""


@dataclass(frozen=True)
class Planned:
    """A CT, as the file that is given to nnU-Net has it, and the plan of a network.

    Parameters
    ----------
    shape, spacing_mm
        Of the file's array.
    axes
        Where its axes lead; the network was taught on files like it.
    plan_mm, window
        Voxels and windows, along the network's axes.
    transpose
        The file's axis that each axis of the network is.
    zeros
        Voxels of 0 HU round the CT.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    plan_mm: tuple[float, float, float] = (3, 3, 3)
    window: tuple[int, int, int] = (32, 32, 32)
    transpose: tuple[int, int, int] = (0, 1, 2)
    axes: str = "SAR"
    asked: dict[str, Any] = field(default_factory=dict)
    zeros: int = 0
    fractions: bool = False

    @property
    def recipe(self) -> NnunetRecipe:
        """What the release would say."""
        regions = self.asked.get("rule") == "regions"
        organs = tuple(str(n) for n in range(CLASSES))
        classes = organs if regions else (None, *organs[1:])
        return NnunetRecipe("".join(self.axes[n] for n in self.transpose), INTENSITY, classes, **self.asked)

    def in_file(self) -> NDArray[np.int16] | NDArray[np.float32]:
        """Return the Hounsfield units of the file: smooth, between -1000 and 1000."""
        rng = np.random.default_rng(7)
        coarse = rng.integers(-1000, 1000, [max(3, side // 6) for side in self.shape]).astype(np.float64)
        for axis, side in enumerate(self.shape):
            places = np.linspace(0, coarse.shape[axis] - 1, side)
            below = np.minimum(places.astype(int), coarse.shape[axis] - 2)
            share = np.expand_dims(places - below, tuple({0, 1, 2} - {axis}))
            coarse = coarse.take(below, axis) * (1 - share) + coarse.take(below + 1, axis) * share
        hu = np.rint(coarse * 8) / 8 if self.fractions else np.rint(coarse)
        if self.zeros:
            inside = (slice(self.zeros, -self.zeros),) * 3
            hu, kept = np.zeros_like(hu), hu[inside]
            hu[inside] = kept
        return hu.astype(np.float32 if self.fractions else np.int16)

    def in_ct(self) -> tuple[NDArray[np.int16] | NDArray[np.float32], Geometry, Turn]:
        """Return the same as a CT that runs to head, back and left; and the turn from the file."""
        affine = np.diag([0.0, 0.0, 0.0, 1.0])
        for axis, (letter, side) in enumerate(zip(self.axes, self.spacing_mm, strict=True)):
            along, way = DIRECTIONS[letter]
            affine[along, axis] = way * side
        file = Geometry(self.shape, affine)
        turn = Turn.between(file, "SPL")
        return np.ascontiguousarray(turn.apply(self.in_file())), turn.geometry(file), turn


def answered(window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return logits of a window, float32 (1, 1, k, j, i): of the voxel, its neighbours and its place."""
    x = window[0, 0]
    logits = np.empty((CLASSES, *x.shape), dtype=np.float32)
    for n in range(CLASSES):
        beside = np.roll(x, n + 1, axis=n % 3)
        ramp = np.linspace(0, 1, x.shape[n % 3], dtype=np.float32)
        place = np.expand_dims(ramp, tuple({0, 1, 2} - {n % 3}))
        own, near = np.float32(1.5 - 0.7 * n), np.float32(0.3 + 0.4 * n)
        logits[n] = own * x + near * np.abs(beside) + place - np.float32(0.5 * n)
    return logits


CASES = {
    "voxels as planned": Planned((40, 44, 52), (3, 3, 3)),
    "resampled": Planned((50, 90, 80), (2.5, 1.37, 1.37)),
    "finer than the CT": Planned((60, 40, 44), (1, 2.2, 2.3), (1.5, 1.5, 1.5), (48, 32, 32), axes="SPL"),
    "thick slices": Planned((20, 90, 80), (5, 0.8, 0.8)),
    "thick slices of the plan, transposed": Planned(
        (60, 30, 64), (1, 4.5, 1.1), (5, 1, 1), (16, 32, 32), (1, 0, 2)
    ),
    "thick along different axes": Planned((12, 60, 60), (5, 0.8, 0.8), (1.5, 1.5, 6), (32, 48, 16)),
    "smaller than a window, mirrored": Planned(
        (10, 50, 50), (3, 3, 3), window=(48, 32, 32), axes="IAL", asked={"mirrored": (0, 1, 2)}
    ),
    "zeros round it, longer steps": Planned(
        (50, 60, 70), (2, 2, 2), window=(16, 16, 16), transpose=(2, 1, 0), asked={"step": 0.8}, zeros=5
    ),
    "regions": Planned((50, 60, 50), (2.5, 1.37, 1.37), asked={"rule": "regions"}),
    "regions, fractions of HU": Planned(
        (20, 60, 50),
        (5, 1.37, 1.37),
        transpose=(0, 2, 1),
        axes="LAS",
        asked={"rule": "regions"},
        fractions=True,
    ),
    "TotalSegmentator": Planned(
        (50, 80, 90), (2.5, 1.37, 1.37), asked={"step": 0.8, "wrapping": "totalsegmentator"}
    ),
    "TotalSegmentator, transposed": Planned(
        (30, 80, 90),
        (5, 0.8, 0.8),
        (1.5, 1.5, 1.5),
        transpose=(2, 0, 1),
        asked={"step": 0.8, "wrapping": "totalsegmentator"},
    ),
}
