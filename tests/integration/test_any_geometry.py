"""For any geometry that passes: every voxel keeps its place on the way in, every segment on the way out."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from models.geometry import Geometry
from models.organs import ORGANS
from models.series.slice_spacing import TILT_DEGREES
from models.series.verdict import Code
from services.dicom.ct.loaded import CTSeries, load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.dicom.results.write import write_results
from services.dicom.seg.reader import read_seg
from tests.support.ct_files import case
from tests.support.geometries import ct_grids
from tests.support.result_cases import findings_of

WRITTEN_AT = datetime(2026, 11, 22)


def centres(grid: Geometry) -> np.ndarray:
    """Return LPS mm of all voxels, axes (k, j, i, xyz)."""
    return grid.to_lps(np.moveaxis(np.indices(grid.shape), 0, -1))


def tilt_degrees(grid: Geometry) -> float:
    """Return the angle between the stack and the slice normal, by its sine and cosine."""
    step, rows, columns = grid.affine[:3, :3].T
    normal = np.cross(columns, rows) / np.linalg.norm(np.cross(columns, rows))
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(step, normal)), step @ normal)))


def series_on(grid: Geometry, folder: Path) -> CTSeries:
    write_phantom_series(case(grid), folder)
    (reading,) = read_series(folder)
    return load(reading)


@settings(max_examples=40, deadline=None)
@given(grid=ct_grids())
def test_every_voxel_of_a_series_comes_back_at_its_place(
    grid: Geometry, tmp_path_factory: pytest.TempPathFactory
) -> None:
    made, folder = case(grid), tmp_path_factory.mktemp("grid")
    series = series_on(grid, folder)
    read = series.volume.geometry
    back = np.rint(grid.to_index(centres(read))).astype(int)
    np.testing.assert_allclose(grid.to_lps(back), centres(read), atol=1e-4)
    np.testing.assert_array_equal(series.volume.hu, made.volume.hu[tuple(np.moveaxis(back, -1, 0))])
    assert len({tuple(index) for index in back.reshape(-1, 3)}) == made.volume.hu.size
    normal = np.cross(read.affine[:3, 2], read.affine[:3, 1])
    assert normal @ read.affine[:3, 0] > 0
    assert (series.verdict.code is Code.GANTRY_TILT) == (tilt_degrees(read) >= TILT_DEGREES)
    for k, image in enumerate(series.images):
        np.testing.assert_allclose(
            read.to_lps((k, 0, 0)), np.array(image.ImagePositionPatient, float), atol=1e-4
        )
    again = tmp_path_factory.mktemp("again")
    write_phantom_series(case(read), again)
    (second,) = read_series(again)
    assert second.geometry is not None
    assert second.geometry.same_grid(read, 1e-4)


@settings(max_examples=15, deadline=None)
@given(
    grid=ct_grids(),
    seed=st.integers(0, 999),
    profile=st.sampled_from(["ohif", "slicer", "labelmap"]),
    absent=st.sets(st.sampled_from(ORGANS), max_size=4),
)
def test_a_seg_read_back_is_what_was_written(
    grid: Geometry,
    seed: int,
    profile: str,
    absent: set[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("seg")
    series = series_on(grid, folder / "ct")
    rng = np.random.default_rng(seed)
    if profile == "labelmap":  # which holds no overlaps
        labels = rng.integers(0, len(ORGANS) + 1, grid.shape)
        masks = {key: (labels == n) & (key not in absent) for n, key in enumerate(ORGANS, start=1)}
    else:
        masks = {key: (rng.random(grid.shape) < 0.3) & (key not in absent) for key in ORGANS}
    findings = findings_of(series, masks, flagged=())
    seg, *_ = write_results(series, findings, profile=profile, written_at=WRITTEN_AT)
    path = folder / "seg.dcm"
    path.write_bytes(seg.content)
    read = read_seg(path, series)
    assert [segment.label for segment in read.segments] == [
        s.SegmentLabel for s in dcmread(BytesIO(seg.content)).SegmentSequence if s.SegmentNumber > 0
    ]
    for segment, mask in zip(read.segments, masks.values(), strict=True):
        np.testing.assert_array_equal(segment.mask.dense(), mask, err_msg=segment.label)
