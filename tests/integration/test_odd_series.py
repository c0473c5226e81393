"""Traps that scanners and archives set, made from phantoms: each has its verdict, and nothing is guessed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage, SecondaryCaptureImageStorage

from models.geometry import Geometry
from models.phantom.case import PhantomCase
from models.volume import Volume
from services.dicom.ct.check import check_folder
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.headers import facts_of, read_header
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from tests.support.ct_files import ACQUISITION, case, edit, setting, written


def leaning(degrees: float) -> Geometry:
    """Return four slices of 10 x 12, 5 mm apart along the table, that lean about the left-right axis."""
    lean = np.radians(degrees)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 2] = (0.0, 0.0, 5.0), (0.7, 0.0, 0.0)
    affine[:3, 1] = np.array((0.0, np.cos(lean), -np.sin(lean))) * 0.7
    return Geometry((4, 10, 12), affine)


def renamed(paths: list[Path], series: str, *changes: Callable[[Dataset], None]) -> None:
    """Make files a series of their own in the same study."""
    for n, path in enumerate(paths):
        edit(path, setting(SeriesInstanceUID=series, SOPInstanceUID=f"{series}.{n}"))
        for change in changes:
            edit(path, change)


def captured(dataset: Dataset) -> None:
    """Make an image a screen shot that calls itself CT."""
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        delattr(dataset, keyword)


def cropped(rows: int, columns: int) -> Callable[[Dataset], None]:
    def change(dataset: Dataset) -> None:
        stored = dataset.pixel_array[:rows, :columns]
        dataset.Rows, dataset.Columns = stored.shape
        dataset.PixelData = stored.astype("<i2").tobytes()

    return change


def sagittal(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    dataset.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]


def test_of_a_mixed_study_the_axial_series_is_chosen(tmp_path: Path) -> None:
    axial = written(tmp_path / "axial")
    scout, *_ = written(tmp_path / "scout")
    shots = written(tmp_path / "shots")[:3]
    for path in (tmp_path / "scout", tmp_path / "shots"):
        for other in sorted(path.iterdir())[3 if path.name == "shots" else 1 :]:
            other.unlink()
    renamed([scout], "1.2.7", sagittal)
    renamed(shots, "1.2.8", captured)
    for path, size in zip(shots, ((12, 10), (8, 10), (6, 8)), strict=True):
        edit(path, cropped(*size))
    readings = read_series(tmp_path)
    assert sorted(str(reading.verdict.code) for reading in readings) == [
        "None", "localizer-excluded", "not-ct",
    ]  # fmt: skip
    chosen = choose_series(readings)
    assert chosen.geometry is not None
    assert chosen.geometry.shape == (6, 12, 10)
    assert {path.parent for path in chosen.paths} == {axial[0].parent}
    np.testing.assert_array_equal(load(chosen).volume.hu, case().volume.hu)


def test_a_tilt_is_measured_and_a_gap_is_refused(tmp_path: Path) -> None:
    grid = leaning(14.0)
    hu = np.random.default_rng(1).integers(-900, 900, grid.shape).astype(np.int16)
    write_phantom_series(PhantomCase(Volume(hu, grid), {}, "A", 7, dict(ACQUISITION)), tmp_path / "tilt")
    upright = PhantomCase(Volume(hu, leaning(0.0)), {}, "A", 8, dict(ACQUISITION))
    write_phantom_series(upright, tmp_path / "gap")[2].unlink()
    for path in tmp_path.rglob("*.dcm"):
        edit(path, lambda dataset: dataset.__delattr__("FrameOfReferenceUID"))
    rows = {f"{row['verdict']} {row['code']}": row for row in check_folder(tmp_path)}
    assert set(rows) == {"repaired gantry-tilt", "refused missing-slices"}
    tilt, gap = rows["repaired gantry-tilt"], rows["refused missing-slices"]
    assert tilt["measured"]["tilt_degrees"] == pytest.approx(14.0, abs=0.001)
    assert tilt["spacing_mm"][0] == pytest.approx(5.0)
    assert gap["measured"]["gap_mm"] == pytest.approx(10.0)
    assert gap["measured"]["between_slices"] == [2, 3]
    assert all("FrameOfReferenceUID" in row["notes"][0] for row in rows.values())


def perfusion(dataset: Dataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    dataset.ImageType = ["DERIVED", "PRIMARY", "PERFUSION", "RCBF"]
    dataset.NumberOfFrames = 1


def test_odd_objects_have_their_codes(tmp_path: Path, ohif: Path) -> None:
    """A perfusion map, one slice alone, and two SEGs."""
    for name, change in {"map": perfusion, "alone": setting()}.items():
        first, *others = written(tmp_path / name)
        renamed([first], f"1.2.{len(name)}", change)
        for path in others:
            path.unlink()
    for name in ("sent.dcm", "saved-by-ohif.dcm"):
        (tmp_path / name).write_bytes((ohif / name).read_bytes())
    rows = check_folder(tmp_path)
    assert sorted(row["code"] for row in rows) == ["derived-image", "not-ct", "not-ct", "too-few-slices"]


def test_a_reversed_column_cosine_of_unknown_vr_is_read(tmp_path: Path) -> None:
    path, *_ = written(tmp_path)
    content = path.read_bytes()
    start = content.index(b"\x20\x00\x37\x00DS")
    length = int.from_bytes(content[start + 6 : start + 8], "little")
    value = b"1\\0\\0\\0\\-1\\0"
    value += b" " * (len(value) % 2)
    unknown = b"\x20\x00\x37\x00UN\0\0" + len(value).to_bytes(4, "little") + value
    path.write_bytes(content[:start] + unknown + content[start + 8 + length :])
    header = read_header(path)
    assert header is not None
    assert facts_of(header).orientation == (1.0, 0.0, 0.0, 0.0, -1.0, 0.0)
