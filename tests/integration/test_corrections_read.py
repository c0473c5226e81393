"""From a returned file to the ledger: what 3D Slicer's tools and others write, and who is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread

from models.corrections import ledger
from models.errors import Refused
from services.dicom.answers import Answers
from services.dicom.correction_reader import ReturnedSeg, Status, understand
from services.dicom.results import write_results
from services.dicom.review_regions import review_regions
from services.dicom.seg_frames import SegCode
from services.dicom.seg_reader import read_seg
from services.dicom.segment_claims import Doubt
from services.dicom.series import load, read_series
from tests.result_cases import AFFINES, ct_series, findings_of, organ_masks
from tests.seg_cases import cited_headers, read_headers


@pytest.fixture(scope="module")
def ohif(test_data):
    return test_data("ohif-correction")


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


def tool(name: str) -> Path:
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip("dcmqi is not installed (pip install dcmqi)")
    return path


def slicer_saves(ohif: Path, ct, masks: dict[str, np.ndarray], folder: Path, **attributes: str) -> Path:
    """Open `sent.dcm` and save `masks`, by label and in their order, with the tools that 3D Slicer uses.

    Everything said of a segment is kept as it was opened, apart from `attributes`.
    """
    run = {"check": True, "capture_output": True, "cwd": folder}
    subprocess.run(
        [
            tool("segimage2itkimage"), "--inputDICOM", ohif / "sent.dcm", "--outputDirectory", folder,
            "--outputType", "nii", "--prefix", "opened",
        ],
        **run,
    )  # fmt: skip
    meta = json.loads((folder / "opened-meta.json").read_text())
    said = {segment["SegmentLabel"]: segment for group in meta["segmentAttributes"] for segment in group}
    labels = np.zeros(ct.volume.geometry.shape, dtype=np.uint8)
    for n, mask in enumerate(masks.values(), start=1):
        labels[mask] = n
    affine = ct.volume.geometry.affine[:, [2, 1, 0, 3]]
    image = nibabel.Nifti1Image(labels.T, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    image.to_filename(folder / "drawn.nii.gz")
    meta["segmentAttributes"] = [
        [{**said[label], **attributes, "labelID": n} for n, label in enumerate(masks, start=1)]
    ]
    (folder / "meta.json").write_text(json.dumps(meta))
    subprocess.run(
        [
            tool("itkimage2segimage"), "--inputImageList", folder / "drawn.nii.gz",
            "--inputDICOMDirectory", ohif / "ct", "--outputDICOM", folder / "saved.dcm",
            "--inputMetadata", folder / "meta.json",
        ],
        **run,
    )  # fmt: skip
    return folder / "saved.dcm"


@pytest.fixture
def edited(sent, ct):
    """Two organs in another order, the stomach with 12 voxels more and a slice less."""
    masks = {segment.label: segment.mask.copy() for segment in sent.segments}
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
    saved = read_seg(slicer_saves(ohif, ct, masks, tmp_path), ct)
    assert [segment.label for segment in saved.segments] == ["Stomach", "Liver"]
    assert all(segment.automatic and segment.tracking_uid for segment in saved.segments)
    answer = understand(saved, sent, ct.volume.geometry)
    assert [(q.candidates, q.why) for q in answer.questions] == [
        (("stomach",), Doubt.AUTOMATIC),
        *(((key,), Doubt.NOT_RETURNED) for key in ("spleen", "right_kidney", "left_kidney")),
    ]
    words = ["1=stomach", "spleen=not-reviewed", "right_kidney=not-reviewed", "left_kidney=deleted"]
    answer = understand(saved, sent, ct.volume.geometry, Answers.parse(words))
    assert (answer.status, answer.questions) == (Status.CORRECTION, ())
    kidney = int(answer.sent["left_kidney"].sum())
    assert changes(answer, ct) == {
        "spleen": (0, 0, 0),
        "liver": (0, 0, 0),
        "stomach": expected,
        "right_kidney": (0, 0, 0),
        "left_kidney": (0, kidney, 0),
    }


def test_what_a_reader_marks_as_manual_in_3d_slicer_needs_no_answer(ohif, ct, sent, edited, tmp_path):
    masks, expected = edited
    path = slicer_saves(ohif, ct, masks, tmp_path, SegmentAlgorithmType="MANUAL")
    answer = understand(read_seg(path, ct), sent, ct.volume.geometry)
    assert {q.why for q in answer.questions} == {Doubt.NOT_RETURNED}
    assert changes(answer, ct)["stomach"] == expected


def test_what_3d_slicer_saves_untouched_is_ours(ohif, ct, sent, tmp_path):
    masks = {segment.label: segment.mask for segment in reversed(sent.segments)}
    answer = understand(read_seg(slicer_saves(ohif, ct, masks, tmp_path), ct), sent, ct.volume.geometry)
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
        assert np.array_equal(regions[region.organ], region.mask)


DCMQI, HIGHDICOM, ODD = "seg-dcmqi", "seg-highdicom", "ct-odd-encodings"
VOXELS = {  # as pydicom decodes each frame; a fraction counts from half of the maximum on
    (DCMQI, "data/segmentations/liver.dcm", "data/segmentations/ct-3slice"): [107_098],
    (ODD, "liver_j2k.dcm", "data/segmentations/ct-3slice"): [107_098],
    (ODD, "liver_expb.dcm", "data/segmentations/ct-3slice"): [107_098],
    (DCMQI, "data/segmentations/partial_overlaps.dcm", "data/segmentations/ct-3slice"): [
        9602,
        11888,
        10743,
        6693,
        4713,
    ],
    (DCMQI, "data/segmentations/sparse-labelmap-noppv.dcm", "data/segmentations/24x38x3/image"): [630],
    (HIGHDICOM, "seg_image_ct_binary.dcm", ""): [638],
    (HIGHDICOM, "seg_image_ct_binary_overlap.dcm", ""): [64, 16],
    (HIGHDICOM, "seg_image_ct_binary_single_frame.dcm", ""): [1832],
    (HIGHDICOM, "seg_image_ct_binary_fractional.dcm", ""): [638],
    (HIGHDICOM, "seg_image_ct_true_fractional.dcm", ""): [638],
}


@pytest.mark.parametrize(("where", "voxels"), VOXELS.items(), ids=lambda value: str(value[1:2]))
def test_every_seg_of_other_writers_holds_so_many_voxels(where, voxels, test_data):
    folder, name, images = where
    path = test_data(folder) / name
    series = read_headers(test_data(DCMQI) / images) if images else cited_headers(path)
    assert [int(segment.mask.sum()) for segment in read_seg(path, series).segments] == voxels


@pytest.mark.parametrize("name", ["eCT_Supplemental.dcm", "explicit_VR-UN.dcm"])
def test_odd_objects_that_are_no_seg_are_refused(name, test_data, ct):
    with pytest.raises(Refused) as refused:
        read_seg(test_data(ODD) / name, ct)
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
