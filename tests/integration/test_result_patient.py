"""Patient and study of what we write are the archive's own bytes, in every character set, also to dcmtk."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.sequence import Sequence

from services.dicom.ct.loaded import CTSeries
from services.dicom.results.write import write_results
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks
from tests.support.waiting import GUARD_SECONDS

SHAPE = (4, 12, 10)

NAMES = {
    "Latin 1": ("ISO_IR 100", "Müller^Zoë"),
    "Greek": ("ISO_IR 126", "Διονυσιος^Νικος"),
    "Cyrillic": ("ISO_IR 144", "Люкceмбypг^Анна"),
    "Japanese, ISO 2022": (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    "Japanese, half-width": (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
    "Korean, ISO 2022": (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
    "Chinese": ("GB18030", "Wang^XiaoDong=王^小东"),
    "UTF-8": ("ISO_IR 192", "Wang^XiaoDong=王^小東"),
    "none said": (None, "Plain^Name"),
}

DEIDENTIFIED = {
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "Basic profile",
    "IssuerOfPatientID": "HOSPITAL",
    "OtherPatientNames": "Anon^Ymous",
    "EthnicGroup": "X",
    "PatientComments": "none",
    "ClinicalTrialSponsorName": "Sponsor",
    "ClinicalTrialProtocolID": "P-7",
    "ClinicalTrialSubjectID": "S-1",
    "PatientWeight": "71.5",
    "PatientSize": "1.75",
    "AdditionalPatientHistory": "see report",
}


def series_with(**values: object) -> tuple[CTSeries, bytes]:
    """Return a series whose headers bear the values, as read from a file, and that file."""
    series = ct_series(AFFINES["axial"], SHAPE)
    images = []
    first = b""
    for image in series.images:
        del image.SpecificCharacterSet
        for keyword, value in values.items():
            if value is not None:
                setattr(image, keyword, value)
        buffer = BytesIO()
        image.save_as(buffer, enforce_file_format=True)
        first = first or buffer.getvalue()
        images.append(dcmread(BytesIO(buffer.getvalue())))
    return replace(series, images=tuple(images)), first


def objects(series: CTSeries, folder: Path) -> list[Path]:
    findings = findings_of(series, organ_masks(SHAPE))
    paths = []
    for item in write_results(series, findings, written_at=datetime(2026, 11, 22)):
        paths.append(folder / item.file_name)
        paths[-1].write_bytes(item.content)
    return paths


def by_dcmtk(path: Path, keyword: str, *options: str) -> bytes:
    """Return a value as dcmtk prints it."""
    tool = shutil.which("dcmdump")
    if tool is None:
        pytest.skip("dcmdump (Debian package dcmtk) is not installed")
    command = [tool, *options, "+P", keyword, "+L", str(path)]
    line = subprocess.run(
        command, capture_output=True, timeout=GUARD_SECONDS, check=True
    ).stdout.splitlines()[0]
    return line[line.index(b"[") + 1 : line.rindex(b"]")]


@pytest.mark.parametrize("name", NAMES)
def test_names_are_the_same_bytes_and_the_same_text_to_dcmtk(name: str, tmp_path: Path) -> None:
    """Debian's dcmtk cannot turn the Japanese sets into UTF-8: their bytes are decoded here."""
    character_set, written = NAMES[name]
    series, first = series_with(
        SpecificCharacterSet=character_set, PatientName=written, StudyDescription=written.split("^")[0]
    )
    stored = dcmread(BytesIO(first)).get_item("PatientName").value
    for path in objects(series, tmp_path):
        assert dcmread(path).get_item("PatientName").value == stored
        assert by_dcmtk(path, "PatientName") == stored.rstrip(b" ")
        if not name.startswith("Japanese"):
            assert by_dcmtk(path, "PatientName", "+U8").decode() == written
            assert by_dcmtk(path, "StudyDescription", "+U8").decode() == written.split("^")[0]
        elif character_set == ["", "ISO 2022 IR 87"]:
            assert by_dcmtk(path, "PatientName").decode("iso2022_jp") == written
        assert str(dcmread(path).PatientName) == written


@pytest.mark.parametrize("name", ["Greek", "Japanese, ISO 2022", "UTF-8"])
def test_dciodvfy_finds_no_error_in_any_of_them(name: str, tmp_path: Path) -> None:
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    character_set, written = NAMES[name]
    series, _ = series_with(SpecificCharacterSet=character_set, PatientName=written)
    for path in objects(series, tmp_path):
        said = subprocess.run(
            [tool, str(path)], capture_output=True, timeout=GUARD_SECONDS, check=False
        ).stderr
        assert b"Error" not in said, said


def test_all_of_the_patient_study_and_trial_modules_is_copied(tmp_path: Path) -> None:
    other = Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = "Q-1", "ELSEWHERE", "TEXT"
    method = Dataset()
    method.CodeValue, method.CodingSchemeDesignator = "113100", "DCM"
    method.CodeMeaning = "Basic Application Confidentiality Profile"
    series, _ = series_with(
        SpecificCharacterSet="ISO_IR 192",
        **DEIDENTIFIED,
        OtherPatientIDsSequence=Sequence([other]),
        DeidentificationMethodCodeSequence=Sequence([method]),
    )
    for path in objects(series, tmp_path):
        read = dcmread(path)
        assert {keyword: str(read.get(keyword)) for keyword in DEIDENTIFIED} == DEIDENTIFIED
        assert read.OtherPatientIDsSequence == Sequence([other])
        assert read.DeidentificationMethodCodeSequence == Sequence([method])
