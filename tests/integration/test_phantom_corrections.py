"""The corrections that lie in the repository: of no patient, painted by so much, and made again."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from models.organs import organ
from services.dicom.returned.understand import Status, understand
from services.dicom.seg.reader import read_seg
from tests.browser.voxels import Change, changes, masks_of
from tests.corrections import KIDNEY_OVERPAINTED, LIVER_ADDED, PATIENT, PHANTOM, SAVED_BY_OHIF_AT
from tests.corrections.make_corrections import phantom, sent_masks, write_sent
from tests.support.seg_cases import grid_of, read_headers

FILES = sorted(path for path in PHANTOM.rglob("*") if path.is_file())
PAINTED = {
    "saved-by-ohif": {"Liver": Change(LIVER_ADDED, 0), "Left kidney": Change(0, KIDNEY_OVERPAINTED)},
    "erased-in-ohif": {"Stomach": Change(38, 0), "Liver": Change(0, 34), "Spleen": Change(0, 28)},
    "segments-in-ohif": {"Lesion": Change(14, 0), "Right kidney": Change(0, 508)},
    "untouched-in-ohif": {},
    "saved-by-dcmqi": {"Stomach": Change(174, 179)},
    "painted-in-ohif-3-13": {"Liver": Change(LIVER_ADDED, 0), "Left kidney": Change(0, KIDNEY_OVERPAINTED)},
    "layers-in-ohif-3-13": {"Stomach": Change(20, 0), "Spleen": Change(0, 27)},
}
SENT = {"layers-in-ohif-3-13": "sent-overlapping"}
"""What was opened, where it was not ``sent``."""


def test_they_are_of_no_patient_and_small() -> None:
    assert len(FILES) == 13 + 2 + len(PAINTED)
    assert sum(path.stat().st_size for path in FILES) < 2_000_000
    for path in FILES:
        dataset = dcmread(path, stop_before_pixels=True)
        assert (dataset.PatientID, dataset.get("PatientBirthDate")) == (PATIENT, ""), path.name
    [one] = {dcmread(path, stop_before_pixels=True).StudyInstanceUID for path in FILES}
    assert all(dcmread(path).QualityControlSubject == "YES" for path in (PHANTOM / "ct").iterdir())
    assert one.startswith("2.25.")


@pytest.mark.parametrize("name", PAINTED)
def test_so_much_was_painted_counted_apart_from_our_readers(name: str) -> None:
    images = [str(dcmread(path).SOPInstanceUID) for path in sorted((PHANTOM / "ct").iterdir())]
    before, after = (
        masks_of((PHANTOM / f"{one}.dcm").read_bytes(), images) for one in (SENT.get(name, "sent"), name)
    )
    assert changes(before, after) == PAINTED[name]


@pytest.mark.parametrize("name", PAINTED)
def test_our_reader_sees_the_same(name: str) -> None:
    """Also of a label map in which a slice has three frames, and an organ is on two of them."""
    ct = read_headers(PHANTOM / "ct")
    images = [str(image.SOPInstanceUID) for image in ct.images]
    path = PHANTOM / f"{name}.dcm"
    by_hand = masks_of(path.read_bytes(), images)
    read = {segment.label: segment.mask.dense() for segment in read_seg(path, ct).segments}
    assert read.keys() == by_hand.keys()
    for label, mask in by_hand.items():
        assert np.array_equal(read[label], mask), label


def test_an_organ_is_on_two_layers_of_a_slice_in_what_ohif_3_13_saved() -> None:
    saved = dcmread(PHANTOM / "layers-in-ohif-3-13.dcm")
    held = Counter(
        (frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID, int(number))
        for frame, plane in zip(saved.PerFrameFunctionalGroupsSequence, saved.pixel_array, strict=True)
        for number in np.unique(plane[plane > 0])
    )
    assert (saved.SegmentationType, int(saved.NumberOfFrames)) == ("LABELMAP", 3 * 13)
    assert Counter(held.values()) == {1: 53, 2: 1}


@pytest.mark.parametrize("name", ["painted-in-ohif-3-13", "layers-in-ohif-3-13"])
def test_what_ohif_3_13_saved_is_a_correction_without_a_question(name: str) -> None:
    """Of what a reader did not touch, nothing has changed, in whatever layer it lies."""
    ct = read_headers(PHANTOM / "ct")
    saved, sent = (read_seg(PHANTOM / f"{one}.dcm", ct) for one in (name, SENT.get(name, "sent")))
    answer = understand(saved, sent, grid_of(ct))
    assert (answer.status, answer.questions) == (Status.CORRECTION, ())
    edited = {organ(key).label for key, mask in answer.returned.items() if mask != answer.sent[key]}
    assert edited == PAINTED[name].keys()


def test_real_viewers_saved_them() -> None:
    for name in PAINTED:
        saved = dcmread(PHANTOM / f"{name}.dcm")
        if "ohif" in name:
            assert saved.file_meta.ImplementationVersionName == "OHIF-3.11.0"
            assert b"Phantom^Gr\xc3\xb6\xc3\x9fe" in (PHANTOM / f"{name}.dcm").read_bytes()
            said = saved.get("SpecificCharacterSet")
            assert said == ("ISO_IR 192" if "3-13" in name else None), "OHIF 3.12 writes UTF-8 unsaid"
        else:
            assert saved.Manufacturer == "QIICR"
    saved = dcmread(PHANTOM / "saved-by-ohif.dcm")
    assert saved.ContentDate + saved.ContentTime == f"{SAVED_BY_OHIF_AT:%Y%m%d%H%M%S}"


def test_the_ct_and_what_was_sent_can_be_made_again(tmp_path: Path) -> None:
    case = phantom()
    series = write_sent(case, tmp_path)
    for path in sorted((PHANTOM / "ct").iterdir()):
        assert dcmread(tmp_path / "ct" / path.name) == dcmread(path)
    images = [str(image.SOPInstanceUID) for image in series.images]
    for name in ("sent.dcm", "sent-overlapping.dcm"):
        made, kept = (masks_of((folder / name).read_bytes(), images) for folder in (tmp_path, PHANTOM))
        assert made.keys() == kept.keys()
        for label, mask in kept.items():
            assert np.array_equal(made[label], mask), (name, label)
    lacking = case.truth["liver"] & ~sent_masks(case)["liver"]
    assert np.count_nonzero(lacking.any(axis=(1, 2))) == 3
