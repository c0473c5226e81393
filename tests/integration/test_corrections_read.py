"""From a returned file to the ledger: what 3D Slicer's tools and others write, and who is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import EnhancedCTImageStorage

from models.corrections.ledger import ledger
from models.errors import Refused
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.dicom.results.write import write_results
from services.dicom.returned.answers import Answers
from services.dicom.returned.claims import Doubt
from services.dicom.returned.review_regions import review_regions
from services.dicom.returned.understand import ReturnedSeg, Status, understand
from services.dicom.seg.frames import SegCode
from services.dicom.seg.reader import read_seg
from tests.support.dcmqi import slicer_saves
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks


@pytest.fixture(scope="module")
def ct(ohif):
    (reading,) = read_series(ohif / "ct")
    return load(reading)


@pytest.fixture(scope="module")
def sent(ohif, ct):
    return read_seg(ohif / "sent.dcm", ct)


def changes(answer: ReturnedSeg, ct) -> dict[str, tuple[int, int, int]]:
    entries = ledger(answer.sent, answer.returned, ct.volume.geometry)
    return {e.organ: (e.added_voxels, e.removed_voxels, e.by_overpaint_voxels) for e in entries}


def saved(ohif: Path, ct, masks, folder: Path, **attributes: str) -> Path:
    return slicer_saves(ohif / "sent.dcm", ohif / "ct", ct.volume.geometry, masks, folder, **attributes)


@pytest.fixture
def edited(sent, ct):
    """Two organs in another order, the stomach with 12 voxels more and a slice less."""
    masks = {segment.label: segment.mask.dense() for segment in sent.segments}
    stomach = masks["Stomach"]
    free = ~np.logical_or.reduce([mask for label, mask in masks.items() if label != "Stomach"])
    corner = np.argwhere(free[10] & ~stomach[10])[:12]
    stomach[10, corner[:, 0], corner[:, 1]] = True
    last = int(np.flatnonzero(stomach.any(axis=(1, 2)))[-1])
    removed = int(stomach[last].sum())
    stomach[last] = False
    return {"Stomach": stomach, "Liver": masks["Liver"]}, (12, removed, 0)


def test_what_3d_slicer_saves_by_default_is_asked_about_and_learnt_by_answers(
    ohif, ct, sent, edited, tmp_path
):
    masks, expected = edited
    returned = read_seg(saved(ohif, ct, masks, tmp_path), ct)
    assert [segment.label for segment in returned.segments] == ["Stomach", "Liver"]
    assert all(segment.automatic and segment.tracking_uid for segment in returned.segments)
    answer = understand(returned, sent, ct.volume.geometry)
    assert [(q.candidates, q.why) for q in answer.questions] == [
        (("stomach",), Doubt.AUTOMATIC),
        *(((key,), Doubt.NOT_RETURNED) for key in ("spleen", "right_kidney", "left_kidney")),
    ]
    words = ["1=stomach", "spleen=not-reviewed", "right_kidney=not-reviewed", "left_kidney=deleted"]
    answer = understand(returned, sent, ct.volume.geometry, Answers.parse(words))
    assert (answer.status, answer.questions) == (Status.CORRECTION, ())
    kidney = answer.sent["left_kidney"].voxels
    assert changes(answer, ct) == {
        "spleen": (0, 0, 0),
        "liver": (0, 0, 0),
        "stomach": expected,
        "right_kidney": (0, 0, 0),
        "left_kidney": (0, kidney, 0),
    }


def test_what_a_reader_marks_as_manual_in_3d_slicer_needs_no_answer(ohif, ct, sent, edited, tmp_path):
    masks, expected = edited
    path = saved(ohif, ct, masks, tmp_path, SegmentAlgorithmType="MANUAL")
    answer = understand(read_seg(path, ct), sent, ct.volume.geometry)
    assert {q.why for q in answer.questions} == {Doubt.NOT_RETURNED}
    assert changes(answer, ct)["stomach"] == expected


def test_what_3d_slicer_saves_untouched_is_ours(ohif, ct, sent, tmp_path):
    masks = {segment.label: segment.mask.dense() for segment in reversed(sent.segments)}
    answer = understand(read_seg(saved(ohif, ct, masks, tmp_path), ct), sent, ct.volume.geometry)
    assert answer.status is Status.UNCHANGED


def test_the_regions_of_our_review_seg_are_read_back_by_organ(tmp_path):
    series = ct_series(AFFINES["oblique"])
    masks = organ_masks(series.volume.geometry.shape)
    findings = findings_of(series, masks)
    objects = write_results(series, findings, written_at=datetime(2026, 3, 1, 12, tzinfo=UTC))
    (review,) = [item for item in objects if item.kind == "review-seg"]
    path = tmp_path / review.file_name
    path.write_bytes(review.content)
    regions = review_regions(read_seg(path, series))
    assert regions.keys() == {region.organ for region in findings.regions} == {"stomach", "aorta"}
    for region in findings.regions:
        assert regions[region.organ] == region.mask


def enhanced(image) -> None:
    """Make of a CT image what a perfusion map says of itself."""
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    image.ImageType = ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]
    image.NumberOfFrames = 1


def of_unknown_vr(image) -> None:
    image.PatientOrientation = ["L", "A"]
    image.add_new(0x00200037, "UN", b"1\\0\\0\\0\\-1\\0 ")


@pytest.mark.parametrize("change", [enhanced, of_unknown_vr])
def test_odd_objects_that_are_no_seg_are_refused(change, ohif, tmp_path, ct):
    image = dcmread(ohif / "ct" / "CT-0001.dcm")
    change(image)
    image.save_as(tmp_path / "odd.dcm")
    with pytest.raises(Refused) as refused:
        read_seg(tmp_path / "odd.dcm", ct)
    assert refused.value.code == SegCode.NOT_A_SEG


def _cited(seg):
    return seg.PerFrameFunctionalGroupsSequence[7].DerivationImageSequence[0].SourceImageSequence[0]


STRANGERS = {
    SegCode.OTHER_PATIENT: lambda seg: setattr(seg, "PatientID", "another"),
    SegCode.OTHER_STUDY: lambda seg: setattr(seg, "StudyInstanceUID", "1.2.3"),
    SegCode.OTHER_FRAME_OF_REFERENCE: lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3"),
    SegCode.OTHER_SERIES: lambda seg: setattr(seg.ReferencedSeriesSequence[0], "SeriesInstanceUID", "1.2"),
    SegCode.UNKNOWN_IMAGE: lambda seg: setattr(_cited(seg), "ReferencedSOPInstanceUID", "1.2.3"),
    SegCode.POSITION_MISMATCH: lambda seg: setattr(
        _cited(seg),
        "ReferencedSOPInstanceUID",
        seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID,
    ),
    SegCode.EMPTY: lambda seg: setattr(seg, "PixelData", bytes(len(seg.PixelData))),
    SegCode.NOT_A_SEG: lambda seg: setattr(seg, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.481.3"),  # RTSTRUCT
}


@pytest.mark.parametrize("code", STRANGERS)
def test_each_stranger_has_its_own_code(code, ohif, ct, sent, tmp_path):
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    STRANGERS[code](seg)
    seg.save_as(tmp_path / "stranger.dcm")
    with pytest.raises(Refused) as refused:
        understand(read_seg(tmp_path / "stranger.dcm", ct), sent, ct.volume.geometry)
    assert refused.value.code == code
