"""Objects that are no CT images decide nothing about those that are, whatever they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    MRImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from models.series.verdict import Code
from services.dicom.ct.check import check_folder
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.series import read_series
from services.dicom.foreign.reader import as_written
from tests.support.ct_files import edit, setting, written

LETTERS = "1.2.826.0.1.A77.5"
IN_THE_SERIES = {
    "contours": {"SOPClassUID": RTStructureSetStorage, "Modality": "RTSTRUCT"},
    "contours said to be CT": {"SOPClassUID": RTStructureSetStorage, "Modality": "CT"},
    "a screen save": {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "CT"},
    "a SEG": {"SOPClassUID": SegmentationStorage, "Modality": "SEG"},
    "another modality": {"SOPClassUID": MRImageStorage, "Modality": "MR"},
    "contours of another patient": {
        "SOPClassUID": RTStructureSetStorage, "Modality": "RTSTRUCT", "PatientID": "another",
    },
    "a report whose UID has letters": {
        "SOPClassUID": BasicTextSRStorage, "Modality": "SR", "SOPInstanceUID": LETTERS,
    },
    "a report whose class has letters": {"SOPClassUID": LETTERS, "Modality": "SR"},
    "contours without a study": {
        "SOPClassUID": RTStructureSetStorage, "Modality": "RTSTRUCT", "StudyInstanceUID": "",
    },
}  # fmt: skip
ELSEWHERE = {
    "a report whose UID has letters": {"SOPClassUID": BasicTextSRStorage, "SOPInstanceUID": LETTERS},
    "a report of another patient": {"SOPClassUID": BasicTextSRStorage, "PatientID": "another"},
    "a report of another study": {"SOPClassUID": BasicTextSRStorage, "StudyInstanceUID": "1.2.3.77"},
    "a report without identifiers": {
        "SOPClassUID": BasicTextSRStorage, "StudyInstanceUID": "", "SOPInstanceUID": "", "PatientID": "",
    },
    "magnetic resonance of another study": {
        "SOPClassUID": MRImageStorage, "Modality": "MR", "StudyInstanceUID": "1.2.3.77",
    },
}  # fmt: skip


@as_written()
def odd(folder: Path, name: str, **values: object) -> Path:
    """Write an object with a CT image's patient, study and series, other values by keyword."""
    image = dcmread(min(folder.glob("*.dcm")))
    for keyword in ("PixelData", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(image, keyword)
    given = {"SOPInstanceUID": "1.2.3.4.5.6"} | values
    for keyword, value in given.items():
        setattr(image, keyword, value)
    image.file_meta.MediaStorageSOPClassUID = given["SOPClassUID"]
    image.save_as(folder / name, enforce_file_format=False)
    return folder / name


@pytest.mark.parametrize("what", IN_THE_SERIES)
def test_what_is_no_ct_image_and_bears_the_series_uid_is_set_aside_and_named(
    tmp_path: Path, what: str
) -> None:
    """One comes before the images, one behind them."""
    written(tmp_path)
    (alone,) = check_folder(tmp_path)
    odd(tmp_path, "z-last.dcm", **IN_THE_SERIES[what])
    odd(tmp_path, "a-first.dcm", **IN_THE_SERIES[what])
    (row,) = check_folder(tmp_path)
    (set_aside,) = [note for note in row["notes"] if note not in alone["notes"]]
    assert row | {"notes": [note for note in row["notes"] if note != set_aside]} == alone
    assert set_aside.startswith("2 object(s) in the series are no CT images (modality: ")
    (reading,) = read_series(tmp_path)
    assert [(one.code, one.copy_of) for one in reading.set_aside] == [(Code.NOT_CT, None)] * 2
    assert reading.set_aside[0].sop_instance_uid == IN_THE_SERIES[what].get("SOPInstanceUID", "1.2.3.4.5.6")


@pytest.mark.parametrize("what", ELSEWHERE)
def test_what_is_no_ct_image_and_lies_beside_the_series_decides_nothing(tmp_path: Path, what: str) -> None:
    written(tmp_path)
    (reading,) = read_series(tmp_path)
    odd(tmp_path, "a-first.dcm", **{"SeriesInstanceUID": "1.2.3.88", "Modality": "SR"} | ELSEWHERE[what])
    chosen = choose_series(read_series(tmp_path))
    assert chosen.series_uid == reading.series_uid
    said = chosen.verdict.notes[-1]
    assert said.startswith("Series 1.2.3.88 is not fit: ")
    assert ("another patient" in said) == ("PatientID" in ELSEWHERE[what])
    assert ("another study" in said or "patient and study" in said) == ("StudyInstanceUID" in ELSEWHERE[what])


def test_the_code_is_that_of_the_ct_images_where_none_are_fit(tmp_path: Path) -> None:
    for path in written(tmp_path):
        edit(path, setting(StudyInstanceUID=""))
    odd(tmp_path, "z.dcm", **IN_THE_SERIES["contours"], SeriesInstanceUID="1.2.3.88")
    with pytest.raises(Exception, match="missing-uid"):
        choose_series(read_series(tmp_path))


def contradicting(dataset: Dataset) -> None:
    dataset.Modality = "MR"


def nameless(dataset: Dataset) -> None:
    dataset.SOPClassUID = ""


@pytest.mark.parametrize(
    ("change", "code"), [(contradicting, Code.NOT_CT), (nameless, Code.MISSING_UID)], ids=["MR", "no class"]
)
def test_an_image_that_contradicts_itself_or_does_not_say_still_refuses(
    tmp_path: Path, change: object, code: Code
) -> None:
    """A slice is not left out because its header lies: the series would be shorter at its end."""
    edit(written(tmp_path)[-1], change)  # type: ignore[arg-type]
    (row,) = check_folder(tmp_path)
    assert row["code"] == code


def test_a_localizer_to_which_nothing_refers_needs_no_identifier(tmp_path: Path) -> None:
    written(tmp_path)
    odd(
        tmp_path,
        "a-scout.dcm",
        SOPClassUID=CTImageStorage,
        SOPInstanceUID=LETTERS,
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )
    (row,) = check_folder(tmp_path)
    assert (row["verdict"], row["code"]) == ("repaired", Code.LOCALIZER_EXCLUDED)
