"""The series reader on real scanners' files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread

from models.errors import Refused
from services.dicom.check import check_folder
from services.dicom.headers import facts_of, read_header
from services.dicom.pixels import PaddingTally, hounsfield
from services.dicom.series import choose_series, load, read_series

Data = Callable[[str], Path]


def checked(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the report of a folder by the first ten characters of the codes."""
    return {f"{row['verdict']} {row['code']}": row for row in check_folder(folder)}


def test_an_abdomen_is_ok_with_its_padding_noted(test_data: Data) -> None:
    (row,) = check_folder(test_data("ct-abdomen-series"))
    assert row["verdict"] == "ok"
    assert row["shape"] == [41, 512, 512]
    assert row["spacing_mm"] == [5.0, 0.796875, 0.796875]
    assert row["notes"] == ["21.3 % of the voxels are padding and were set to -1024 HU."]


def test_an_abdomen_is_read_exactly_and_head_up(test_data: Data) -> None:
    (reading,) = read_series(test_data("ct-abdomen-series"))
    series = load(reading)
    assert series.volume.hu.dtype == np.int16
    assert series.volume.hu.min() == -1024
    np.testing.assert_allclose(series.volume.geometry.to_lps((0, 0, 0)), (-198.199997, -204.0, -375.0))
    stored = dcmread(reading.paths[20]).pixel_array.astype(int)
    hu = series.volume.hu[20]
    np.testing.assert_array_equal(hu[stored != -2000], stored[stored != -2000] - 1024)
    assert (hu[stored == -2000] == -1024).all()


def test_empty_identifiers_are_refused(test_data: Data) -> None:
    (row,) = check_folder(test_data("ct-series-empty-uids"))
    assert row["code"] == "missing-uid"
    assert row["measured"]["lacking_series_uid"] == 20


def test_a_tilt_is_measured_and_a_gap_is_refused(test_data: Data) -> None:
    rows = checked(test_data("ct-tilt-and-gap"))
    assert set(rows) == {"repaired gantry-tilt", "refused missing-slices"}
    tilt, gap = rows["repaired gantry-tilt"], rows["refused missing-slices"]
    assert tilt["measured"]["tilt_degrees"] == pytest.approx(14.0, abs=0.001)
    assert tilt["spacing_mm"][0] == pytest.approx(5.0)
    assert gap["measured"]["gap_mm"] == pytest.approx(10.0)
    assert gap["measured"]["between_slices"] == [3, 4]
    assert all("FrameOfReferenceUID" in row["notes"][0] for row in rows.values())


def test_a_folder_of_two_studies_is_not_chosen_from(test_data: Data) -> None:
    with pytest.raises(Refused, match="several-studies"):
        choose_series(read_series(test_data("ct-tilt-and-gap")))


def test_a_folder_without_dicom_is_refused(test_data: Data) -> None:
    with pytest.raises(Refused, match="not-dicom: The file is not DICOM"):
        check_folder(test_data("mr-wrong-modality"))


def test_of_a_mixed_study_the_axial_series_is_chosen(test_data: Data) -> None:
    readings = read_series(test_data("ct-study-mixed-series"))
    assert sorted(str(reading.verdict.code) for reading in readings) == [
        "None",
        "localizer-excluded",
        "not-ct",
    ]
    chosen = choose_series(readings)
    assert chosen.geometry is not None
    assert chosen.geometry.shape == (28, 512, 512)
    assert load(chosen).volume.hu.shape == (28, 512, 512)


def test_odd_encodings_have_their_codes(test_data: Data) -> None:
    rows = check_folder(test_data("ct-odd-encodings"))
    assert sorted(row["code"] for row in rows) == ["derived-image", "not-ct", "not-ct", "too-few-slices"]


def test_a_reversed_column_cosine_of_unknown_vr_is_read(test_data: Data) -> None:
    header = read_header(test_data("ct-odd-encodings") / "explicit_VR-UN.dcm")
    assert header is not None
    assert facts_of(header).orientation == (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def test_values_that_are_not_hounsfield_are_refused(test_data: Data) -> None:
    (row,) = check_folder(test_data("seg-dcmqi") / "data" / "segmentations" / "24x38x3" / "image")
    assert row["code"] == "bad-rescale"


def _hu(path: Path) -> np.ndarray:
    header = read_header(path)
    assert header is not None
    return hounsfield(path, header, facts_of(header), PaddingTally())


def test_lossless_encodings_are_bit_equal_and_the_lossy_one_is_told(test_data: Data) -> None:
    folder = test_data("ct-encodings")
    plain = _hu(folder / "CTImage.dcm")
    names = {path.name: path for path in folder.glob("CTImage.dcm_*")}
    lossy = {name for name in names if "JPEGProcess1Transfer" in name}
    assert len(names) == 5
    assert len(lossy) == 1
    for name in names.keys() - lossy:
        np.testing.assert_array_equal(_hu(names[name]), plain, err_msg=name)
    (name,) = lossy
    header = read_header(names[name])
    assert header is not None
    assert facts_of(header).lossy
