"""Lost identifiers: refused, or made where a person asks for it, and marked in everything that is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.config import disable_value_validation

from models.errors import Refused
from models.series.verdict import Code, Verdict
from services.dicom.ct.check import check_folder
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.dicom.results.write import write_results
from tests.support.ct_files import edit, setting, written
from tests.support.result_cases import findings_of, organ_masks

Data = Callable[[str, str], Path]
EMPTY = setting(SOPInstanceUID="", SOPClassUID="", StudyInstanceUID="", SeriesInstanceUID="")


def emptied(folder: Path, seed: int = 1) -> list[Path]:
    paths = written(folder, seed)
    for path in paths:
        edit(path, EMPTY)
    return paths


def test_without_being_asked_nothing_is_made(tmp_path: Path) -> None:
    emptied(tmp_path)
    (row,) = check_folder(tmp_path)
    assert (row["code"], row["measured"]["lacking_study_uid"]) == (Code.MISSING_UID, 6)


def test_asked_for_sop_uids_come_from_the_file_meta_and_the_rest_is_made(tmp_path: Path) -> None:
    kept = {dcmread(path).file_meta.MediaStorageSOPInstanceUID for path in emptied(tmp_path)}
    (reading,) = read_series(tmp_path, makes_identifiers=True)
    assert reading.verdict.verdict is Verdict.REPAIRED
    assert reading.verdict.code is Code.MISSING_UID
    assert "SOPInstanceUID from the file meta in 6 images" in reading.verdict.detail
    assert {str(image.SOPInstanceUID) for image in reading.images} == kept
    assert {image.StudyInstanceUID for image in reading.images} == {reading.study_uid}
    assert reading.study_uid != reading.series_uid


def test_the_same_files_elsewhere_get_the_same_identifiers(tmp_path: Path) -> None:
    emptied(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    for path in sorted((tmp_path / "there").iterdir()):
        path.rename(path.with_name(f"x{hash(path.name) % 997}.dcm"))
    here, there = (read_series(tmp_path / name, makes_identifiers=True)[0] for name in ("here", "there"))
    assert (here.study_uid, here.series_uid) == (there.study_uid, there.series_uid)


def test_files_without_any_identifier_are_named_by_their_content(tmp_path: Path) -> None:
    for path in emptied(tmp_path):
        dataset = dcmread(path)
        del dataset.file_meta.MediaStorageSOPInstanceUID
        dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        dataset.save_as(path, enforce_file_format=False)
    readings = [read_series(tmp_path, makes_identifiers=True)[0] for _ in range(2)]
    uids = [[image.SOPInstanceUID for image in reading.images] for reading in readings]
    assert uids[0] == uids[1]
    assert len(set(uids[0])) == 6
    assert load(readings[0]).volume.hu.shape == (6, 12, 10)


def test_two_folders_never_become_one_study(tmp_path: Path) -> None:
    emptied(tmp_path / "a")
    emptied(tmp_path / "b", seed=2)
    readings = read_series(tmp_path, makes_identifiers=True)
    assert len({reading.study_uid for reading in readings}) == 2
    with pytest.raises(Refused, match="several-studies"):
        choose_series(readings)


def test_images_that_have_their_identifiers_keep_them(tmp_path: Path) -> None:
    written(tmp_path)
    plain, asked = read_series(tmp_path)[0], read_series(tmp_path, makes_identifiers=True)[0]
    assert asked.verdict == plain.verdict
    assert (asked.study_uid, asked.series_uid) == (plain.study_uid, plain.series_uid)


def test_a_gap_is_refused_whoever_made_the_identifiers(tmp_path: Path) -> None:
    emptied(tmp_path)[3].unlink()
    (reading,) = read_series(tmp_path, makes_identifiers=True)
    assert reading.verdict.code is Code.MISSING_SLICES


@pytest.mark.parametrize("uid", ["1.2." + "3" * 70, "1.2.banana", "1.2 .3"])
def test_what_is_no_identifier_counts_as_missing(tmp_path: Path, uid: str) -> None:
    with disable_value_validation():
        edit(written(tmp_path)[0], setting(SOPInstanceUID=uid))
    (row,) = check_folder(tmp_path)
    assert row["code"] == Code.MISSING_UID


def test_on_real_files_the_objects_say_that_identifiers_were_made(test_data: Data) -> None:
    folder = test_data("ct-series-empty-uids", "an exporter's own way to empty identifiers, in JPEG 2000")
    (row,) = check_folder(folder)
    assert row["code"] == "missing-uid"
    assert row["measured"]["lacking_series_uid"] == 20
    (reading,) = read_series(folder, makes_identifiers=True)
    series = load(reading)
    assert series.volume.geometry.shape == (20, 512, 512)
    np.testing.assert_allclose(series.volume.geometry.spacing_mm, (2.0, 0.9765625, 0.9765625))
    findings = findings_of(series, organ_masks(series.volume.geometry.shape), flagged=())
    seg, report = (
        dcmread(BytesIO(item.content))
        for item in write_results(series, findings, written_at=datetime(2026, 11, 22))
    )
    assert seg.StudyInstanceUID == report.StudyInstanceUID == reading.study_uid
    assert all("series repaired: missing-uid" in s.SegmentDescription for s in seg.SegmentSequence)
    told = [text.TextValue for text in report.ContentSequence[-1].ContentSequence]
    assert any(
        text.startswith("missing-uid: Identifiers were missing and were made, as asked") for text in told
    )
