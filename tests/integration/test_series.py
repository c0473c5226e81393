"""Files on disk to CT series: grouping, exact HU, padding, refusals."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    RLELossless,
)

from models.errors import Refused
from models.series.slice_contents import NOT_JUDGED
from models.series.verdict import Code, Verdict
from services.dicom.ct.check import check_folder
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from tests.support.ct_files import case, edit, setting, written


def loaded(folder: Path) -> CTSeries:
    (reading,) = read_series(folder)
    return load(reading)


def code_of(folder: Path) -> str | None:
    (row,) = check_folder(folder)
    assert (row["verdict"] == "refused") == (row["shape"] is None)
    return row["code"]


def test_a_series_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = case()
    write_phantom_series(made, tmp_path)
    series = loaded(tmp_path)
    assert series.verdict.verdict is Verdict.OK
    assert series.volume.hu.dtype == np.int16
    np.testing.assert_array_equal(series.volume.hu, made.volume.hu)
    assert series.volume.geometry.same_grid(made.volume.geometry, 1e-9)
    assert [int(image.InstanceNumber) for image in series.images] == [1, 2, 3, 4, 5, 6]
    assert "PixelData" not in series.images[0]
    assert series.frame_of_reference_uid == series.images[0].FrameOfReferenceUID


def test_file_names_instance_numbers_and_thickness_do_not_matter(tmp_path: Path) -> None:
    for n, path in enumerate(written(tmp_path)):
        edit(path, setting(InstanceNumber=99 - n, SliceThickness="9", SliceLocation=str(-7 * n)))
        path.rename(tmp_path / f"{(n * 5) % 6}.ima")
    series = loaded(tmp_path)
    np.testing.assert_array_equal(series.volume.hu, case().volume.hu)
    assert series.volume.geometry.spacing_mm[0] == pytest.approx(2.5)


def test_files_without_preamble_are_read(tmp_path: Path) -> None:
    for path in written(tmp_path):
        Dataset(dcmread(path)).save_as(path, implicit_vr=True, little_endian=True)
        assert path.read_bytes()[:2] == b"\x08\x00"
    np.testing.assert_array_equal(loaded(tmp_path).volume.hu, case().volume.hu)


def test_slope_and_intercept_are_taken_slice_by_slice(tmp_path: Path) -> None:
    paths = written(tmp_path)
    edit(paths[1], setting(RescaleSlope="2", RescaleIntercept="-5"))
    expected = case().volume.hu.copy()
    expected[1] = np.maximum(expected[1], -700) * 2 - 5

    def halve(dataset: Dataset) -> None:
        stored = np.maximum(dataset.pixel_array, -700)  # stays above what counts as padding
        dataset.PixelData = stored.astype("<i2").tobytes()

    edit(paths[1], halve)
    series = loaded(tmp_path)
    assert series.volume.hu.dtype == np.int16
    np.testing.assert_array_equal(series.volume.hu, expected)


def test_a_fractional_slope_gives_float32(tmp_path: Path) -> None:
    for path in written(tmp_path):
        edit(path, setting(RescaleSlope="0.5"))
    series = loaded(tmp_path)
    assert series.volume.hu.dtype == np.float32
    np.testing.assert_array_equal(series.volume.hu, case().volume.hu * np.float32(0.5))


def test_twelve_bit_values_whose_sign_was_not_extended_are_negative(tmp_path: Path) -> None:
    def cut(dataset: Dataset) -> None:
        stored = dataset.pixel_array.astype(np.int16) & 0x0FFF
        dataset.PixelData = stored.astype("<i2").tobytes()
        dataset.BitsStored, dataset.HighBit = 12, 11

    for path in written(tmp_path):
        edit(path, cut)
    np.testing.assert_array_equal(loaded(tmp_path).volume.hu, case().volume.hu)


def pixels(change: Callable[[np.ndarray], None]) -> Callable[[Dataset], None]:
    """Return a change of a data set's stored values in place."""

    def apply(dataset: Dataset) -> None:
        stored = dataset.pixel_array.astype("<i2")
        change(stored)
        dataset.PixelData = stored.tobytes()

    return apply


def corner(value: int) -> Callable[[Dataset], None]:
    def change(stored: np.ndarray) -> None:
        stored[:3, :2] = value

    return pixels(change)


