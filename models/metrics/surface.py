"""How far two surfaces are apart: normalised surface distance and the 95th percentile.

Source: Nikolov et al. 2021 (surface DSC at a tolerance); Huttenlocher et al. 1993 (Hausdorff). Surfaces
are the voxels with a face outside the mask, all weighted alike; other tools weight by area and differ.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.masks import BoxedMask, bounding_box
from models.surfaces import nearest_mm, surface_voxels


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
    surfaces = (surface_voxels(BoxedMask.of(mask[box])) for mask in (prediction, truth))
    ours, theirs = (surface * np.asarray(spacing_mm) for surface in surfaces)
    there, back = nearest_mm(ours, theirs), nearest_mm(theirs, ours)
    within = int(np.count_nonzero(there <= tolerance_mm)) + int(np.count_nonzero(back <= tolerance_mm))
    return SurfaceAgreement(
        nsd=within / (there.size + back.size),
        hd95_mm=float(max(np.percentile(there, 95), np.percentile(back, 95))),
    )
