"""Where a reader should look first: the organ that matters most, and the image of its largest doubt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from models.documents import LEFT_OUT
from models.findings import Flag, StudyFindings
from models.masks import BoxedMask
from models.uids import SeriesUid, SopUid
from services.dicom.ct.loaded import CTSeries
from services.dicom.results.organ_seg import organs_asked


@dataclass(frozen=True)
class FirstLook:
    """What a viewer should open with.

    Parameters
    ----------
    organ
        The organ that matters most.
    seg_series_uid, segment
        Series of our organ SEG, and the organ's SegmentNumber in it.
    image_uid
        SOP Instance UID of the CT image to show; left out where nothing of the organ is drawn.
    """

    organ: str
    seg_series_uid: SeriesUid
    segment: int
    image_uid: Annotated[SopUid | None, LEFT_OUT] = None


def first_look(series: CTSeries, findings: StudyFindings, seg_series_uid: SeriesUid) -> FirstLook | None:
    """Return where to look first; None where no organ is flagged.

    An organ that is rejected goes before one that is for review. Of several it is the one with the largest
    expected error in one place (the lowest rank of a region); the image is the one on which most of that
    place lies. Without such places it is the first of them that was found, where it is largest.

    Parameters
    ----------
    series
        The CT series.
    findings
        What is said about it.
    seg_series_uid
        SeriesInstanceUID of the organ SEG.
    """
    flagged = [f.organ for f in findings.organs if f.flag is Flag.REJECT]
    flagged = flagged or [f.organ for f in findings.organs if f.flagged]
    if not flagged:
        return None
    regions = [region for region in findings.regions if region.organ in flagged]
    if regions:
        worst = min(regions, key=lambda region: region.rank)
        organ, mask = worst.organ, worst.mask
    else:
        organ = next((one for one in flagged if findings.masks[one].any()), flagged[0])
        mask = findings.masks[organ]
    number = organs_asked(findings).index(organ) + 1
    return FirstLook(organ, seg_series_uid, number, _largest(mask, series))


def _largest(mask: BoxedMask, series: CTSeries) -> SopUid | None:
    if not mask.any():
        return None
    return SopUid(str(series.images[int(np.argmax(mask.by_slice()))].SOPInstanceUID))
