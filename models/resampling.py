"""From the CT grid to the model grid and back: trilinear, in patient space, from any affine.

A grid whose axes are those of the other, permuted or reversed, is resampled one axis at a time: three
small matrices instead of eight neighbours per voxel. An oblique or sheared grid (tilted gantry) takes
the general way. Both agree; both take a voxel to reach half a voxel beyond its centre and no farther.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Geometry
from models.masks import Box, bounding_box
from models.volume import Volume

AIR_HU = -1024
"""Hounsfield units given to what was not scanned; darker padding is raised to it."""

NEGLIGIBLE_PROBABILITY = 0.02
"""Outside the box of all voxels above this, an organ's field counts as zero and is not resampled."""

SEPARABLE_VOXELS = 0.02
"""Two grids share their axes when ignoring the cross terms moves no voxel farther than this."""


def model_grid(ct: Geometry, spacing_mm: Sequence[float]) -> Geometry:
    """Return the canonical grid that covers a CT.

    Parameters
    ----------
    ct
        Geometry of the CT, any orientation, oblique or sheared.
    spacing_mm
        Voxel size along (k, j, i) of the model grid, millimetres.

    Returns
    -------
    Geometry
        k to the head, j to posterior, i to the left; the affine is diagonal and positive apart from
        the axes' order. It starts at the lowest corner of the box round all CT voxel centres and is
        the smallest that contains the box.
    """
    low, high = ct.corners_lps().min(axis=0), ct.corners_lps().max(axis=0)
    step = np.array([spacing_mm[2], spacing_mm[1], spacing_mm[0]], dtype=np.float64)  # x, y, z
    count = np.ceil((high - low) / step - 1e-6).astype(int) + 1
    affine = np.zeros((4, 4))
    affine[0, 2], affine[1, 1], affine[2, 0], affine[3, 3] = *step, 1.0
    affine[:3, 3] = low
    return Geometry((int(count[2]), int(count[1]), int(count[0])), affine)


def to_model_grid(volume: Volume, spacing_mm: Sequence[float], antialias: bool = True) -> Volume:
    """Resample a CT onto the canonical grid that covers it.

    Parameters
    ----------
    volume
        The CT, Hounsfield units, any affine.
    spacing_mm
        Voxel size along (k, j, i) of the model grid, millimetres.
    antialias
        Whether the CT is averaged along axes where it is finer than the model grid, not merely sampled.

    Returns
    -------
    Volume
        int16 Hounsfield units on `model_grid`; `AIR_HU` where nothing was scanned.
    """
    return on_grid(volume, model_grid(volume.geometry, spacing_mm), antialias)


def on_grid(volume: Volume, target: Geometry, antialias: bool = True) -> Volume:
    """Resample a CT onto any grid; parameters and what is returned as `to_model_grid`."""
    # A scanner's padding must not bleed into the patient.
    resampled = resample(volume.hu, volume.geometry, target, AIR_HU, antialias, lowest=AIR_HU)
    np.clip(np.rint(resampled, out=resampled), AIR_HU, np.iinfo(np.int16).max, out=resampled)
    return Volume(resampled.astype(np.int16), target)


def patch_on_ct(field: NDArray, model: Geometry, ct: Geometry) -> tuple[NDArray[np.float32], Box]:
    """Interpolate one organ's field on the part of the CT grid where it is not negligible.

    Parameters
    ----------
    field
        Axes (k, j, i) on the model grid; not negative.
    model, ct
        The two geometries.

    Returns
    -------
    patch : ndarray
        float32 on the box; empty (a side of length 0) where the field is negligible everywhere, or no voxel
        of the CT lies where it is not: slices may be farther apart than the voxels of the model grid.
    box : Box
        Where the patch lies in the CT grid.
    """
    occupied = bounding_box(field > NEGLIGIBLE_PROBABILITY, margin=1)
    if occupied is None:
        return np.zeros((0, 0, 0), dtype=np.float32), (slice(0, 0), slice(0, 0), slice(0, 0))
    source = subgrid(model, occupied)
    box = _covering_box(source, ct)
    shape = tuple(side.stop - side.start for side in box)
    if 0 in shape:
        return np.zeros(shape, dtype=np.float32), box
    return resample(field[occupied], source, subgrid(ct, box), outside=0.0, antialias=False), box


def subgrid(geometry: Geometry, box: Box) -> Geometry:
    """Return the geometry of a box cut out of a grid."""
    affine = np.array(geometry.affine)
    affine[:3, 3] = geometry.to_lps([side.start for side in box])
    k, j, i = (side.stop - side.start for side in box)
    return Geometry((k, j, i), affine)


def resample(
    array: NDArray,
    source: Geometry,
    target: Geometry,
    outside: float,
    antialias: bool = True,
    lowest: float | None = None,
) -> NDArray[np.float32]:
    """Interpolate trilinearly from one grid to another.

    Parameters
    ----------
    array
        Axes (k, j, i) on the source grid, any real type; a boolean mask gives the covered fraction.
    source, target
        The two geometries.
    outside
        Value beyond half a source voxel from the outermost source voxels.
    antialias
        Whether to average where the source is finer than the target.
    lowest
        What lies below counts as this; None: nothing does.

    Returns
    -------
    ndarray
        float32 on the target grid.
    """
    # Fractional source index = matrix @ target index + offset.
    relation = np.linalg.inv(source.affine) @ target.affine
    matrix, offset = relation[:3, :3], relation[:3, 3]
    steps = _target_steps(source, target) if antialias else np.ones(3)
    order = np.abs(matrix).argmax(axis=1)  # the target axis along which each source axis runs
    cross = np.abs(matrix) * (np.array(target.shape) - 1)
    cross[np.arange(3), order] = 0.0
    if len(set(order.tolist())) == 3 and cross.sum(axis=1).max() <= SEPARABLE_VOXELS:
        return _separable(array, target.shape, matrix, offset, order, steps, outside, lowest)
    return _general(_floats(array, lowest), target.shape, matrix, offset, steps, outside)


