"""The surface of a mask: its voxels with a face neighbour outside the mask or the volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree

from models.masks import BoxedMask


def surface_voxels(mask: BoxedMask) -> NDArray[np.intp]:
    """Return the (k, j, i) indices of the surface of a mask, shape (n, 3)."""
    inside = mask.inside
    return np.argwhere(inside & ~binary_erosion(inside)) + [side.start for side in mask.box]


def nearest_mm(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each of some points, shape (n, 3), is from the nearest of the others.

    A tree of points is as exact as a distance transform and does not grow with the box round them.
    """
    distance: NDArray[np.float64] = cKDTree(others).query(points)[0]
    return distance
