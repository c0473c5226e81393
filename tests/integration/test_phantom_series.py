"""Phantoms as DICOM: conformant, repeatable, with truth that comes back."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from models.phantom.case import make_case
from models.series.slice_contents import NOT_JUDGED
from services.dicom.ct.check import check_folder
from services.dicom.ct.phantom_series import read_truth, write_phantom_series, write_truth
from tests.support.ct_files import case


def test_the_same_case_gives_the_same_bytes(tmp_path: Path) -> None:
    first = write_phantom_series(case(), tmp_path / "first")
    second = write_phantom_series(case(), tmp_path / "second")
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_cases_share_no_identifier(tmp_path: Path) -> None:
    for seed in (1, 2):
        write_phantom_series(case(seed=seed), tmp_path / str(seed))
    assert len(check_folder(tmp_path)) == 2


def test_truth_comes_back_with_overlaps_and_order(tmp_path: Path) -> None:
    made = case()
    write_truth(made, tmp_path / "truth.npz")
    masks, grid = read_truth(tmp_path / "truth.npz")
    assert list(masks) == ["liver", "spleen"]
    assert (masks["liver"] & masks["spleen"]).any()
    for organ, mask in made.truth.items():
        np.testing.assert_array_equal(masks[organ].dense(), mask)
    assert grid.same_grid(made.volume.geometry, 1e-12)


@pytest.mark.parametrize("site", ["A", "B"])
def test_a_phantom_passes_the_conformance_check(tmp_path: Path, site: str) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (Debian package dicom3tools) is not installed")
    paths = write_phantom_series(make_case(site, 3, spacing_mm=(10.0, 6.0, 6.0)), tmp_path)
    for path in (paths[0], paths[-1]):
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert "Error" not in said, said
        assert "CTImage" in said
    (row,) = check_folder(tmp_path)
    assert row["verdict"] == "ok"
    assert row["notes"] == [NOT_JUDGED]
