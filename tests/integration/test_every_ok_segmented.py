"""What the verdict lets pass can be segmented, written, proven and taken in again, whatever its grid."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.segmentation.memory import study_memory
from flows.segmentation.segment import segment
from models.body import BODY_HU
from models.errors import ProofFailed, Refused
from models.geometry import Geometry
from models.inference.memory import MIB, need
from models.organs import ORGANS
from models.resampling import to_model_grid
from models.series.limits import SAME_ORIENTATION, off_grid_mm
from services.dicom.ct.check import check_folder
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.dicom.results.write import write_results
from services.dicom.seg.reader import read_seg
from services.wiring import Services
from tests.support.ct_files import case, edit, setting
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


def series_of(slices: int, folder: Path, seed: int) -> None:
    """Write a series of the same study, 60 mm along the patient, in so many slices."""
    affine = np.diag([60 / slices, 0.8, 0.8, 1.0])[[2, 1, 0, 3]]
    made = case(Geometry((slices, 60, 60), affine), seed=seed)
    for path in write_phantom_series(made, folder):
        edit(path, setting(StudyInstanceUID="2.25.1", PatientID="P", SeriesNumber=seed))


def test_a_series_that_takes_more_memory_than_a_run_has_is_refused_and_a_thicker_one_of_the_study_taken(
    site, tmp_path
):
    series_of(40, tmp_path / "thin", 1)
    series_of(10, tmp_path / "thick", 2)
    release = site.releases.release(1)
    needs = [
        need(reading.geometry, 2, release.contract).worker
        for folder in ("thick", "thin")
        for reading in read_series(tmp_path / folder)
    ]
    between = sum(needs) // 2 // MIB
    assert needs[0] < between * MIB < needs[1]
    short = replace(site, settings=site.settings.model_copy(update={"study_memory_mib": between}))
    with pytest.raises(Refused, match="too-large") as refused:
        segment(tmp_path / "thin", tmp_path / "refused", short)
    assert refused.value.measured["worker_bytes"] == needs[1]
    assert refused.value.measured["limit_bytes"] == between * MIB
    assert segment(tmp_path / "thin", tmp_path / "thin-out", site).document.verdict == "ok"
    both = tmp_path / "both"
    for folder in ("thin", "thick"):
        shutil.copytree(tmp_path / folder, both / folder)
    document = segment(both, tmp_path / "out", short).document
    assert document.verdict == "ok"
    assert any("too-large" in note for note in document.notes)
    rows = check_folder(both, require=study_memory(short.settings, release).require)
    assert sorted((row["verdict"], row["code"]) for row in rows) == [("ok", None), ("refused", "too-large")]


def test_the_verb_check_says_what_segment_says_of_memory_where_a_release_serves(site, tmp_path, capsys):
    series_of(40, tmp_path / "thin", 1)
    home = site.settings.home

    def checked(**variables: str) -> tuple[int, list[dict[str, Any]], str]:
        said = CliRunner().invoke(
            app, ["check", str(tmp_path / "thin"), "--json"], env={"ORGANLOOP_HOME": str(home)} | variables
        )
        return said.exit_code, json.loads(said.stdout), said.stderr

    code, [row], _ = checked()
    assert (code, row["verdict"]) == (0, "ok")
    code, [row], _ = checked(ORGANLOOP_STUDY_MEMORY_MIB="300")
    assert (code, row["code"]) == (3, "too-large")
    assert row["measured"]["limit_bytes"] == 300 * MIB
    home = tmp_path / "nowhere"
    code, [row], said = checked(ORGANLOOP_STUDY_MEMORY_MIB="300")
    assert (code, row["verdict"]) == (0, "ok")
    assert "no release serves here" in said
    assert not home.exists()
