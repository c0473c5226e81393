"""What the verdict lets pass can be segmented, written, proven and taken in again, whatever its grid."""

from __future__ import annotations

from datetime import datetime
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from flows.segmentation.segment import segment
from models.body import BODY_HU
from models.errors import ProofFailed
from models.geometry import Geometry
from models.organs import ORGANS
from models.resampling import to_model_grid
from models.series.limits import SAME_ORIENTATION, off_grid_mm
from services.dicom.ct.check import check_folder
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.results.write import write_results
from services.dicom.seg.reader import read_seg
from services.wiring import Services
from tests.support.ct_files import case
from tests.support.fit_series import FIT, FitSeries, fit_series, segmented, site_at
from tests.support.result_cases import AFFINES, ct_series, findings_of, organ_masks

SHAPE = (7, 19, 21)
WRITTEN_AT = datetime(2026, 12, 1)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Services:
    return site_at(tmp_path_factory.mktemp("site"))


_drawn = count()


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(series=fit_series())
def test_every_series_that_is_fit_is_segmented(series: FitSeries, site: Services, tmp_path: Path) -> None:
    assume(segmented(series, site, tmp_path / str(next(_drawn))) in FIT)


def turned(series: CTSeries, by: float) -> CTSeries:
    """Return a series whose last slice has cosines off by so much from those of the others."""
    cosines = [float(value) for value in series.images[-1].ImageOrientationPatient]
    series.images[-1].ImageOrientationPatient = [f"{value + by:.9f}" for value in cosines]
    return series


def written(series: CTSeries, folder: Path, **more: str) -> Path:
    findings = findings_of(series, organ_masks(series.volume.geometry.shape))
    seg, *_ = write_results(series, findings, written_at=WRITTEN_AT, **more)
    path = folder / seg.file_name
    path.write_bytes(seg.content)
    return path


@pytest.mark.parametrize("name", AFFINES)
def test_slices_whose_directions_differ_as_the_verdict_allows_are_written_and_proven(name, tmp_path):
    series = turned(ct_series(AFFINES[name], (7, 400, 21)), 0.99 * SAME_ORIENTATION)
    read = read_seg(written(series, tmp_path), series)
    for one, mask in zip(read.segments, organ_masks((7, 400, 21)).values(), strict=True):
        assert np.array_equal(one.mask.dense(), mask)


def test_a_slice_that_is_turned_by_more_than_the_verdict_allows_is_not_proven(tmp_path):
    series = turned(ct_series(AFFINES["axial"], (7, 400, 21)), 4 * SAME_ORIENTATION)
    with pytest.raises(ProofFailed, match="off slice 6"):
        written(series, tmp_path)


@pytest.mark.parametrize(("part", "proven"), [(0.99, True), (1.2, False)])
def test_a_slice_is_proven_as_far_off_the_grid_as_the_verdict_allows_and_no_farther(part, proven, tmp_path):
    series = ct_series(AFFINES["axial"], SHAPE)
    image = series.images[3]
    x, y, z = (float(value) for value in image.ImagePositionPatient)
    off = part * off_grid_mm(series.volume.geometry.slice_step_mm)
    image.ImagePositionPatient = [f"{value:.6f}" for value in (x + off, y, z)]
    if proven:
        assert written(series, tmp_path).exists()
    else:
        with pytest.raises(ProofFailed, match="off slice 3"):
            written(series, tmp_path)


@pytest.mark.parametrize("profile", ["ohif", "slicer"])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 3)])
def test_slices_of_fewer_voxels_than_there_are_organs_are_written(size, profile, tmp_path):
    series = ct_series(AFFINES["axial"], (4, *size))
    read = read_seg(written(series, tmp_path, profile=profile), series)
    assert len(read.segments) == len(ORGANS)
    for one, mask in zip(read.segments, organ_masks((4, *size)).values(), strict=True):
        assert np.array_equal(one.mask.dense(), mask)


@pytest.mark.parametrize("name", ["axial", "oblique"])
def test_the_seg_of_a_ct_whose_directions_are_a_little_long_is_taken_in_again(name, tmp_path):
    series = ct_series(AFFINES[name] @ np.diag([1, 1.0005, 1.0005, 1]), SHAPE)
    for image in series.images:  # of the same voxels, by directions that are too long
        image.PixelSpacing = ["0.8", "0.8"]
        cosines = [1.0005 * float(value) for value in image.ImageOrientationPatient]
        image.ImageOrientationPatient = [f"{value:.9f}" for value in cosines]
    read = read_seg(written(series, tmp_path), series)
    for one, mask in zip(read.segments, organ_masks(SHAPE).values(), strict=True):
        assert np.array_equal(one.mask.dense(), mask)


def test_a_series_of_nothing_but_air_is_refused_with_its_highest_value(tmp_path):
    made = case()
    made.volume.hu[...] = -990
    made.volume.hu[2, 3, 4] = BODY_HU
    write_phantom_series(made, tmp_path)
    (said,) = check_folder(tmp_path)
    assert (said["verdict"], said["code"]) == ("refused", "no-body")
    assert said["measured"] == {"highest_hu": BODY_HU, "limit_hu": BODY_HU}
    made.volume.hu[2, 3, 4] += 1
    write_phantom_series(made, tmp_path)
    assert [one["verdict"] for one in check_folder(tmp_path)] == ["ok"]


def test_one_voxel_of_tissue_is_looked_at_and_every_organ_is_for_review(site, tmp_path):
    grid = Geometry((5, 30, 30), np.diag([0.2, 0.2, 0.2, 1.0])[[2, 1, 0, 3]])
    made = case(grid)
    made.volume.hu[...] = -1000
    made.volume.hu[2, 15, 15] = 40
    write_phantom_series(made, tmp_path / "ct")
    study = segment(tmp_path / "ct", tmp_path / "out", site, release=1)
    assert to_model_grid(study.series.volume, (3.0, 3.0, 3.0)).hu.max() <= BODY_HU
    asked = [one for one in study.findings.organs if one.presence != "not-asked"]
    assert {one.organ for one in asked} == {"spleen", "right_kidney", "liver", "gallbladder"}
    assert all(one.flagged for one in asked)
