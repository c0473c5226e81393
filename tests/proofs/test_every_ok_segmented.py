"""Thousands of series of any fit geometry are segmented, those at each limit too, in the memory there is."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.geometry import Geometry
from models.series.limits import LONGEST_MM, MATRIX_LIMIT, MOST_SLICES, THINNEST_MM
from services.wiring import Services
from tests.conftest import ROOT
from tests.support.fit_series import FIT, FitSeries, segmented, site_at

DRAWN = 1000
"""Series of each profile."""

PROFILES = ("ohif", "slicer")

MOST_REFUSED = 0.1
"""Of those drawn, the most that may lie beyond a limit once their numbers are strings."""


def program(name: str, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", f"tests.support.{name}", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.mark.timeout(0)
def test_every_series_that_is_drawn_and_fit_is_segmented(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    running = {
        profile: program(
            "drawn_series",
            *(
                "--seed",
                str(number),
                "--count",
                str(DRAWN),
                "--profile",
                profile,
                "--work",
                str(tmp_path / profile),
            ),
        )
        for number, profile in enumerate(PROFILES)
    }
    verdicts: Counter[str] = Counter()
    for profile, process in running.items():
        said = json.loads(process.communicate()[0])
        with capsys.disabled():
            print(f"\n{profile}: {said}")
        assert said["fault"] is None
        verdicts.update(said["verdicts"])
    fit = sum(verdicts[verdict] for verdict in FIT)
    assert fit >= (1 - MOST_REFUSED) * sum(verdicts.values())


def upright(shape: tuple[int, int, int], *spacing_mm: float) -> Geometry:
    """Return an axial grid that begins at the origin."""
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing_mm)[:, ::-1].T
    return Geometry(shape, affine)


AT_LIMITS = {
    "slices": upright((MOST_SLICES, 2, 2), 0.5, 40, 40),
    "rows": upright((3, MATRIX_LIMIT, 2), 2, 0.2, 40),
    "columns": upright((3, 2, MATRIX_LIMIT), 2, 40, 0.2),
    "matrix": upright((3, MATRIX_LIMIT, MATRIX_LIMIT), 2, 0.1, 0.1),
    "thin": upright((9, 11, 13), *(1.002 * THINNEST_MM,) * 3),
    "wide": upright((3, 3, 3), *((LONGEST_MM - 0.01) / 2,) * 3),
    "wide, one voxel a slice": upright((60, 1, 1), (LONGEST_MM - 0.01) / 59, 5, 5),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Services:
    return site_at(tmp_path_factory.mktemp("site"))


@pytest.mark.timeout(0)
@pytest.mark.parametrize("scanned", ["tissue", "a speck"])
@pytest.mark.parametrize("name", AT_LIMITS)
def test_a_series_at_a_limit_is_segmented(name: str, scanned: str, site: Services, tmp_path: Path) -> None:
    series = FitSeries(AT_LIMITS[name], scanned, 0.0, 0.0, 0.0, 12, (1.0, 0.0), frozenset(), 7)
    assert segmented(series, site, tmp_path / "series") == "ok"


TAKEN: dict[str, dict[str, Any]] = {
    "a usual CT": {"shape": (120, 512, 512)},
    "many organs": {"shape": (60, 512, 512), "organs": 32},
    "a fine model grid": {"shape": (60, 512, 512), "spacing_mm": 2},
    "a gantry that leans": {"shape": (60, 512, 512), "lean_degrees": 20},
    "a large matrix": {"shape": (5, 2048, 2048), "pixel_mm": 0.2},
    "many slices": {"shape": (1000, 64, 64), "pixel_mm": 6, "step_mm": 1},
    "every frame": {"shape": (60, 512, 512), "profile": "slicer"},
}
USUAL = {"pixel_mm": 0.8, "step_mm": 3, "spacing_mm": 4, "organs": 9, "lean_degrees": 0, "profile": "ohif"}


@pytest.mark.timeout(0)
@pytest.mark.parametrize("name", TAKEN)
def test_a_study_takes_no_more_memory_than_the_verdict_asks_for(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = json.loads(program("study_memory", json.dumps(USUAL | TAKEN[name])).communicate()[0])
    with capsys.disabled():
        print(f"\n{name}: {said}")
    assert said["peak_mib"] <= said["need_mib"] <= 3 * said["peak_mib"]
