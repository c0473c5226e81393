"""The series reader on what real scanners and other makers' encoders wrote, beyond what a phantom repeats."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from services.dicom.ct.check import check_folder
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.headers import facts_of, read_header
from services.dicom.ct.loaded import load
from services.dicom.ct.pixels import hounsfield
from services.dicom.ct.series import read_series

Data = Callable[[str, str], Path]


def test_an_abdomen_is_read_exactly_and_head_up_with_its_padding_noted(test_data: Data) -> None:
    folder = test_data("ct-abdomen-series", "a whole abdomen, feet first, with a scanner's padding")
    (row,) = check_folder(folder)
    assert row["verdict"] == "ok"
    assert row["shape"] == [41, 512, 512]
    assert row["spacing_mm"] == [5.0, 0.796875, 0.796875]
    assert row["notes"] == ["21.3 % of the voxels are padding and were set to -1024 HU."]
    (reading,) = read_series(folder)
    series = load(reading)
    assert series.volume.hu.dtype == np.int16
    assert series.volume.hu.min() == -1024
    np.testing.assert_allclose(series.volume.geometry.to_lps((0, 0, 0)), (-198.199997, -204.0, -375.0))
    stored = dcmread(reading.paths[20]).pixel_array.astype(int)
    hu = series.volume.hu[20]
    np.testing.assert_array_equal(hu[stored != -2000], stored[stored != -2000] - 1024)
    assert (hu[stored == -2000] == -1024).all()


def test_a_scanners_tilt_is_measured_and_its_gap_is_refused(test_data: Data) -> None:
    folder = test_data("ct-tilt-and-gap", "a gantry's tilt, in headers that do not tell it")
    readings = {str(reading.verdict.code): reading for reading in read_series(folder)}
    assert set(readings) == {"gantry-tilt", "missing-slices"}
    tilt, gap = readings["gantry-tilt"], readings["missing-slices"].verdict
    assert tilt.verdict.verdict == "repaired"
    assert tilt.verdict.measured["tilt_degrees"] == pytest.approx(14.0, abs=0.001)
    assert tilt.geometry is not None
    assert tilt.geometry.spacing_mm[0] == pytest.approx(5.0)
    assert gap.measured["gap_mm"] == pytest.approx(10.0)
    assert gap.measured["between_slices"] == [3, 4]
    assert all("FrameOfReferenceUID" in one.notes[0] for one in (tilt.verdict, gap))
    # Whoever gave it away left the headers and made its pixels air.
    assert {row["code"] for row in check_folder(folder)} == {"no-body", "missing-slices"}


def test_of_a_scanners_mixed_study_the_axial_series_is_chosen(test_data: Data) -> None:
    readings = read_series(test_data("ct-study-mixed-series", "a study as a scanner sent it"))
    assert sorted(str(reading.verdict.code) for reading in readings) == [
        "None",
        "localizer-excluded",
        "not-ct",
    ]
    chosen = choose_series(readings)
    assert chosen.geometry is not None
    assert chosen.geometry.shape == (28, 512, 512)
    assert load(chosen).volume.hu.shape == (28, 512, 512)


def test_odd_encodings_have_their_codes_and_an_unknown_vr_is_read(test_data: Data) -> None:
    folder = test_data("ct-odd-encodings", "a scanner's perfusion map, and a header another program rewrote")
    rows = check_folder(folder)
    assert sorted(row["code"] for row in rows) == ["derived-image", "not-ct", "not-ct", "too-few-slices"]
    header = read_header(folder / "explicit_VR-UN.dcm")
    assert header is not None
    assert facts_of(header).orientation == (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def _hu(path: Path) -> np.ndarray:
    header = read_header(path)
    assert header is not None
    return hounsfield(path, header, facts_of(header))[0]


def test_lossless_encodings_are_bit_equal_and_the_lossy_one_is_told(test_data: Data) -> None:
    folder = test_data("ct-encodings", "one scanner's slice as yet another archive encodes it")
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
