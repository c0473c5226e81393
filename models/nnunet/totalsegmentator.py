"""What TotalSegmentator does round nnU-Net: voxels of its own, and labels from them to the nearest.

Centres of the outer voxels meet: voxel i of n lies at i (m - 1) / (n - 1) among the CT's m. Hounsfield
units lose their fraction, labels are decided on the coarse voxels and are not smoothed on the way back.

Source: Wasserthal et al., "TotalSegmentator", Radiology: AI 5 (2023) e230024; the behaviour of 2.18.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Geometry
from models.nnunet.grid import EQUAL
from models.nnunet.turn import Turn
from models.recipe import DIRECTIONS

AXES = "RAS"
"""Where the axes of its arrays lead."""


@dataclass(frozen=True, eq=False)
class CoarseCT:
    """A CT as TotalSegmentator gives it to nnU-Net.

    Parameters
    ----------
    hu
        Whole Hounsfield units, float32, axes `AXES`.
    geometry
        Their grid.
    ct
        The CT's grid.
    turn
        From the CT's axes to its own.
    """

    hu: NDArray[np.float32]
    geometry: Geometry
    ct: Geometry
    turn: Turn

    def to_ct(self, labels: NDArray) -> NDArray:
        """Return the labels of the nearest coarse voxels: axes `AXES` in, those of the CT out."""
        wanted = [self.ct.shape[axis] for axis in self.turn.order]
        for axis, (size, count) in enumerate(zip(labels.shape, wanted, strict=True)):
            position = np.arange(count) * ((size - 1) / (count - 1) if count > 1 else 0.0)
            labels = labels.take(np.floor(position + 0.5).astype(np.intp), axis)
        return self.turn.undo(labels)


def coarse_ct(hu: NDArray, ct: Geometry, axes: str, spacing_mm: Sequence[float]) -> CoarseCT:
    """Return what TotalSegmentator makes of a CT.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i).
    ct
        Their grid.
    axes, spacing_mm
        Of the network, as `models.nnunet.grid.network_grid`.
    """
    turn = Turn.between(ct, AXES)
    turned, grid = turn.apply(hu), turn.geometry(ct)
    planned = {DIRECTIONS[letter][0]: side for letter, side in zip(axes, spacing_mm, strict=True)}
    factors = [side / planned[axis] for axis, side in enumerate(grid.spacing_mm)]
    if np.allclose(factors, 1, rtol=EQUAL, atol=0):
        return CoarseCT(turned.astype(np.float32), grid, ct, turn)
    shape = tuple(max(1, round(n * factor)) for n, factor in zip(turned.shape, factors, strict=True))
    values = np.empty(shape, dtype=np.float64)
    ndimage.zoom(turned, factors, output=values, order=3, mode="nearest")
    affine = np.array(grid.affine)
    steps = [(m - 1) / (n - 1) if n > 1 else 1.0 for m, n in zip(turned.shape, shape, strict=True)]
    affine[:3, :3] = grid.affine[:3, :3] * steps
    coarse = Geometry((shape[0], shape[1], shape[2]), affine)
    return CoarseCT(np.trunc(values).astype(np.float32), coarse, ct, turn)
