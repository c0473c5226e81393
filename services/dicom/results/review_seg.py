"""The review SEG: the places the reader should look at, the largest expected error first."""

from __future__ import annotations

from models.findings import ReviewRegion, StudyFindings
from models.organs import Code
from services.dicom.ct.headers import instance_number_of
from services.dicom.ct.loaded import CTSeries
from services.dicom.identity import Identity
from services.dicom.results.seg_writer import Segment
from services.dicom.results.wording import image_range, region_description
from services.dicom.seg.names import REVIEW_PREFIX

KIND = "review-seg"
# PS3.16 CID 7150 and DCM: a region chosen for attention; the organ is its anatomic region.
SPATIAL_CONCEPT = Code("309825002", "SCT", "Spatial and Relational Concept")
SELECTED_REGION = Code("111099", "DCM", "Selected region")


def review_segments(series: CTSeries, findings: StudyFindings, identity: Identity) -> tuple[Segment, ...]:
    """Return the segments of the review SEG, one per region; its number is the region's rank.

    Raises
    ------
    ValueError
        If the ranks are not 1, 2, 3, … without gap.
    """
    regions = sorted(findings.regions, key=lambda region: region.rank)
    if [region.rank for region in regions] != list(range(1, len(regions) + 1)):
        raise ValueError(f"ranks of regions must count from 1, not {[r.rank for r in regions]}")
    numbers = [instance_number_of(image) for image in series.images]
    return tuple(
        Segment(
            label=REVIEW_PREFIX + findings.entry(region.organ).label,
            description=region_description(region, image_range(region.slices, numbers), findings),
            category=SPATIAL_CONCEPT,
            type=SELECTED_REGION,
            laterality=None,
            site=findings.entry(region.organ).site,
            cielab=findings.entry(region.organ).cielab,
            tracking_id=region_tracking_id(region),
            tracking_uid=region_tracking_uid(region, identity),
            mask=region.mask,
        )
        for region in regions
    )


def region_tracking_id(region: ReviewRegion) -> str:
    """Return the TrackingID of a region, the same in review SEG and SR."""
    return f"check-{region.rank}-{region.organ}"


def region_tracking_uid(region: ReviewRegion, identity: Identity) -> str:
    """Return the TrackingUID of a region: it is this result's own, unlike an organ's."""
    return identity.uid(KIND, f"region {region.rank}")
