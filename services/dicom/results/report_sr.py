"""The SR: per organ volume, presence, flag, reasons and bound; per review region its slices.

A TID 1500 Measurement Report as Comprehensive 3D SR, which references the SEGs: IHE AI Results (AIR) has
results as DICOM SRs of this kind. Conformance with AIR has not been tested and is not claimed. Organs
with voxels are TID 1411 groups that reference their segment; absent ones are TID 1501 groups that
reference the images looked at, because a segment without frames cannot be referenced (PS3.16 TID 1411,
TID 1501).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from models.findings import OrganFinding, Presence, ReviewRegion, StudyFindings
from models.judgement.reasons import Reason
from models.organs import Organ
from models.series.verdict import GeometryVerdict
from models.uids import SeriesUid, SopUid
from services.dicom.ct.loaded import CTSeries
from services.dicom.identity import Identity, hashed_uid
from services.dicom.results import private_codes as own
from services.dicom.results.heading import MANUFACTURER, Heading, finish, to_bytes, without_patient
from services.dicom.results.organ_seg import organs_asked
from services.dicom.results.review_seg import (
    SELECTED_REGION,
    SPATIAL_CONCEPT,
    region_tracking_id,
    region_tracking_uid,
)
from services.dicom.results.seg_writer import code

KIND = "report-sr"
WHOLE_SECTION = Code("C0034375", "UMLS", "Qualitative Evaluations")
"""The container TID 1500 has for what is said of the whole (PS3.16)."""

MILLILITRE = Code("ml", "UCUM", "milliliter")
DECIMALS = 4

Group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations | sr.MeasurementsAndQualitativeEvaluations


class Reference(NamedTuple):
    """An object of ours that the report refers to."""

    sop_class_uid: str
    sop_instance_uid: SopUid
    series_uid: SeriesUid


def write_report(
    series: CTSeries,
    findings: StudyFindings,
    identity: Identity,
    heading: Heading,
    references: Sequence[Reference],
) -> bytes:
    """Return the bytes of the report.

    Parameters
    ----------
    series
        The CT series.
    findings
        What is said about it.
    identity
        For the tracking UIDs, the same as in the SEGs.
    heading
        Identity and times of the report.
    references
        The SEGs it refers to: the organ SEG, and the review SEG where there are regions.
    """
    organ_seg, *review_segs = references
    numbers = {key: n for n, key in enumerate(organs_asked(findings), start=1)}
    groups: list[Group] = [
        _organ_group(series, findings, finding, identity, heading, organ_seg, numbers.get(finding.organ))
        for finding in findings.organs
    ]
    for review_seg in review_segs:
        groups += [
            _region_group(series, findings, region, identity, heading, review_seg)
            for region in findings.regions
        ]
    document = sr.Comprehensive3DSR(
        evidence=[
            without_patient(series.images[0]),
            *series.images[1:],
            *(_evidence(reference, series) for reference in references),
        ],
        content=_report(groups, statements(series.verdict, findings), heading),
        is_complete=True,
        coding_schemes=[own.scheme_identification()],
        **heading.arguments(),
    )
    finish(document, series.images[0], heading)
    return to_bytes(document)


def floored(fraction: float) -> float:
    """Return a lower bound with four decimals, never above the bound itself."""
    return math.floor(round(fraction * 10**DECIMALS, 6)) / 10**DECIMALS


def series_statements(verdict: GeometryVerdict) -> tuple[tuple[Code, str], ...]:
    """Return what the report says of the series as a whole: its repair, then its notes."""
    repair = () if verdict.code is None else ((own.SERIES_REPAIR, f"{verdict.code}: {verdict.detail}"),)
    return (*repair, *((own.SERIES_NOTE, note) for note in verdict.notes))


def statements(verdict: GeometryVerdict, findings: StudyFindings) -> tuple[tuple[Code, str], ...]:
    """Return what the report says of the whole: of the series, then whose weights answered."""
    said = series_statements(verdict)
    if (weights := findings.weights) is None:
        return said
    return (*said, (own.WEIGHTS_LICENCE, weights.licence), (own.WEIGHTS_ORIGIN, weights.origin))


def _report(
    groups: Sequence[Group], said: Sequence[tuple[Code, str]], heading: Heading
) -> sr.MeasurementReport:
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=hashed_uid("device", heading.release_digest),
        name=MANUFACTURER,
        manufacturer_name=MANUFACTURER,
        model_name=f"release {heading.release}",
        serial_number=heading.release_digest,
    )
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(
            observer_device_context=sr.ObserverContext(codes.DCM.Device, device)
        ),
        procedure_reported=codes.LN.CTUnspecifiedBodyRegion,
        imaging_measurements=list(groups),
        title=codes.DCM.ImagingMeasurementReport,
    )
    texts = [sr.TextContentItem(name, text, sr.RelationshipTypeValues.CONTAINS) for name, text in said]
    if texts:
        section = sr.ContainerContentItem(WHOLE_SECTION, relationship_type=sr.RelationshipTypeValues.CONTAINS)
        section.ContentSequence = sr.ContentSequence(texts)
        report[0].ContentSequence.append(section)
    return report


def _organ_group(
    series: CTSeries,
    findings: StudyFindings,
    finding: OrganFinding,
    identity: Identity,
    heading: Heading,
    seg: Reference,
    number: int | None,
) -> Group:
    entry = findings.entry(finding.organ)
    common: dict[str, Any] = {
        **_common(entry.key, identity.tracking_uid(entry.key), entry, heading),
        "finding_category": code(entry.category),
        "finding_type": code(entry.type),
        "measurements": _measurements(finding),
        "qualitative_evaluations": _evaluations(finding, findings.demonstration),
    }
    if finding.presence is Presence.FOUND and number is not None:
        return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=sr.ReferencedSegment(
                seg.sop_class_uid,
                seg.sop_instance_uid,
                number,
                source_series=sr.SourceSeriesForSegmentation(series.series_uid),
            ),
            **common,
        )
    looked_at = series.images if finding.presence is Presence.ABSENT else ()
    return sr.MeasurementsAndQualitativeEvaluations(
        source_images=[
            sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID) for image in looked_at
        ],
        **common,
    )


def _region_group(
    series: CTSeries,
    findings: StudyFindings,
    region: ReviewRegion,
    identity: Identity,
    heading: Heading,
    seg: Reference,
) -> Group:
    first, last = region.slices
    tracking_id = region_tracking_id(region)
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=sr.ReferencedSegment(
            seg.sop_class_uid,
            seg.sop_instance_uid,
            region.rank,
            source_images=[
                sr.SourceImageForSegmentation(image.SOPClassUID, image.SOPInstanceUID)
                for image in series.images[first : last + 1]
            ],
        ),
        finding_category=code(SPATIAL_CONCEPT),
        finding_type=code(SELECTED_REGION),
        measurements=[
            _volume(region.volume_ml),
            sr.Measurement(own.EXPECTED_ERROR, round(region.expected_error_ml, DECIMALS), MILLILITRE),
        ],
        **_common(tracking_id, region_tracking_uid(region, identity), findings.entry(region.organ), heading),
    )


def _common(tracking_id: str, tracking_uid: str, entry: Organ, heading: Heading) -> dict[str, Any]:
    site, side = entry.site
    return {
        "tracking_identifier": sr.TrackingIdentifier(tracking_uid, tracking_id),
        "algorithm_id": sr.AlgorithmIdentification(
            name=MANUFACTURER,
            version=f"release {heading.release}",
            parameters=[f"release digest {heading.release_digest}"],
        ),
        "finding_sites": [sr.FindingSite(code(site), code(side) if side else None)],
    }


def _measurements(finding: OrganFinding) -> list[sr.Measurement]:
    said = []
    if finding.presence is Presence.FOUND:
        said.append(_volume(finding.volume_ml))
    if finding.dsc_lower_bound is not None and finding.confidence is not None:
        bound = sr.Measurement(own.DSC_BOUND, floored(finding.dsc_lower_bound), codes.UCUM.NoUnits)
        said += [bound, sr.Measurement(own.CONFIDENCE, finding.confidence, codes.UCUM.NoUnits)]
    for name, value in (
        (own.ENTROPY, finding.entropy),
        (own.DISAGREEMENT, finding.disagreement),
        (own.MEMBER_DISAGREEMENT, finding.member_disagreement),
    ):
        if value is not None:
            said.append(sr.Measurement(name, round(value, DECIMALS), codes.UCUM.NoUnits))
    return said


def _volume(millilitres: float) -> sr.Measurement:
    return sr.Measurement(codes.SCT.Volume, round(millilitres, DECIMALS), MILLILITRE)


def _evaluations(finding: OrganFinding, demonstration: bool) -> list[sr.QualitativeEvaluation]:
    said = [(own.PRESENCE, own.PRESENCES[finding.presence])]
    if finding.flag is not None:
        said.append((own.FLAG, own.FLAGS[finding.flag]))
        said += [(own.REASON, own.REASONS[Reason(reason)]) for reason in finding.reasons]
    if finding.cut_by_field_of_view:
        said.append((own.FIELD_OF_VIEW, own.CUT))
    if demonstration:
        said.append((own.WEIGHTS, own.DEMONSTRATION))
    return [sr.QualitativeEvaluation(name, value) for name, value in said]


def _evidence(reference: Reference, series: CTSeries) -> Dataset:
    evidence = Dataset()
    evidence.SOPClassUID = reference.sop_class_uid
    evidence.SOPInstanceUID = reference.sop_instance_uid
    evidence.StudyInstanceUID = series.study_uid
    evidence.SeriesInstanceUID = reference.series_uid
    return evidence
