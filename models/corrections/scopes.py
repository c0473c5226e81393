"""How much of an organ a reader vouches for who edited it: all of it, a few slices, or a few regions.

What lies outside is neither organ nor background: it is our own result still, and weighs nothing.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
"""Axes (k, j, i) on the CT grid, bool."""


class Scope(StrEnum):
    """Where an edited organ's label is truth; what was edited is truth in any case."""

    ORGAN = "organ"
    SLICES = "slices"
    REGIONS = "regions"


def truth_region(scope: Scope, edited: Mask, touched: Mask, regions: Mask | None = None) -> Mask:
    """Return where the label of an edited organ is truth.

    Parameters
    ----------
    scope
        What the reader vouches for: the whole organ, the slices that were touched, or the regions that
        were to be looked at.
    edited
        Every voxel that changed.
    touched
        Those that the reader meant to change; the others were lost to a neighbour's brush, and the
        slices they lie on were not looked at for this organ's sake.
    regions
        The organ's review regions; None if it had none.

    Returns
    -------
    region
        Bool, a superset of `edited`: everything for `ORGAN`; the slices with a touched voxel for
        `SLICES`; the regions for `REGIONS`.

    Raises
    ------
    ValueError
        If the masks are not on one grid.
    """
    for mask in (touched, *([] if regions is None else [regions])):
        if mask.shape != edited.shape:
            raise ValueError(f"{mask.shape} is not {edited.shape}")
    if scope is Scope.ORGAN:
        return np.ones_like(edited)
    region = edited.copy()
    if scope is Scope.SLICES:
        region[touched.any(axis=(1, 2))] = True
    elif regions is not None:
        region |= regions
    return region