def padding(value: int, limit: int | None = None, vr: str = "SS") -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        dataset.add_new("PixelPaddingValue", vr, value)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", vr, limit)

    return change


@pytest.mark.parametrize("declared", [True, False])
def test_padding_becomes_air_and_is_noted(tmp_path: Path, declared: bool) -> None:
    for path in written(tmp_path):
        edit(path, corner(-2000))
        if declared:
            edit(path, padding(-2000))
    series = loaded(tmp_path)
    assert series.verdict.verdict is Verdict.OK
    assert (series.volume.hu[:, :3, :2] == -1024).all()
    assert series.volume.hu[:, 3:].min() >= -1000
    assert [note.startswith("5.0 % of the voxels") for note in series.verdict.notes] == [True, False]


def test_a_padding_range_is_honoured(tmp_path: Path) -> None:
    for n, path in enumerate(written(tmp_path)):
        edit(path, corner(-1990 - n))
        edit(path, padding(-2000, -1990))
    assert (loaded(tmp_path).volume.hu[:, :3, :2] == -1024).all()


def test_padding_written_with_the_wrong_sign_is_understood(tmp_path: Path) -> None:
    for path in written(tmp_path):
        edit(path, corner(-2000))
        edit(path, padding(65536 - 2000, vr="US"))
    assert "are padding" in loaded(tmp_path).verdict.notes[0]


def cut_short(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:100]


def without_pixels(dataset: Dataset) -> None:
    del dataset.PixelData


def garbled_jpeg(dataset: Dataset) -> None:
    dataset.compress(RLELossless)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.90"


def imager_spacing_only(dataset: Dataset) -> None:
    dataset.ImagerPixelSpacing = dataset.PixelSpacing
    del dataset.PixelSpacing


def drop(*names: str) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        for name in names:
            delattr(dataset, name)

    return change


WRONG: dict[str, tuple[Callable[[Dataset], None], Code]] = {
    "truncated pixels": (cut_short, Code.BAD_PIXEL_DATA),
    "no pixels": (without_pixels, Code.BAD_PIXEL_DATA),
    "undecodable pixels": (garbled_jpeg, Code.BAD_PIXEL_DATA),
    "stray bits": (setting(BitsStored=8, HighBit=7), Code.BAD_PIXEL_DATA),
    "above any CT": (corner(32000), Code.BAD_PIXEL_DATA),
    "below any CT": (
        pixels(lambda stored: stored.__setitem__((0, slice(0, 2)), (-2000, -3000))),
        Code.BAD_PIXEL_DATA,
    ),
    "padding like tissue": (padding(-54), Code.BAD_PIXEL_DATA),
    "inverted grey": (setting(PhotometricInterpretation="MONOCHROME1"), Code.BAD_PIXEL_DATA),
    "unit not HU": (setting(RescaleType="US"), Code.BAD_RESCALE),
    "no intercept": (drop("RescaleIntercept"), Code.BAD_RESCALE),
    "imager pixel spacing only": (imager_spacing_only, Code.MISSING_GEOMETRY),
    "no position": (drop("ImagePositionPatient"), Code.MISSING_GEOMETRY),
    "empty SOP UID": (setting(SOPInstanceUID=""), Code.MISSING_UID),
    "another patient": (setting(PatientID="P-9"), Code.MIXED_PATIENT),
    "magnetic resonance": (setting(Modality="MR"), Code.NOT_CT),
}


@pytest.mark.parametrize("name", WRONG)
def test_one_wrong_slice_refuses_the_series(tmp_path: Path, name: str) -> None:
    change, code = WRONG[name]
    edit(written(tmp_path)[0], change)
    assert code_of(tmp_path) == code


@pytest.mark.parametrize("slope", ["1", "2000000", "2147483648", "9999999999999999", "1e300", "0.5e12"])
@pytest.mark.parametrize("intercept", ["0", "-2147483648", "2147483648", "-999999999999999", "1e300"])
def test_a_rescale_beyond_any_ct_is_refused_and_never_runs_over(
    tmp_path: Path, slope: str, intercept: str
) -> None:
    if (slope, intercept) == ("1", "0"):
        return
    path = written(tmp_path)[0]
    edit(path, setting(RescaleSlope=slope, RescaleIntercept=intercept))
    assert code_of(tmp_path) == Code.BAD_PIXEL_DATA
    edit(path, pixels(lambda stored: stored.fill(0)))
    assert code_of(tmp_path) == Code.BAD_PIXEL_DATA


