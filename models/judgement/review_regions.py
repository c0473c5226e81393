"""The places a reader should look at: connected regions of absolute uncertainty, worst first.

Thresholds are absolute, so that a confident study has no region. Regions are found on the model grid,
where the uncertainty lives, and given on the CT grid, where the reader looks. The shell one or two
voxels thick that surrounds any organ is no region: it is opened away.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.bounds.uncertainty import voxel_error
from models.findings import ReviewRegion
from models.geometry import Geometry
from models.masks import Box, BoxedMask, bounding_box
from models.resampling import patch_on_ct

UNCERTAIN_PROBABILITY = (0.2, 0.8)
"""Between these a voxel is uncertain: its entropy is above 0.5 nats, of at most 0.69."""

UNCERTAIN_DISAGREEMENT = 0.1
"""Standard deviation over windows or members above which a voxel is uncertain (Qu et al. 2023, arXiv
2305.09666)."""

REGIONS_PER_ORGAN = 3
REGIONS_PER_STUDY = 10


def organ_regions(
    organ: str,
    probability: NDArray[np.float32],
    disagreement: NDArray[np.float16],
    mask: NDArray[np.bool_],
    model: Geometry,
    ct: Geometry,
) -> list[ReviewRegion]:
    """Find the regions of one organ with the largest expected error.

    Parameters
    ----------
    organ
        Key in the catalogue.
    probability
        Axes (k, j, i) on the model grid, calibrated (`models.bounds.reliability`): 0..1.
    disagreement
        Same axes: of windows or members (`models.inference.segmentation.Segmentation`), the greater.
    mask
        Same axes: the voxels served as organ.
    model, ct
        The two geometries.

    Returns
    -------
    list of ReviewRegion
        At most `REGIONS_PER_ORGAN`, largest expected error first, ranked within the organ. A region
        so thin that it holds no voxel of the CT is left out.
    """
    low, high = UNCERTAIN_PROBABILITY
    uncertain = ((probability > low) & (probability < high)) | (disagreement > UNCERTAIN_DISAGREEMENT)
    box = bounding_box(uncertain)
    if box is None:
        return []
    labels, count = ndimage.label(ndimage.binary_opening(uncertain[box]), structure=np.ones((3, 3, 3)))
    if count == 0:
        return []
    inside = labels > 0
    p = probability[box][inside]
    error = voxel_error(p, mask[box][inside])
    expected_ml = np.bincount(labels[inside], weights=error)[1:] * model.voxel_ml
    regions: list[ReviewRegion] = []
    for label in np.argsort(-expected_ml, kind="stable") + 1:
        if len(regions) == REGIONS_PER_ORGAN:
            break
        region = _on_ct(labels == label, box, model, ct)
        if region is not None:
            regions.append(_review(organ, len(regions) + 1, *region, float(expected_ml[label - 1]), ct))
    return regions


def rank_regions(regions: Iterable[ReviewRegion]) -> tuple[ReviewRegion, ...]:
    """Return the study's regions, largest expected error first, ranked, at most `REGIONS_PER_STUDY`."""
    worst_first = sorted(regions, key=lambda region: -region.expected_error_ml)[:REGIONS_PER_STUDY]
    return tuple(replace(region, rank=rank) for rank, region in enumerate(worst_first, start=1))


def _on_ct(
    region: NDArray[np.bool_], box: Box, model: Geometry, ct: Geometry
) -> tuple[NDArray[np.bool_], Box] | None:
    whole = np.zeros(model.shape, dtype=bool)
    whole[box] = region
    covered, patch_box = patch_on_ct(whole, model, ct)
    patch = covered >= 0.5
    return (patch, patch_box) if patch.any() else None


def _review(
    organ: str, rank: int, patch: NDArray[np.bool_], box: Box, expected_ml: float, ct: Geometry
) -> ReviewRegion:
    mask = BoxedMask.part(patch, box, ct.shape)
    x, y, z = ct.to_lps(mask.centre()).tolist()
    return ReviewRegion(
        organ=organ,
        rank=rank,
        mask=mask,
        centre_lps_mm=(x, y, z),
        slices=(mask.box[0].start, mask.box[0].stop - 1),
        volume_ml=mask.voxels * ct.voxel_ml,
        expected_error_ml=expected_ml,
    )
