"""How much of an organ a reader vouches for who edited it: all of it, a few slices, or a few regions.

What lies outside is neither organ nor background: it is our own result still, and weighs nothing.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np

from models.masks import BoxedMask


class Scope(StrEnum):
    """Where an edited organ's label is truth; what was edited is truth in any case."""

    ORGAN = "organ"
    SLICES = "slices"
    REGIONS = "regions"


def truth_region(
    scope: Scope, edited: BoxedMask, touched: BoxedMask, regions: BoxedMask | None = None
) -> BoxedMask:
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
        A superset of `edited`: everything for `ORGAN`; the slices with a touched voxel for `SLICES`; the
        regions for `REGIONS`.

    Raises
    ------
    ValueError
        If the masks are not on one grid.
    """
    if scope is Scope.SLICES:
        return edited | BoxedMask.of_slices(touched.by_slice() > 0, edited.shape)
    if scope is Scope.REGIONS:
        return edited if regions is None else edited | regions
    return BoxedMask.of_slices(np.ones(edited.shape[0], dtype=bool), edited.shape)
