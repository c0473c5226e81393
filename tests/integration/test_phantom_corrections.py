"""The corrections that lie in the repository: of no patient, painted by so much, and made again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from tests.browser.voxels import Change, changes, masks_of
from tests.corrections import KIDNEY_OVERPAINTED, LIVER_ADDED, PATIENT, PHANTOM, SAVED_BY_OHIF_AT
from tests.corrections.make_corrections import phantom, sent_masks, write_sent

FILES = sorted(path for path in PHANTOM.rglob("*") if path.is_file())
PAINTED = {
    "saved-by-ohif": {"Liver": Change(LIVER_ADDED, 0), "Left kidney": Change(0, KIDNEY_OVERPAINTED)},
    "erased-in-ohif": {"Stomach": Change(38, 0), "Liver": Change(0, 34), "Spleen": Change(0, 28)},
    "segments-in-ohif": {"Lesion": Change(14, 0), "Right kidney": Change(0, 508)},
    "untouched-in-ohif": {},
    "saved-by-dcmqi": {"Stomach": Change(174, 179)},
}


def test_they_are_of_no_patient_and_small() -> None:
    assert len(FILES) == 13 + 1 + len(PAINTED)
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
    before, after = (masks_of((PHANTOM / f"{one}.dcm").read_bytes(), images) for one in ("sent", name))
    assert changes(before, after) == PAINTED[name]


def test_real_viewers_saved_them() -> None:
    for name in PAINTED:
        saved = dcmread(PHANTOM / f"{name}.dcm")
        if "ohif" in name:
            assert saved.file_meta.ImplementationVersionName == "OHIF-3.11.0"
            assert b"Phantom^Gr\xc3\xb6\xc3\x9fe" in (PHANTOM / f"{name}.dcm").read_bytes()
            assert "SpecificCharacterSet" not in saved, "OHIF writes UTF-8 and does not say so"
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
    made, kept = (masks_of((folder / "sent.dcm").read_bytes(), images) for folder in (tmp_path, PHANTOM))
    assert made.keys() == kept.keys()
    for label, mask in kept.items():
        assert np.array_equal(made[label], mask), label
    lacking = case.truth["liver"] & ~sent_masks(case)["liver"]
    assert np.count_nonzero(lacking.any(axis=(1, 2))) == 3
