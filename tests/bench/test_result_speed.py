"""SEG and SR of nine organs on 300 x 512 x 512 voxels, written and proven: seconds and megabytes."""

from __future__ import annotations

import time
from datetime import datetime

import numpy as np
import pytest

from models.organs import ORGANS
from services.dicom.results.write import write_results
from tests.support.result_cases import AFFINES, ct_series, findings_of

SHAPE = (300, 512, 512)


def ellipsoids(overlapping: bool) -> dict[str, np.ndarray]:
    """Nine ellipsoids of 150 slices each, about as many frames as abdominal organs have."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    masks, taken = {}, np.zeros(SHAPE, np.bool_)
    for n, key in enumerate(ORGANS):
        distance = (
            ((z - 30 * n - 20) / 75) ** 2 + ((y - 180 - 10 * n) / 60) ** 2 + ((x - 100 - 35 * n) / 70) ** 2
        )
        masks[key] = (distance < 1) if overlapping else (distance < 1) & ~taken
        taken |= masks[key]
    return masks


@pytest.mark.parametrize(("profile", "megabytes"), [("ohif", 45.0), ("labelmap", 2.0)])
def test_nine_organs_are_written_and_proven(profile, megabytes, capsys):
    series = ct_series(AFFINES["axial"], SHAPE)
    findings = findings_of(series, ellipsoids(profile != "labelmap"), flagged=())
    wall, cpu = time.perf_counter(), time.process_time()
    organ_seg, report = write_results(series, findings, profile=profile, written_at=datetime(2026, 1, 1))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    with capsys.disabled():
        print(
            f"\n{profile}: {wall:.2f} s wall, {cpu:.2f} s CPU; SEG {len(organ_seg.content) / 1e6:.2f} MB, "
            f"SR {len(report.content) / 1e6:.2f} MB (goal: 2.5 s, {megabytes:.0f} MB)"
        )
    assert len(organ_seg.content) < megabytes * 1e6
