"""The regions a reader was asked to look at, read back from our review SEG."""

from __future__ import annotations

from models.masks import BoxedMask
from services.dicom.seg.names import reviewed_organ
from services.dicom.seg.reader import SegObject


def review_regions(review: SegObject) -> dict[str, BoxedMask]:
    """Return where each organ was to be looked at.

    Parameters
    ----------
    review
        The review SEG as it was sent, read onto the grid of its CT series.

    Returns
    -------
    regions
        By organ key the union of its regions; organs without one are missing.
    """
    regions: dict[str, BoxedMask] = {}
    for segment in review.segments:
        organ = reviewed_organ(segment.label)
        if organ is not None:
            regions[organ] = regions[organ] | segment.mask if organ in regions else segment.mask
    return regions