def _floats(array: NDArray, lowest: float | None) -> NDArray[np.float32]:
    """Return a copy as float32; what lies below the lowest counts as that."""
    values: NDArray[np.float32] = array.astype(np.float32)
    return values if lowest is None else np.maximum(values, np.float32(lowest), out=values)


def _covering_box(part: Geometry, grid: Geometry) -> Box:
    """Box of grid voxels whose centres can lie in the part."""
    index = grid.to_index(part.corners_lps())
    low = np.clip(np.ceil(index.min(axis=0) - 1e-6), 0, grid.shape).astype(int)
    high = np.clip(np.floor(index.max(axis=0) + 1e-6) + 1, 0, grid.shape).astype(int)
    k, j, i = (slice(int(a), max(int(a), int(b))) for a, b in zip(low, high, strict=True))
    return (k, j, i)


def _target_steps(source: Geometry, target: Geometry) -> NDArray[np.float64]:
    """Source voxels per target step along each source axis, at least 1."""
    directions = source.affine[:3, :3]  # one source voxel along each axis, mm
    in_target = np.linalg.norm(np.linalg.inv(target.affine[:3, :3]) @ directions, axis=0)
    return np.maximum(1.0, 1.0 / in_target)


def _separable(
    array: NDArray,
    shape: tuple[int, int, int],
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    order: NDArray[np.intp],
    steps: NDArray[np.float64],
    outside: float,
    lowest: float | None,
) -> NDArray[np.float32]:
    """One interpolation matrix per axis."""
    weights: list[NDArray[np.float32]] = []
    beyond: list[NDArray[np.bool_]] = []
    of_target = np.argsort(order)  # the source axis that runs along each target axis
    centre = (np.array(shape) - 1) / 2
    for axis, source_axis in enumerate(of_target):
        at_centre = matrix[source_axis] @ centre + offset[source_axis]  # shares the cross terms out evenly
        position = at_centre + matrix[source_axis, axis] * (np.arange(shape[axis]) - centre[axis])
        count = array.shape[source_axis]
        beyond.append((position < -0.5 - 1e-6) | (position > count - 0.5 + 1e-6))
        weights.append(_axis_weights(position, count, steps[source_axis]))
    along = array.transpose(of_target)
    wk, wj, wi = weights
    if shape[1] * shape[2] < along.shape[1] * along.shape[2]:  # the cheaper order first
        planes = np.empty((along.shape[0], *shape[1:]), dtype=np.float32)
        for k, plane in enumerate(along):
            planes[k] = wj @ _floats(plane, lowest) @ wi.T
        result = (wk @ planes.reshape(len(planes), -1)).reshape(shape)
    else:
        flat = _floats(along, lowest).reshape(along.shape[0], -1)
        planes = (wk @ flat).reshape(shape[0], *along.shape[1:])
        result = np.empty(shape, dtype=np.float32)
        for k, plane in enumerate(planes):
            result[k] = wj @ plane @ wi.T
    result[beyond[0]] = outside
    result[:, beyond[1]] = outside
    result[:, :, beyond[2]] = outside
    return result


def _axis_weights(position: NDArray[np.float64], count: int, step: float) -> NDArray[np.float32]:
    """Linear interpolation at each position, after smoothing, as one (position, source voxel) matrix."""
    inside = np.clip(position, 0, count - 1)
    linear = np.maximum(0.0, 1.0 - np.abs(inside[:, None] - np.arange(count)))
    smooth = np.eye(count)
    _smooth(smooth, 0, step)
    return (linear @ smooth).astype(np.float32)


def _smooth(array: NDArray, axis: int, step: float) -> None:
    """Smooth in place: a Gaussian that, with linear interpolation's 1/6, varies as a triangle `step` wide."""
    if step > 1.0:
        sigma = math.sqrt((step**2 - 1.0) / 6.0)
        ndimage.gaussian_filter1d(array, sigma, axis, output=array, mode="nearest")


def _general(
    smooth: NDArray[np.float32],
    shape: tuple[int, int, int],
    matrix: NDArray[np.float64],
    offset: NDArray[np.float64],
    steps: NDArray[np.float64],
    outside: float,
) -> NDArray[np.float32]:
    """Eight neighbours per voxel, one target slice at a time; the array is smoothed in place."""
    for axis, step in enumerate(steps):
        _smooth(smooth, axis, float(step))
    result = np.empty(shape, dtype=np.float32)
    last = np.array(smooth.shape, dtype=np.float64)[:, None, None] - 1
    in_plane = np.tensordot(matrix[:, 1:], np.indices(shape[1:], dtype=np.float64), axes=1)
    for k in range(shape[0]):
        index = in_plane + (matrix[:, 0] * k + offset)[:, None, None]
        ndimage.map_coordinates(smooth, index, output=result[k], order=1, mode="nearest")
        result[k][((index < -0.5) | (index > last + 0.5)).any(axis=0)] = outside
    return result
