"""`organloop ingest` of SEGs of 9 to 117 segments on 300 x 512 x 512 voxels: memory and processor time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from scipy import ndimage

from models.geometry import Geometry
from models.organs import ORGANS
from models.phantom.case import PhantomCase
from models.volume import Volume
from services.dicom.ct.phantom_series import phantom_images
from tests.conftest import ROOT
from tests.support.ct_files import ACQUISITION
from tests.support.many_segments import SIDE, WIDER, corners, drawn_seg, whole_body
from tests.support.seg_cases import grid_of, read_headers

SHAPE, DEEP = (300, 512, 512), 20
GOAL_MIB, GOAL_SECONDS = 1024, 20

COMMAND = """
import re, sys
from pathlib import Path
from deploy.cli.main import main
try:
    main()
finally:  # of this program: what getrusage says begins with the peak of the one that started it
    print(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1], file=sys.stderr)
"""


class Ingested(NamedTuple):
    """What the command said, and what it took, its child included in the time."""

    said: dict
    mib: float
    seconds: float


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a CT of noise on smooth tissue."""
    rng = np.random.default_rng(0)
    tissue = ndimage.gaussian_filter(rng.normal(size=SHAPE[1:]), 6) * 3000 + 40
    hu = np.stack([np.clip(tissue + rng.normal(0, 15, SHAPE[1:]), -1000, 2000) for _ in range(SHAPE[0])])
    affine = np.eye(4)
    affine[:3, :3] = [[0, 0, 0.8], [0, 0.8, 0], [1.0, 0, 0]]
    case = PhantomCase(Volume(hu.astype(np.int16), Geometry(SHAPE, affine)), {}, "A", 1, dict(ACQUISITION))
    folder = tmp_path_factory.mktemp("ct")
    for n, image in enumerate(phantom_images(case)):
        image.save_as(folder / f"{n:04d}.dcm", enforce_file_format=True)
    return folder


def ingested(saved: Path, study: Path, sent: Path) -> Ingested:
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "ingest", saved, "--study", study, "--sent", sent, "--json"],
        capture_output=True, text=True, cwd=ROOT, check=False,
        env=os.environ | {"ORGANLOOP_HOME": str(saved.parent / "home")},
    )  # fmt: skip
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return Ingested(json.loads(done.stdout), int(done.stderr.splitlines()[-1]) / 1024, seconds)


def test_a_whole_body_tools_segments_are_taken_in_and_what_takes_too_much_is_refused(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    series = read_headers(study)
    grid = grid_of(series)
    sent, saved = tmp_path / "sent.dcm", tmp_path / "saved.dcm"
    drawn_seg(series, grid, *whole_body(SHAPE, ORGANS, len(ORGANS), DEEP)).save_as(
        sent, enforce_file_format=True
    )
    rows = {}
    for count in (len(ORGANS), 50, 117):
        seg = drawn_seg(series, grid, *whole_body(SHAPE, ORGANS, count, DEEP, grown=True))
        seg.save_as(saved, enforce_file_format=True)
        found = rows[f"{count} segments"] = ingested(saved, study, sent)
        edited = {
            one["organ"]: one["added_voxels"] for one in found.said["organs"] if one["state"] == "edited"
        }
        assert edited == {"liver": DEEP * SIDE * WIDER}
        assert len(found.said["questions"]) == count - len(ORGANS)
    drawn_seg(series, grid, *corners(SHAPE, 1000)).save_as(saved, enforce_file_format=True)
    found = rows["1000 of two voxels each, in opposite corners"] = ingested(
        tmp_path / "saved.dcm", study, sent
    )
    assert found.said["code"] == "too-large"
    with capsys.disabled():
        print()
        for what, row in rows.items():
            told = row.said["code"] or row.said["status"]
            print(f"{what}: {told}, {row.mib:.0f} MiB, {row.seconds:.1f} s (goal {GOAL_MIB}, {GOAL_SECONDS})")
    assert max(row.mib for row in rows.values()) < GOAL_MIB
