"""One segmented study, as read back from the DICOM objects a viewer would open."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path

from deploy.demo.cohorts import Masks
from flows.segmentation.document import Segmented
from models.masks import BoxedMask
from models.metrics.dsc import dsc
from models.organs import CATALOGUE, ORGANS
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.series import read_series
from services.dicom.seg.reader import read_seg

_KEY_OF = {entry.label: entry.key for entry in CATALOGUE}


@dataclass(frozen=True, eq=False)
class Outcome:
    """What one release made of one study.

    Parameters
    ----------
    name, site
        Of the study; the site is empty for a CT of one's own.
    series
        The CT.
    masks
        By organ key, as the organ SEG says.
    review
        All regions of the review SEG together; None if there is no review SEG.
    document
        What `segment` said.
    truth
        Of a phantom; None for a CT of one's own.
    """

    name: str
    site: str
    series: CTSeries
    masks: Masks
    review: BoxedMask | None
    document: Segmented
    truth: Masks | None

    def scores(self) -> dict[str, float | None]:
        """Return DSC to the truth by organ; None where there is no truth, or the organ is nowhere."""
        if self.truth is None:
            return dict.fromkeys(ORGANS)
        return {key: dsc(self.masks[key].dense(), self.truth[key].dense()) for key in ORGANS}


def read_outcome(name: str, site: str, source: Path, document: Segmented, truth: Masks | None) -> Outcome:
    """Read back what was written for a study."""
    series = load(choose_series(read_series(source)))
    organs, review = document.path_of("organ-seg"), document.path_of("review-seg")
    if organs is None:
        raise ValueError("a result without an organ SEG")
    masks = {_KEY_OF[segment.label]: segment.mask for segment in read_seg(organs, series).segments}
    regions = None
    if review is not None:
        regions = reduce(or_, (segment.mask for segment in read_seg(review, series).segments))
    return Outcome(name, site, series, masks, regions, document, truth)
