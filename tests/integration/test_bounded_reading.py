"""Small files that would take gigabytes and hours are refused in little, whatever way they come in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.support.ct_files import written
from tests.support.hostile_objects import archive_answer, ct_files, seg_file
from tests.support.result_cases import AFFINES, ct_series
from tests.support.scripted_archive import archive
from tests.support.seg_cases import plain_seg
from tests.support.waiting import GUARD_SECONDS

PEAK_MIB, SECONDS = 256, 10


def judged(what: str, *given: object) -> str:
    """Return what a process of its own says of an input; fail if that cost too much."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.judged", what, *map(str, given)],
        capture_output=True, text=True, timeout=GUARD_SECONDS, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    cost = json.loads(done.stdout)
    print(what, cost)
    assert cost["peak_mib"] < PEAK_MIB
    assert cost["seconds"] < SECONDS
    return str(cost["said"])


def test_ct_images_of_24_kilobytes_that_would_take_gigabytes_are_refused(tmp_path: Path) -> None:
    paths = ct_files(tmp_path)
    assert sum(path.stat().st_size for path in paths) < 24_000
    assert judged("ct", tmp_path) == "too-large"


def test_a_seg_of_94_kilobytes_that_would_take_gigabytes_is_refused(tmp_path: Path) -> None:
    series = ct_series(AFFINES["axial"], (4, 16, 16))
    liver = np.zeros((4, 16, 16), dtype=bool)
    liver[1:3, 3:9, 3:9] = True
    path = tmp_path / "seg.dcm"
    seg_file(path, plain_seg(series, {"Liver": liver}, series.volume.geometry))
    assert path.stat().st_size < 95_000
    assert judged("seg", path) == "too-large"


def test_an_archives_answer_of_a_megabyte_that_inflates_to_a_gigabyte_is_refused(tmp_path: Path) -> None:
    content = archive_answer(written(tmp_path / "ct")[0])
    assert 1_000_000 < len(content) < 1_600_000
    with archive(content) as url:
        said = judged("answer", url, "1.2.3", tmp_path / "into")
    assert said == "The archive sent something that is no DICOM object with a UID."
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("path", ["studies", "objects"])
def test_an_answer_that_comes_packed_is_not_unpacked(tmp_path: Path, path: str) -> None:
    with archive(b"\x1f\x8b", packed=True) as url:
        assert "packed" in judged("answer", url, "1.2.3", tmp_path / path)
