"""Whether a paired organ lies on its side: of its partner, of what was sent, of the body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from models.geometry import Geometry
from models.masks import BoxedMask
from models.surfaces import surface_voxels

OTHER_SIDE = {"right_kidney": "left_kidney", "left_kidney": "right_kidney"}

MUCH_OF_PARTNER = 0.25
"""From this part of the partner as it was sent on, an organ that covers it may be painted with its brush."""

OWN_DSC = 0.5
"""At this Dice overlap with itself as sent and above, an organ without a partner is where it was."""

MIDDLE_MARGIN = 0.1
"""How far, in widths of the scanned volume, its middle may lie from the body's midline."""


@dataclass(frozen=True, eq=False)
class Region:
    """A mask and where it lies in the patient."""

    mask: BoxedMask
    geometry: Geometry

    @property
    def voxels(self) -> int:
        """How many voxels it has."""
        return self.mask.voxels

    def dsc(self, other: Region) -> float:
        """Return the Dice overlap; 0 when either is empty."""
        both = (self.mask & other.mask).voxels
        return 2 * both / (self.voxels + other.voxels) if both else 0.0

    @property
    def x_mm(self) -> float:
        """Return how far to the patient's left the centroid lies, LPS millimetres."""
        return float(self.geometry.to_lps(self.mask.centre())[0])


def beyond_partner(organ: str, region: Region, returned: Mapping[str, Region]) -> bool:
    """Tell whether a paired organ lies on the wrong side of its partner, if there is one."""
    partner = returned.get(OTHER_SIDE.get(organ, ""))
    if partner is None or not region.voxels or not partner.voxels:
        return False
    return _wrong(organ, region.x_mm, partner.x_mm)


def doubtful_side(
    organ: str, region: Region, returned: Mapping[str, Region], sent: Mapping[str, Region]
) -> bool:
    """Tell whether a paired organ may be its partner, though what came back as the partner allows it.

    It may where it covers much of the partner as it was sent; and, where no partner came back, where it
    lies beyond the middle between the two as they were sent, else between liver and spleen, else beyond
    that of the volume. Only ever a question: our own result may have been wrong, and organs lie otherwise
    in some people.

    Parameters
    ----------
    organ, region
        What a segment is taken to be.
    returned
        Every organ that came back and is certain, this one too.
    sent
        What was sent; empty for a SEG that was drawn without our result.
    """
    other = OTHER_SIDE.get(organ)
    if other is None or not region.voxels:
        return False
    back, before = (_drawn(regions.get(other)) for regions in (returned, sent))
    if before is not None and _covers(organ, region, before, back):
        return True
    if back is not None:
        return False  # `beyond_partner` has looked
    own = _drawn(sent.get(organ))
    if before is not None:
        middle = before.x_mm if own is None else (own.x_mm + before.x_mm) / 2
        return _wrong(organ, region.x_mm, middle)
    if own is not None and region.dsc(own) >= OWN_DSC:
        return False  # it lies where it was sent
    liver, spleen = (_drawn(returned.get(key)) or _drawn(sent.get(key)) for key in ("liver", "spleen"))
    if liver is not None and spleen is not None:
        return _wrong(organ, region.x_mm, (liver.x_mm + spleen.x_mm) / 2)
    corners = region.geometry.corners_lps()[:, 0]
    margin = MIDDLE_MARGIN * float(np.ptp(corners))
    if organ.startswith("right"):
        margin = -margin
    return _wrong(organ, region.x_mm + margin, float(corners.min() + corners.max()) / 2)


def _covers(organ: str, region: Region, before: Region, back: Region | None) -> bool:
    """Tell whether an organ covers much of its partner as sent, and not where the partner has left."""
    covered = Region(region.mask & before.mask, region.geometry)
    if covered.voxels < MUCH_OF_PARTNER * before.voxels:
        return False
    if back is None:
        return True
    # What our result gave to the wrong kidney, and the reader to the right one, lies beside the other.
    x_mm = back.geometry.to_lps(surface_voxels(back.mask))[:, 0]
    return _wrong(organ, covered.x_mm, float(x_mm.min() if organ.startswith("right") else x_mm.max()))


def _wrong(organ: str, x_mm: float, than_mm: float) -> bool:
    """Tell whether x lies, of another, on the side that is not the organ's; LPS x grows to the left."""
    return x_mm >= than_mm if organ.startswith("right") else x_mm <= than_mm


def _drawn(region: Region | None) -> Region | None:
    return region if region is not None and region.voxels else None
