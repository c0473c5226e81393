"""Everything a reader gets for one study, written and proven, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from pydicom.config import disable_value_validation

from models.findings import StudyFindings
from models.uids import SeriesUid, SopUid
from services.dicom.ct.loaded import CTSeries
from services.dicom.identity import Identity
from services.dicom.results import organ_seg, report_sr, review_seg, summary_sc
from services.dicom.results.heading import Heading
from services.dicom.results.report_proof import prove_report
from services.dicom.results.report_sr import Reference, series_statements, write_report
from services.dicom.results.seg_proof import prove_organ_seg, prove_review_seg
from services.dicom.results.seg_writer import Profile, Segment, sop_class_uid, write_segmentation
from services.dicom.results.wording import (
    organs_description,
    repair_notice,
    report_description,
    review_description,
)

_SERIES_NUMBERS = {
    organ_seg.KIND: 5001,
    review_seg.KIND: 5002,
    report_sr.KIND: 5003,
    summary_sc.KIND: 5004,
}


@dataclass(frozen=True)
class ResultObject:
    """One proven DICOM object.

    Parameters
    ----------
    kind
        ``organ-seg``, ``review-seg``, ``report-sr`` or ``summary-sc``.
    sop_instance_uid, series_uid
        Its UIDs.
    content
        The bytes of the DICOM file.
    file_name
        Name for it in a folder of results.
    """

    kind: str
    sop_instance_uid: SopUid
    series_uid: SeriesUid
    content: bytes
    file_name: str


def write_results(
    series: CTSeries,
    findings: StudyFindings,
    *,
    profile: str = Profile.OHIF,
    flags_in_labels: bool = False,
    page: NDArray[np.uint8] | None = None,
    written_at: datetime,
    settings_digest: str = "",
) -> tuple[ResultObject, ...]:
    """Write organ SEG, review SEG (only if there are regions), SR and a page if given; prove each of them.

    The same arguments give the same bytes.

    Parameters
    ----------
    series
        The CT series that was segmented.
    findings
        What is said about it, on the same grid.
    profile
        For which receiver: ``ohif``, ``slicer`` or ``labelmap``.
    flags_in_labels
        Whether the labels of the organ SEG's segments tell it the flags too: ``Stomach (check)``.
    page
        Of a summary for a receiver that shows no SEG, axes (row, column, channel), RGB; None: it gets none.
    written_at
        Time of writing, local to the site. Keep the first one: a step repeated with it makes the
        same bytes.
    settings_digest
        Digest of all settings that may change the result; part of every UID.

    Returns
    -------
    tuple of ResultObject
        In the order organ SEG, review SEG, summary, SR.

    Raises
    ------
    ProofFailed
        If an object read back differs from what was meant.
    Refused
        ``overlapping-segments``, for profile ``labelmap``.
    ValueError
        If the profile is unknown, findings and series are not on the same grid, or no organ was
        asked for.
    """
    if not findings.geometry.same_grid(series.volume.geometry):
        raise ValueError("findings and series are not on the same grid")
    chosen = Profile(profile)
    identity = Identity.of(
        (SopUid(str(image.SOPInstanceUID)) for image in series.images),
        findings.release_digest,
        receiver(chosen, flags_in_labels=flags_in_labels, summary=page is not None),
        settings_digest,
    )

    repair = [repair_notice(series.verdict)] if series.verdict.code else []

    def heading(kind: str, description: str, said_of_series: Sequence[str] = ()) -> Heading:
        # the same images may be found in other company: localizers, resends, more series
        return Heading(
            sop_instance_uid=SopUid(identity.uid(kind, "\n".join(("instance", *said_of_series)))),
            series_instance_uid=SeriesUid(identity.uid(kind, "\n".join(("series", *said_of_series)))),
            series_number=_SERIES_NUMBERS[kind],
            series_description=description,
            release=findings.release,
            release_digest=findings.release_digest,
            written_at=written_at,
            weights=findings.weights,
        )

    def segmentation(
        head: Heading,
        kind: str,
        segments: Sequence[Segment],
        prove: Callable[[bytes, CTSeries, StudyFindings, Heading], None],
        receiver: Profile,
    ) -> ResultObject:
        content = write_segmentation(series, segments, head, identity.uid(kind, "dimensions"), receiver)
        prove(content, series, findings, head)
        return _result(kind, head, content)

    with disable_value_validation():  # values copied from the archive are not ours to judge
        head = heading(organ_seg.KIND, organs_description(findings), repair)
        organs = organ_seg.organ_segments(findings, identity, series.verdict, flags_in_labels=flags_in_labels)
        prove = partial(prove_organ_seg, flags_in_labels=flags_in_labels)
        results = [segmentation(head, organ_seg.KIND, organs, prove, chosen)]
        references = [Reference(sop_class_uid(chosen), head.sop_instance_uid, head.series_instance_uid)]
        if findings.regions:
            head = heading(review_seg.KIND, review_description(findings))
            regions = review_seg.review_segments(series, findings, identity)
            results.append(segmentation(head, review_seg.KIND, regions, prove_review_seg, Profile.OHIF))
            references.append(
                Reference(sop_class_uid(Profile.OHIF), head.sop_instance_uid, head.series_instance_uid)
            )
        if page is not None:  # pixels of other fonts are another object
            pixels = sha256(page.tobytes()).hexdigest()
            head = heading(summary_sc.KIND, organs_description(findings), [pixels])
            content = summary_sc.write_summary(series, page, head)
            summary_sc.prove_summary(content, series, page, head)
            results.append(_result(summary_sc.KIND, head, content))
        head = heading(
            report_sr.KIND,
            report_description(findings),
            [text for _, text in series_statements(series.verdict)],
        )
        content = write_report(series, findings, identity, head, references)
        prove_report(content, series, findings, head, references)
        return (*results, _result(report_sr.KIND, head, content))


def receiver(profile: str, *, flags_in_labels: bool, summary: bool = False) -> str:
    """Return the name of a receiver's profile with its options, as it counts in UIDs and keys of results."""
    options = [", flags in labels"] * flags_in_labels + [", summary"] * summary
    return "".join((str(profile), *options))


def _result(kind: str, heading: Heading, content: bytes) -> ResultObject:
    return ResultObject(kind, heading.sop_instance_uid, heading.series_instance_uid, content, f"{kind}.dcm")
