"""How far two surfaces are apart: normalised surface distance and the 95th percentile.

Source: Nikolov et al. 2021 (surface DSC at a tolerance); Huttenlocher et al. 1993 (Hausdorff). Surfaces
are the voxels with a face outside the mask, all weighted alike; other tools weight by area and differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from models.resampling import bounding_box


@dataclass(frozen=True)
class SurfaceAgreement:
    """Distance between two surfaces.

    Parameters
    ----------
    nsd
        Fraction of both surfaces within the tolerance of the other, 0..1.
    hd95_mm
        Larger of the two directed 95th percentiles, millimetres.
    """

    nsd: float
    hd95_mm: float


def surface_agreement(
    prediction: NDArray[np.bool_],
    truth: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    tolerance_mm: float,
) -> SurfaceAgreement | None:
    """Compare the surfaces of two masks.

    Parameters
    ----------
    prediction, truth
        Masks on one grid, axes (k, j, i), bool.
    spacing_mm
        Voxel size along (k, j, i), millimetres, axes orthogonal.
    tolerance_mm
        Distance that still counts as agreement.

    Returns
    -------
    SurfaceAgreement or None
        None when both masks are empty. With one empty, the worst there is: 0 and the grid's diagonal.
    """
    box = bounding_box(prediction | truth, margin=1)
    if box is None:
        return None
    if not prediction.any() or not truth.any():
        diagonal = float(np.linalg.norm(np.multiply(prediction.shape, spacing_mm)))
        return SurfaceAgreement(0.0, diagonal)
    ours, theirs = _points(prediction[box], spacing_mm), _points(truth[box], spacing_mm)
    # A tree of points is as exact as a distance transform and does not grow with the box round them.
    there, back = cKDTree(theirs).query(ours)[0], cKDTree(ours).query(theirs)[0]
    within = int(np.count_nonzero(there <= tolerance_mm)) + int(np.count_nonzero(back <= tolerance_mm))
    return SurfaceAgreement(
        nsd=within / (there.size + back.size),
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )


def _points(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the millimetres, shape (n, 3), of the voxels on a mask's surface."""
    return np.argwhere(_surface(mask)) * np.asarray(spacing_mm)


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return mask & ~ndimage.binary_erosion(mask)
