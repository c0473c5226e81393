"""From a CT to the volume that the network sees: crop, intensity, resampling by shapes.

Edges of the field meet edges: voxel i of n lies at (m / n) (i + 1/2) - 1/2 among the CT's m, so that voxels
are a little larger or smaller than was planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Geometry
from models.masks import Box, bounding_box
from models.nnunet.turn import Turn
from models.recipe import NnunetRecipe

COARSE = 3.0
"""Of the longest and the shortest side of a voxel: over it, the longest is not interpolated along."""

EQUAL = 1e-6
"""Spacings that differ by less are the same: a header's decimals, or a cosine's."""

Shape = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class NetworkGrid:
    """Where the network's volume lies in the CT.

    Parameters
    ----------
    ct
        The CT's grid.
    turn
        To the network's axes.
    box
        What was cut out of the CT, along the network's axes: outside it is nothing but 0 HU.
    shape
        Of the network's volume.
    coarse, coarse_back
        The network's axis along which the nearest slice is taken, on the way there and back; None where there
        is none. They differ only where CT and plan are coarse along different axes.
    """

    ct: Geometry
    turn: Turn
    box: Box
    shape: Shape
    coarse: int | None
    coarse_back: int | None

    @property
    def turned_shape(self) -> Shape:
        """All of the CT's voxels, along the network's axes."""
        return self.turn.geometry(self.ct).shape

    @property
    def cropped(self) -> Shape:
        """The CT's voxels in the box, along the network's axes."""
        k, j, i = (side.stop - side.start for side in self.box)
        return (k, j, i)

    @property
    def geometry(self) -> Geometry:
        """The grid of the network's volume, its axes in the network's order."""
        turned = self.turn.geometry(self.ct)
        ratio = np.divide(self.cropped, self.shape)
        affine = np.array(turned.affine)
        affine[:3, :3] = turned.affine[:3, :3] * ratio
        affine[:3, 3] = turned.to_lps([side.start for side in self.box] + (ratio - 1) / 2)
        return Geometry(self.shape, affine)


def network_grid(hu: NDArray, ct: Geometry, axes: str, spacing_mm: Sequence[float]) -> NetworkGrid:
    """Return where the network's volume of a CT lies.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i).
    ct
        Their grid.
    axes
        As `models.recipe.NnunetRecipe`.
    spacing_mm
        Voxels the network was planned for, along its axes, millimetres.
    """
    turn = Turn.between(ct, axes)
    box = bounding_box(turn.apply(hu) != 0)
    if box is None:  # water everywhere
        k, j, i = (slice(0, n) for n in turn.apply(hu).shape)
        box = (k, j, i)
    own = [ct.spacing_mm[axis] for axis in turn.order]
    sizes = [side.stop - side.start for side in box]
    k_, j_, i_ = (
        max(1, round(n * (has / wants))) for n, has, wants in zip(sizes, own, spacing_mm, strict=True)
    )
    there, back = coarse_axis(own, spacing_mm), coarse_axis(spacing_mm, own)
    return NetworkGrid(ct, turn, box, (k_, j_, i_), there, back)


def coarse_axis(*spacings: Sequence[float]) -> int | None:
    """Return the one axis far longer than the others, of the first spacing that has such voxels, or None.

    Parameters
    ----------
    *spacings
        Millimetres along the network's axes: of what is resampled, then of what it becomes.
    """
    for spacing in spacings:
        if max(spacing) / min(spacing) > COARSE:
            longest = [axis for axis, side in enumerate(spacing) if side > max(spacing) * (1 - EQUAL)]
            return longest[0] if len(longest) == 1 else None
    return None


def network_volume(hu: NDArray, grid: NetworkGrid, recipe: NnunetRecipe) -> NDArray[np.float32]:
    """Return what the network sees of a CT.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i) of the CT, int16 or float32.
    grid
        As of `network_grid`.
    recipe
        Its intensity comes first, so that resampling sees what was clipped.

    Returns
    -------
    ndarray
        float32, on the grid, its axes the network's.
    """
    values = recipe.scaled(grid.turn.apply(hu)[grid.box])
    if values.shape == grid.shape:
        return values
    if grid.coarse is None:
        return zoomed(values, grid.shape)
    return _by_slices(values, grid.shape, grid.coarse)


def _by_slices(values: NDArray[np.float32], shape: Shape, coarse: int) -> NDArray[np.float32]:
    """Resample each slice across the coarse axis by itself, then take the nearest of them."""
    planes = np.moveaxis(values, coarse, 0)
    plane = tuple(n for axis, n in enumerate(shape) if axis != coarse)
    slices = nearest(len(planes), shape[coarse])
    result = np.empty((len(slices), *plane), dtype=np.float32)
    for n, source in enumerate(slices):
        again = n > 0 and source == slices[n - 1]
        result[n] = result[n - 1] if again else zoomed(planes[source], plane)
    return np.ascontiguousarray(np.moveaxis(result, 0, coarse))


def zoomed(values: NDArray[np.float32], shape: Sequence[int]) -> NDArray[np.float32]:
    """Resample by cubic splines, edge to edge, within the range of what is there; float32."""
    if values.shape == tuple(shape):
        return values
    factors = [new / old for new, old in zip(shape, values.shape, strict=True)]
    result = np.empty(tuple(shape), dtype=np.float64)
    ndimage.zoom(values, factors, output=result, order=3, mode="nearest", grid_mode=True)
    return np.clip(result, values.min(), values.max(), out=result).astype(np.float32)


def nearest(size: int, wanted: int) -> NDArray[np.intp]:
    """Return, for each of the wanted slices, which of `size` lies nearest."""
    position = size / wanted * (np.arange(wanted) + 0.5) - 0.5
    return np.floor(np.clip(position, 0, size - 1) + 0.5).astype(np.intp)