def test_a_comma_for_a_point_is_no_number(tmp_path: Path) -> None:
    path = written(tmp_path)[0]
    path.write_bytes(path.read_bytes().replace(b"0.8\\0.7 ", b"0,8\\0,7 "))
    assert code_of(tmp_path) == Code.MISSING_GEOMETRY


def test_a_slice_sent_twice_is_dropped_and_the_series_repaired(tmp_path: Path) -> None:
    shutil.copy(written(tmp_path)[2], tmp_path / "again.dcm")
    series = loaded(tmp_path)
    assert series.verdict.verdict is Verdict.REPAIRED
    assert series.verdict.code is Code.DUPLICATE_POSITIONS
    np.testing.assert_array_equal(series.volume.hu, case().volume.hu)


def test_another_image_at_a_position_is_refused(tmp_path: Path) -> None:
    again = Path(shutil.copy(written(tmp_path)[2], tmp_path / "again.dcm"))
    edit(again, corner(7))
    assert code_of(tmp_path) == Code.DUPLICATE_POSITIONS


def test_a_series_without_frame_of_reference_is_one_of_its_own(tmp_path: Path) -> None:
    for path in written(tmp_path):
        edit(path, drop("FrameOfReferenceUID"))
    (reading,) = read_series(tmp_path)
    first, second = load(reading), load(reading)
    assert "FrameOfReferenceUID" not in reading.images[0]
    assert first.frame_of_reference_uid == second.frame_of_reference_uid
    assert {image.FrameOfReferenceUID for image in first.images} == {first.frame_of_reference_uid}
    assert "FrameOfReferenceUID" in first.verdict.notes[0]


def test_what_is_no_dicom_is_passed_over(tmp_path: Path) -> None:
    written(tmp_path / "deep" / "er")
    (tmp_path / "notes.txt").write_text("\x08\x00 begins like a data set, and is none")
    (tmp_path / "empty").touch()
    (row,) = check_folder(tmp_path)
    assert row["verdict"] == "ok"
    assert row["notes"] == [NOT_JUDGED]


def test_a_broken_dicom_file_is_told_since_it_may_be_the_last_slice(tmp_path: Path) -> None:
    last = written(tmp_path)[-1]
    last.write_bytes(last.read_bytes()[:200])
    (row,) = check_folder(tmp_path)
    assert row["shape"][0] == 5
    assert row["notes"] == ["1 DICOM file(s) of 6 are broken and belong to no series.", NOT_JUDGED]


def test_values_against_the_standard_are_taken_as_written(tmp_path: Path) -> None:
    for path in written(tmp_path):
        before = path.read_bytes()
        after = before.replace(b"SH\x0c\x00soft tissue ", b"SH\x12\x00soft tissue, sharp")
        path.write_bytes(
            after.replace(b"UI\x1a\x001.2.840.10008.5.1.4.1.1.2\x00", b"UI\x1a\x001.2.840.10008.5.1.4.1.1.2 ")
        )
        assert path.read_bytes() != before
    assert code_of(tmp_path) is None


@pytest.mark.parametrize("make", ["nothing", "folder", "text", "texts"])
def test_no_dicom_at_all_is_refused_with_a_sentence(tmp_path: Path, make: str) -> None:
    place = tmp_path / "place"
    if make == "text":
        place.write_text("no image")
    elif make != "nothing":
        place.mkdir()
    if make == "texts":
        (place / "a.txt").write_text("no image")
        (place / "b.txt").write_text("no image")
    with pytest.raises(Refused) as refusal:
        check_folder(place)
    assert refusal.value.code == Code.NOT_DICOM
    assert refusal.value.detail == {
        "nothing": "There is no such file or folder.",
        "folder": "The folder is empty.",
        "text": "The file is not DICOM.",
        "texts": "All 2 files are not DICOM.",
    }[make]  # fmt: skip


def test_a_refused_series_is_never_loaded(tmp_path: Path) -> None:
    written(tmp_path)[3].unlink()
    (reading,) = read_series(tmp_path)
    with pytest.raises(Refused, match="missing-slices"):
        load(reading)
