"""A SEG as OHIF saved it, read back exactly, and what must be refused about it."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from deploy.demo.simulated_reader import save_like_ohif
from models.errors import Refused
from models.findings import Flag
from models.organs import ORGANS, organ
from services.dicom.results.write import write_results
from services.dicom.returned.understand import Status, understand
from services.dicom.seg.frames import SegCode
from services.dicom.seg.reader import read_seg
from services.dicom.seg.saving import saving_of
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks
from tests.support.seg_cases import read_headers


@pytest.fixture
def ohif_ct(ohif):
    return read_headers(ohif / "ct")


@pytest.fixture
def changed(ohif, tmp_path):
    """Write what OHIF saved with one thing changed, and return its path."""

    def write(change):
        seg = dcmread(ohif / "saved-by-ohif.dcm")
        change(seg)
        seg.save_as(tmp_path / "changed.dcm")
        return tmp_path / "changed.dcm"

    return write


def refusal(path, ct) -> str:
    with pytest.raises(Refused) as refused:
        read_seg(path, ct)
    return refused.value.code


def test_a_deflated_seg_holds_the_same_voxels(ohif, ohif_ct, changed):
    path = changed(lambda seg: setattr(seg.file_meta, "TransferSyntaxUID", DeflatedExplicitVRLittleEndian))
    for one, other in zip(
        read_seg(path, ohif_ct).segments,
        read_seg(ohif / "saved-by-ohif.dcm", ohif_ct).segments,
        strict=True,
    ):
        assert one.mask == other.mask


def unsaid(seg: Dataset, encoding: str) -> None:
    """Write names beyond ASCII, and not in what; pydicom writes what it cannot decode as it is."""
    seg.PatientID = "Größe-1".encode(encoding).decode("latin-1")
    seg.ContentCreatorName = "Müller^Jürgen".encode(encoding).decode("latin-1")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_names_beyond_ascii_are_understood_though_ohif_does_not_say_that_it_writes_utf_8(
    ohif_ct, changed, encoding
):
    path = changed(lambda seg: unsaid(seg, encoding))
    assert "SpecificCharacterSet" not in dcmread(path)
    assert "Größe-1".encode(encoding) in path.read_bytes()
    for image in ohif_ct.images:
        image.PatientID = "Größe-1"
    assert read_seg(path, ohif_ct).segments
    assert saving_of(path).reader == "Müller^Jürgen"
    for image in ohif_ct.images:
        image.PatientID = "Größe-2"
    assert refusal(path, ohif_ct) == SegCode.OTHER_PATIENT


def test_bytes_that_a_ct_and_its_seg_both_do_not_explain_are_still_of_one_patient(ohif_ct, changed):
    path = changed(lambda seg: unsaid(seg, "utf-8"))
    for image in ohif_ct.images:
        image.PatientID = "Größe-1".encode().decode("latin-1")  # what pydicom makes of it
    assert read_seg(path, ohif_ct).segments
    assert saving_of(path).reader == "Müller^Jürgen"


def test_frames_without_source_images_lie_where_their_position_says(ohif, ohif_ct, changed):
    def forget(seg):
        for frame in seg.PerFrameFunctionalGroupsSequence:
            del frame.DerivationImageSequence
        del seg.ReferencedSeriesSequence

    expected = read_seg(ohif / "saved-by-ohif.dcm", ohif_ct)
    for one, other in zip(read_seg(changed(forget), ohif_ct).segments, expected.segments, strict=True):
        assert one.mask == other.mask


def test_frames_without_positions_lie_on_the_image_they_cite(ohif, ohif_ct, changed):
    def forget(seg):
        for frame in seg.PerFrameFunctionalGroupsSequence:
            del frame.PlanePositionSequence
        del seg.SharedFunctionalGroupsSequence

    expected = read_seg(ohif / "saved-by-ohif.dcm", ohif_ct)
    for one, other in zip(read_seg(changed(forget), ohif_ct).segments, expected.segments, strict=True):
        assert one.mask == other.mask


def test_frames_mirrored_in_plane_are_turned_to_the_ct(ohif, ohif_ct, changed):
    image = ohif_ct.images[0]

    def mirror(seg):
        pixels = seg.pixel_array[:, ::-1, :]  # rows from posterior to anterior
        seg.PixelData = np.packbits(pixels.ravel(), bitorder="little").tobytes() + b"\0"
        seg.PixelData = seg.PixelData[: len(seg.PixelData) // 2 * 2]
        orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
        orientation.ImageOrientationPatient = [1, 0, 0, 0, -1, 0]
        for frame in seg.PerFrameFunctionalGroupsSequence:
            position = frame.PlanePositionSequence[0]
            x, y, z = (float(v) for v in position.ImagePositionPatient)
            y += (image.Rows - 1) * float(image.PixelSpacing[0])
            position.ImagePositionPatient = [f"{v:.8f}" for v in (x, y, z)]

    expected = read_seg(ohif / "saved-by-ohif.dcm", ohif_ct)
    for one, other in zip(read_seg(changed(mirror), ohif_ct).segments, expected.segments, strict=True):
        assert one.mask == other.mask


def other_matrix(seg: Dataset) -> None:
    seg.Rows = 100


def moved_frame(seg: Dataset) -> None:
    first, *_ = seg.PerFrameFunctionalGroupsSequence
    first.PlanePositionSequence[0].ImagePositionPatient[2] += 3.0


def cite_unknown(seg: Dataset) -> None:
    source = seg.PerFrameFunctionalGroupsSequence[5].DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = "1.2.3"


def list_unknown(seg: Dataset) -> None:
    seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence[7].ReferencedSOPInstanceUID = "1.2.3"


def oblique(seg: Dataset) -> None:
    orientation = seg.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0]
    orientation.ImageOrientationPatient = [0.995, 0.0998, 0, -0.0998, 0.995, 0]


def undeclared_segment(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber = 9


def one_frame_too_many(seg: Dataset) -> None:
    seg.PerFrameFunctionalGroupsSequence.append(deepcopy(seg.PerFrameFunctionalGroupsSequence[0]))


def half_the_pixels(seg: Dataset) -> None:
    seg.PixelData = seg.PixelData[: len(seg.PixelData) // 4 * 2]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda seg: setattr(seg, "PatientID", "somebody else"), SegCode.OTHER_PATIENT),
        (lambda seg: setattr(seg, "StudyInstanceUID", "1.2.3"), SegCode.OTHER_STUDY),
        (lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3"), SegCode.OTHER_FRAME_OF_REFERENCE),
        (other_matrix, SegCode.GRID_MISMATCH),
        (oblique, SegCode.GRID_MISMATCH),
        (cite_unknown, SegCode.UNKNOWN_IMAGE),
        (list_unknown, SegCode.UNKNOWN_IMAGE),
        (moved_frame, SegCode.POSITION_MISMATCH),
        (undeclared_segment, SegCode.MALFORMED),
        (one_frame_too_many, SegCode.MALFORMED),
        (half_the_pixels, SegCode.BAD_PIXEL_DATA),
        (lambda seg: setattr(seg, "SegmentationType", "SOMETHING"), SegCode.MALFORMED),
        (lambda seg: delattr(seg, "Rows"), SegCode.MALFORMED),
    ],
)
def test_strangers_and_damage_are_refused_with_distinct_codes(change, code, ohif_ct, changed):
    assert refusal(changed(change), ohif_ct) == code


def test_a_ct_image_and_a_text_file_are_no_segs(ohif, ohif_ct, tmp_path):
    assert refusal(ohif / "ct" / "CT-0001.dcm", ohif_ct) == SegCode.NOT_A_SEG
    text = tmp_path / "note.dcm"
    text.write_text("liver looks fine")
    assert refusal(text, ohif_ct) == SegCode.NOT_DICOM


@pytest.mark.parametrize(
    ("profile", "placed"),
    [("labelmap", "sheared"), ("slicer", "reversed"), *(("ohif", placed) for placed in sorted(AFFINES))],
)
def test_our_own_organ_seg_is_read_as_it_was_meant_and_is_unchanged(placed, profile, tmp_path):
    series = ct_series(AFFINES[placed])
    masks = organ_masks(series.volume.geometry.shape)
    if profile == "labelmap":  # it holds no overlaps
        taken = np.zeros(series.volume.geometry.shape, dtype=bool)
        for key in masks:
            masks[key] = masks[key] & ~taken
            taken |= masks[key]
    written = datetime(2026, 3, 1, 12, tzinfo=UTC)
    objects = write_results(series, findings_of(series, masks), profile=profile, written_at=written)
    (organ_seg,) = [item for item in objects if item.kind == "organ-seg"]
    path = tmp_path / organ_seg.file_name
    path.write_bytes(organ_seg.content)
    seg = read_seg(path, series)
    answer = understand(seg, seg, series.volume.geometry)
    assert answer.status is Status.UNCHANGED
    assert answer.sent.keys() == masks.keys()
    for key, mask in masks.items():
        assert np.array_equal(answer.sent[key].dense(), mask), key


@pytest.mark.parametrize("flags_in_labels", [True, False])
def test_flags_in_labels_come_back_in_no_ones_way(flags_in_labels, tmp_path):
    """An organ flagged in one result and not in another is one, also where a viewer keeps labels only."""
    series = ct_series(AFFINES["axial"])
    shape = series.volume.geometry.shape
    findings = findings_of(series, organ_masks(shape), flagged=("stomach",))
    rejected = tuple(replace(f, flag=Flag.REJECT) if f.organ == "aorta" else f for f in findings.organs)
    results = []
    for said, marked in ((replace(findings, organs=rejected), True), (findings, flags_in_labels)):
        sent, *_ = write_results(
            series, said, flags_in_labels=marked, written_at=datetime(2026, 3, 1, 12, tzinfo=UTC)
        )
        results.append(sent)
    first, second = results
    assert (first.sop_instance_uid == second.sop_instance_uid) == flags_in_labels
    labels = {str(item.SegmentLabel) for item in dcmread(BytesIO(first.content)).SegmentSequence}
    assert labels >= {"Stomach (check)", "Aorta (STOP)", "Spleen"}
    saved = tmp_path / "saved.dcm"
    saved.write_bytes(save_like_ohif(first.content, series, {}, written_at=datetime(2026, 3, 2)))
    (tmp_path / "second.dcm").write_bytes(second.content)
    back, sent = read_seg(saved, series), read_seg(tmp_path / "second.dcm", series)
    assert [one.label for one in back.segments] == [organ(key).label for key in ORGANS]
    answer = understand(back, sent, series.volume.geometry)
    assert (answer.status, answer.questions) == (Status.UNCHANGED, ())
