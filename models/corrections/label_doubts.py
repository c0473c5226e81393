"""Labels that cannot be what a reader meant: nothing is learnt from them, and it is said why."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.corrections.ledger import HybridLabel
from models.geometry import Geometry
from models.organs import KEYS, organ

TINY_ML = 0.05
"""An edit of less, added and removed together, millilitres, is no reason to tune."""

TOO_LARGE = 2.0
"""Times the organ's largest plausible volume."""

TOO_SMALL = 0.25
"""Times its smallest; only for an organ that lies wholly in the scan and was not deleted."""

OUTSIDE_BODY = 0.2
"""Share of an organ that may lie outside the skin."""


@dataclass(frozen=True)
class LabelDoubt:
    """Why a label is refused.

    Parameters
    ----------
    code
        `absurd-volume` or `outside-body`.
    detail
        One line with the measured numbers.
    """

    code: str
    detail: str


def label_doubt(
    key: str, label: HybridLabel, ct: Geometry, outside: NDArray[np.bool_] | None = None
) -> LabelDoubt | None:
    """Return why a label cannot be learnt from; None if it can.

    Parameters
    ----------
    key
        The organ.
    label
        On the CT grid.
    ct
        That grid.
    outside
        Axes (k, j, i), bool: what of the CT lies outside the body; None if it was not looked at.
    """
    weighs = label.weight > 0
    inside = label.inside.dense() & weighs
    voxels = int(np.count_nonzero(inside))
    if not voxels:
        return None
    if outside is not None:
        share = np.count_nonzero(inside & outside) / voxels
        if share > OUTSIDE_BODY:
            return LabelDoubt("outside-body", f"{share:.0%} of it lie outside the body")
    plausible = organ(key).volume_range_ml if key in KEYS else None
    if plausible is None:
        return None
    volume, (least, most) = voxels * ct.voxel_ml, plausible
    whole = bool(weighs.all()) and not _touches_edge(inside)
    if volume > TOO_LARGE * most or (whole and volume < TOO_SMALL * least):
        return LabelDoubt("absurd-volume", f"{volume:.1f} ml, where {least:g} to {most:g} ml are plausible")
    return None


def _touches_edge(inside: NDArray[np.bool_]) -> bool:
    return any(bool(inside.take(end, axis).any()) for axis in range(3) for end in (0, -1))
