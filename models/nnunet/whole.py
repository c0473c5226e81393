"""One study through a network that nnU-Net planned: from Hounsfield units to labels, all on the CT's grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.geometry import Geometry
from models.nnunet.grid import NetworkGrid, network_grid, network_volume
from models.nnunet.totalsegmentator import CoarseCT, coarse_ct
from models.nnunet.turn import Turn
from models.nnunet.way_back import class_labels, region_masks
from models.nnunet.windows import Logits, blended_logits
from models.recipe import NnunetRecipe


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The logits of one CT.

    Parameters
    ----------
    recipe
        What the network was asked by.
    logits
        Axes (class, k, j, i), float16, on the network's grid.
    grid
        Where that lies: in the CT, or in what TotalSegmentator makes of it.
    coarse
        What it makes of it; None without that wrapping.
    """

    recipe: NnunetRecipe
    logits: NDArray[np.float16]
    grid: NetworkGrid
    coarse: CoarseCT | None

    def masks(self) -> dict[str, NDArray[np.bool_]]:
        """Return where each organ of the recipe is, axes (k, j, i) of the CT."""
        organs = {organ: n for n, organ in enumerate(self.recipe.classes) if organ is not None}
        if self.recipe.rule == "regions":
            masks = enumerate(region_masks(self.logits, self.grid))
            return {name: mask for n, mask in masks if (name := self.recipe.classes[n]) is not None}
        labels = class_labels(self.logits, self.grid)
        if self.coarse is not None:
            labels = self.coarse.to_ct(labels)
        return {organ: labels == number for organ, number in organs.items()}


def evaluate(
    hu: NDArray[np.int16] | NDArray[np.float32],
    ct: Geometry,
    recipe: NnunetRecipe,
    spacing_mm: Sequence[float],
    window: Sequence[int],
    network: Logits,
) -> Evaluated:
    """Ask a network about a CT, as nnU-Net asks it.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i).
    ct
        Their grid.
    recipe
        Which way.
    spacing_mm, window
        Voxels that were planned, millimetres, and how many a window has, both along the network's axes.
    network
        Answers one window with a logit for each class of the recipe.

    Raises
    ------
    InvalidRelease
        As `models.nnunet.windows.blended_logits`.
    """
    coarse = None
    if recipe.wrapping == "totalsegmentator":
        coarse = coarse_ct(hu, ct, recipe.axes, spacing_mm)
        hu, ct = coarse.hu, coarse.geometry
        # As many voxels as there are: nothing is resampled twice.
        spacing_mm = [ct.spacing_mm[axis] for axis in Turn.between(ct, recipe.axes).order]
    grid = network_grid(hu, ct, recipe.axes, spacing_mm)
    volume = network_volume(hu, grid, recipe.intensity)
    logits = blended_logits(volume, window, recipe.step, network, len(recipe.classes), recipe.mirrored)
    return Evaluated(recipe, logits, grid, coarse)
