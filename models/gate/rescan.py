"""The same patient scanned again, as near as one scan tells: half a voxel off, with quantum noise anew.

What the incumbent's DSC does on it is the incumbent's own case noise: a difference no larger says nothing
about a candidate.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.geometry import Geometry
from models.resampling import AIR_HU

RESCANS = 2
"""Times the incumbent is asked again about a case. With one, thresholds are a sixth higher, and where a few
cases are grossly noisy equal models exceed them too often."""

NOISE_HU = 10.0
"""Standard deviation of the noise added, Hounsfield units: what an abdominal CT has at 3 to 5 mm."""


HALF_A_VOXEL = 0.5
"""Of the model grid. Where masks are drawn on the CT's grid they move with it, and it is `A_VOXEL`."""

A_VOXEL = 1.0
"""Of the CT's grid: masks lie on whole voxels, and the grid between the network and the CT moves by less."""


def scan_again(
    hu: NDArray[np.int16] | NDArray[np.float32],
    geometry: Geometry,
    case: str,
    time: int,
    step: float = HALF_A_VOXEL,
) -> tuple[NDArray[np.int16], Geometry]:
    """Return a case as a further scan would show it.

    Parameters
    ----------
    hu, geometry
        The volume, axes (k, j, i), Hounsfield units, and its grid.
    case
        Its identifier; the same case and time are the same voxels.
    time
        1, 2, …: which further scan.
    step
        How far off it is, voxels.

    Returns
    -------
    tuple
        The volume and its grid: a step farther or nearer along each axis, in the same patient space.
    """
    digest = hashlib.sha256(f"{case} {time}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    offset = random.choice((-step, step), size=3)
    moved = ndimage.shift(hu.astype(np.float32), -offset, order=1, mode="nearest")
    noisy = np.rint(moved + random.normal(0, NOISE_HU, hu.shape).astype(np.float32))
    affine = np.array(geometry.affine)
    affine[:3, 3] = geometry.to_lps(offset)
    return np.clip(noisy, AIR_HU, np.iinfo(np.int16).max).astype(np.int16), Geometry(geometry.shape, affine)
