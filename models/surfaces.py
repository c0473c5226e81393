"""The surface of a mask: its voxels with a face neighbour outside the mask or the volume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from scipy.spatial import cKDTree


def surface_voxels(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Return the (k, j, i) indices of the surface of a mask that is not empty, shape (n, 3)."""
    corner = np.array([np.flatnonzero(mask.any(axis=other))[[0, -1]] for other in ((1, 2), (0, 2), (0, 1))])
    box = mask[tuple(slice(low, high + 1) for low, high in corner)]
    return np.argwhere(box & ~binary_erosion(box)) + corner[:, 0]


def nearest_mm(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each of some points, shape (n, 3), is from the nearest of the others.

    A tree of points is as exact as a distance transform and does not grow with the box round them.
    """
    distance: NDArray[np.float64] = cKDTree(others).query(points)[0]
    return distance
