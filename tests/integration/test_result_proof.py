"""The proof must catch every way in which an object could say something else than was meant."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import cache
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from models.errors import ProofFailed
from models.series.verdict import Code, GeometryVerdict, Verdict
from models.weights_source import WeightsSource
from services.dicom.identity import Identity
from services.dicom.results import organ_seg, report_sr, review_seg
from services.dicom.results.heading import Heading, to_bytes
from services.dicom.results.report_proof import prove_report
from services.dicom.results.report_sr import Reference, write_report
from services.dicom.results.seg_proof import prove_organ_seg, prove_review_seg
from services.dicom.results.seg_writer import Profile, sop_class_uid, write_segmentation
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

SHAPE = (7, 19, 21)
VERDICT = GeometryVerdict(
    Verdict.REPAIRED,
    Code.LOCALIZER_EXCLUDED,
    "1 localizer was left out.",
    notes=("3 of 7 slices went through lossy compression.",),
)
SERIES = replace(ct_series(AFFINES["oblique"]), verdict=VERDICT)
WEIGHTS = WeightsSource("CC-BY-4.0", "a hospital, 2026")
FINDINGS = findings_of(SERIES, organ_masks(SHAPE), weights=WEIGHTS)
IDENTITY = Identity.of((i.SOPInstanceUID for i in SERIES.images), FINDINGS.release_digest, "ohif", "")
REFERENCES = [
    Reference(sop_class_uid(Profile.OHIF), IDENTITY.uid(kind, "instance"), IDENTITY.uid(kind, "series"))
    for kind in (organ_seg.KIND, review_seg.KIND)
]


def heading(kind: str) -> Heading:
    uids = IDENTITY.uid(kind, "instance"), IDENTITY.uid(kind, "series")
    told = FINDINGS.release, FINDINGS.release_digest, datetime(2026, 11, 22), FINDINGS.weights
    return Heading(*uids, 5001, kind, *told)


@cache
def organ_object() -> bytes:
    segments = organ_seg.organ_segments(FINDINGS, IDENTITY, SERIES.verdict)
    return write_segmentation(SERIES, segments, heading(organ_seg.KIND), "2.25.1", Profile.OHIF)


@cache
def review_object() -> bytes:
    segments = review_seg.review_segments(SERIES, FINDINGS, IDENTITY)
    return write_segmentation(SERIES, segments, heading(review_seg.KIND), "2.25.1", Profile.OHIF)


@cache
def report_object() -> bytes:
    return write_report(SERIES, FINDINGS, IDENTITY, heading(report_sr.KIND), REFERENCES)


def frames_of(seg: Dataset) -> np.ndarray:
    count = int(seg.NumberOfFrames) * seg.Rows * seg.Columns
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[:count]
    return bits.reshape(-1, seg.Rows, seg.Columns)


def put_frames(seg: Dataset, frames: np.ndarray) -> None:
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    seg.NumberOfFrames = len(frames)


def mirror(seg: Dataset) -> None:
    put_frames(seg, frames_of(seg)[..., ::-1])


def flip_one_voxel(seg: Dataset) -> None:
    frames = frames_of(seg).copy()
    frames[3, 5, 7] ^= 1
    put_frames(seg, frames)


def swap_organs(seg: Dataset) -> None:
    for frame in seg.PerFrameFunctionalGroupsSequence:
        item = frame.SegmentIdentificationSequence[0]
        item.ReferencedSegmentNumber = {1: 5, 5: 1}.get(
            item.ReferencedSegmentNumber, item.ReferencedSegmentNumber
        )


def swap_kidneys_by_side_only(seg: Dataset) -> None:
    right, left = (seg.SegmentSequence[n].SegmentedPropertyTypeCodeSequence[0] for n in (1, 2))
    name = "SegmentedPropertyTypeModifierCodeSequence"
    right[name], left[name] = left[name], right[name]


def drop_frame(seg: Dataset) -> None:
    put_frames(seg, frames_of(seg)[:-1])
    del seg.PerFrameFunctionalGroupsSequence[-1]


def drop_voxels_of_last_frame(seg: Dataset) -> None:
    put_frames(seg, frames_of(seg)[:-1])
    seg.NumberOfFrames = len(seg.PerFrameFunctionalGroupsSequence)


def shift_position(seg: Dataset) -> None:
    step = AFFINES["oblique"][:3, 0]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        plane = frame.PlanePositionSequence[0]
        plane.ImagePositionPatient = [
            f"{a + b:.8g}" for a, b in zip(plane.ImagePositionPatient, step, strict=True)
        ]


def shift_source_image(seg: Dataset) -> None:
    uids = [image.SOPInstanceUID for image in SERIES.images]
    for frame in seg.PerFrameFunctionalGroupsSequence:
        source = frame.DerivationImageSequence[0].SourceImageSequence[0]
        source.ReferencedSOPInstanceUID = uids[(uids.index(source.ReferencedSOPInstanceUID) + 1) % len(uids)]


def swap_spacing(seg: Dataset) -> None:
    seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = ["0.8", "0.9"]


def turn_orientation(seg: Dataset) -> None:
    plane = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    x = list(plane.ImageOrientationPatient)
    plane.ImageOrientationPatient = x[3:] + x[:3]


def change_flag(seg: Dataset) -> None:
    stomach = seg.SegmentSequence[5]
    stomach.SegmentDescription = stomach.SegmentDescription.replace("REVIEW", "CLEAR")


def hide_repair(seg: Dataset) -> None:
    spleen = seg.SegmentSequence[0]
    spleen.SegmentDescription = spleen.SegmentDescription.replace("; series repaired: localizer-excluded", "")


def change_label(seg: Dataset) -> None:
    seg.SegmentSequence[0].SegmentLabel = "Liver"


def change_tracking(seg: Dataset) -> None:
    seg.SegmentSequence[0].TrackingUID = "2.25.7"


def swap_tracking(seg: Dataset) -> None:
    first, second = seg.SegmentSequence[:2]
    first.TrackingID, second.TrackingID = second.TrackingID, first.TrackingID


def lose_patient_value(seg: Dataset) -> None:
    del seg.PatientAge


def change_colour(seg: Dataset) -> None:
    seg.SegmentSequence[0].RecommendedDisplayCIELabValue = [1, 2, 3]


def change_patient(seg: Dataset) -> None:
    seg.PatientID = "P-2"


def change_licence(seg: Dataset) -> None:
    (algorithm,) = seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence
    algorithm.AlgorithmParameters = algorithm.AlgorithmParameters.replace("CC-BY-4.0", "CC0-1.0")


def change_frame_of_reference(seg: Dataset) -> None:
    seg.FrameOfReferenceUID = "2.25.99"


FAULTS = [
    (mirror, "voxels of segment 1"),
    (flip_one_voxel, "voxels of segment"),
    (swap_organs, "segment"),
    (swap_kidneys_by_side_only, r"segment 2 \(Right kidney\): property"),
    (drop_frame, "voxels of segment . differ on slices"),
    (drop_voxels_of_last_frame, "length of PixelData"),
    (shift_position, "lies on another slice|off slice"),
    (shift_source_image, "another slice"),
    (swap_spacing, "off slice"),
    (turn_orientation, "off slice"),
    (change_flag, "'REVIEW' is not in the description"),
    (hide_repair, "'series repaired: localizer-excluded' is not in the description"),
    (change_label, r"segment 1 \(Spleen\): label"),
    (change_colour, "colour"),
    (change_tracking, r"segment 1 \(Spleen\): TrackingUID"),
    (swap_tracking, r"segment 1 \(Spleen\): TrackingID"),
    (lose_patient_value, "PatientAge is not that of the CT images"),
    (change_patient, "PatientID is not that of the CT images"),
    (change_frame_of_reference, "FrameOfReferenceUID"),
    (change_licence, r"segment 1 \(Spleen\): parameters"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_a_fault_in_the_organ_seg_is_caught(fault, message):
    seg = dcmread(BytesIO(organ_object()))
    fault(seg)
    with pytest.raises(ProofFailed, match=message):
        prove_organ_seg(to_bytes(seg), SERIES, FINDINGS, heading(organ_seg.KIND))


def test_objects_without_fault_pass():
    prove_organ_seg(organ_object(), SERIES, FINDINGS, heading(organ_seg.KIND))
    prove_review_seg(review_object(), SERIES, FINDINGS, heading(review_seg.KIND))
    prove_report(report_object(), SERIES, FINDINGS, heading(report_sr.KIND), REFERENCES)


def test_the_patients_values_are_not_in_the_message():
    seg = dcmread(BytesIO(organ_object()))
    seg.PatientName = "Other^Person"
    with pytest.raises(ProofFailed) as failed:
        prove_organ_seg(to_bytes(seg), SERIES, FINDINGS, heading(organ_seg.KIND))
    assert "Other" not in str(failed.value)
    assert "Müller" not in str(failed.value)


def test_review_regions_in_another_order_are_caught():
    seg = dcmread(BytesIO(review_object()))
    swap = {1: 2, 2: 1}
    for frame in seg.PerFrameFunctionalGroupsSequence:
        item = frame.SegmentIdentificationSequence[0]
        item.ReferencedSegmentNumber = swap[item.ReferencedSegmentNumber]
    with pytest.raises(ProofFailed, match="segment"):
        prove_review_seg(to_bytes(seg), SERIES, FINDINGS, heading(review_seg.KIND))


def groups_of(report: Dataset) -> dict[str, Dataset]:
    (measurements,) = (
        item for item in report.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    return {
        next(
            i.TextValue for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "112039"
        ): group
        for group in measurements.ContentSequence
    }


def item_of(group: Dataset, code: str) -> Dataset:
    return next(i for i in group.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == code)


def changed_flag(report: Dataset) -> None:
    item_of(groups_of(report)["stomach"], "FLAG").ConceptCodeSequence[0].CodeValue = "CLEAR"


def lost_reason(report: Dataset) -> None:
    group = groups_of(report)["stomach"]
    group.ContentSequence.remove(item_of(group, "REASON"))


def changed_volume(report: Dataset) -> None:
    item_of(groups_of(report)["liver"], "118565006").MeasuredValueSequence[0].NumericValue = "1.5"


def changed_entropy(report: Dataset) -> None:
    item_of(groups_of(report)["liver"], "ENTROPY").MeasuredValueSequence[0].NumericValue = "0"


def lost_disagreement(report: Dataset) -> None:
    group = groups_of(report)["liver"]
    group.ContentSequence.remove(item_of(group, "DISAGREEMENT"))


def lost_member_disagreement(report: Dataset) -> None:
    group = groups_of(report)["liver"]
    group.ContentSequence.remove(item_of(group, "MEMBER-SPREAD"))


def changed_tracking(report: Dataset) -> None:
    item_of(groups_of(report)["liver"], "112040").UID = "2.25.7"


def changed_segment(report: Dataset) -> None:
    item_of(groups_of(report)["liver"], "121191").ReferencedSOPSequence[0].ReferencedSegmentNumber = 1


def lost_group(report: Dataset) -> None:
    for item in report.ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeValue == "126010":
            del item.ContentSequence[0]


def changed_side(report: Dataset) -> None:
    site = item_of(groups_of(report)["left_kidney"], "363698007")
    site.ContentSequence[0].ConceptCodeSequence[0].CodeValue = "24028007"


def lost_image_of_a_region(report: Dataset) -> None:
    group = groups_of(report)["check-1-stomach"]
    group.ContentSequence.remove(item_of(group, "121233"))


def section_of_the_whole(report: Dataset) -> Dataset:
    return item_of(report, "C0034375")


def lost_repair(report: Dataset) -> None:
    del section_of_the_whole(report).ContentSequence[0]


def changed_note(report: Dataset) -> None:
    section_of_the_whole(report).ContentSequence[
        1
    ].TextValue = "1 of 7 slices went through lossy compression."


def lost_section(report: Dataset) -> None:
    report.ContentSequence.remove(section_of_the_whole(report))


def changed_origin(report: Dataset) -> None:
    item_of(section_of_the_whole(report), "WEIGHTS-ORIGIN").TextValue = "elsewhere"


REPORT_FAULTS = [
    (changed_origin, "said of the whole"),
    (lost_repair, "said of the whole"),
    (changed_note, "said of the whole"),
    (lost_section, "said of the whole"),
    (changed_flag, "stomach: evaluations"),
    (lost_reason, "stomach: evaluations"),
    (changed_volume, "liver: numbers"),
    (changed_entropy, "liver: numbers"),
    (lost_disagreement, "liver: numbers"),
    (lost_member_disagreement, "liver: numbers"),
    (changed_segment, "liver: segment"),
    (changed_tracking, "liver: tracking_uid"),
    (lost_group, "measurement groups"),
    (changed_side, "left_kidney: site"),
    (lost_image_of_a_region, "check-1-stomach: images"),
]


@pytest.mark.parametrize(
    ("fault", "message"), REPORT_FAULTS, ids=[fault.__name__ for fault, _ in REPORT_FAULTS]
)
def test_a_fault_in_the_report_is_caught(fault, message):
    report = dcmread(BytesIO(report_object()))
    fault(report)
    with pytest.raises(ProofFailed, match=message):
        prove_report(to_bytes(report), SERIES, FINDINGS, heading(report_sr.KIND), REFERENCES)
