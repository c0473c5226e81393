"""Which voxels are the patient: the largest part above air, with and without what it encloses."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.errors import Refused

BODY_HU = -300
"""Above this a voxel is tissue: fat is -120 to -80, lung mostly below -500."""


COUNTED_AT_ONCE = 2**22
"""Voxels: numpy makes 8 bytes of each that it counts."""


def region_sizes(regions: NDArray[np.int32], count: int) -> NDArray[np.int64]:
    """Return how many voxels each of some labelled regions has, shape (count + 1,); the rest is first."""
    sizes = np.zeros(count + 1, dtype=np.int64)
    flat = regions.ravel()
    for first in range(0, flat.size, COUNTED_AT_ONCE):
        sizes += np.bincount(flat[first : first + COUNTED_AT_ONCE], minlength=count + 1)
    return sizes


def body_mask(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the body: the largest region of tissue connected by faces.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i).

    Returns
    -------
    ndarray
        Axes (k, j, i), bool. Air inside the body (lung, bowel gas) is not part of it; a table that
        does not touch the skin is not either.

    Raises
    ------
    Refused
        `no-body` if no voxel is above `BODY_HU`.
    """
    regions, count = ndimage.label(hu > BODY_HU)
    if count == 0:
        raise Refused("no-body", f"no voxel is above {BODY_HU} HU", {"max_hu": int(hu.max())})
    sizes = region_sizes(regions, count)
    sizes[0] = 0
    return regions == sizes.argmax()


def filled_body(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return the body with the air it encloses in each slice: lungs, stomach, bowel.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i).

    Returns
    -------
    ndarray
        Axes (k, j, i), bool.

    Raises
    ------
    Refused
        `no-body` if the volume holds nothing but air.
    """
    return np.stack([ndimage.binary_fill_holes(plane) for plane in body_mask(hu)])
