"""Ours through Triton, the same engine in process, and MONAI's sliding window on torch: time, memory, bytes.

The starter is asked about a whole CT of 300 x 512 x 512. The U-Net of 19 M parameters is asked about the
middle of it, four of its windows, of random weights; what the whole CT takes is reckoned from its windows.
Each way runs in a process of its own, one after the other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.bench.serving.material import BUILD, ROOT, THREADS, material, truth

HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
"""As the server has it, whoever asks. A client has it not; MONAI is tried with and without."""
REPEATS = {"starter": 5, "unet": 1}
ROUNDS = {"starter": 3, "unet": 1}
"""How often ours through Triton and in process are measured by turns: they differ by less than a process from
the next."""
FEW = 20
"""Voxels in both answers together under which an organ counts as not found."""
MB = 1e6


@dataclass(frozen=True, eq=False)
class Way:
    """One way to segment: seconds, bytes, windows and masks (organ, voxel)."""

    wall: float
    cpu: float
    memory: int
    windows: int
    masks: NDArray[np.bool_]


def measured(role: str, network: str, *options: str, huge_pages: bool = True) -> Way:
    of = material(network)
    masks = BUILD / f"{network}-{role}.npy"
    command = [sys.executable, "-m", "tests.bench.serving.roles", role, network, "--masks", str(masks)]
    done = subprocess.run(
        [*command, "--repeats", str(REPEATS[network]), *options],
        capture_output=True, text=True, cwd=ROOT, timeout=1800,
        env=os.environ | (HUGE_PAGES if huge_pages else {}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    organs = len(of.release.contract.organs)
    bits = np.unpackbits(np.load(masks), count=organs * of.hu.size).reshape(organs, -1).astype(bool)
    return Way(float(np.median(said["wall"])), said["cpu"], said["memory"], said["windows"], bits)


def middle(ways: Sequence[Way]) -> Way:
    """Return a way that was measured in several processes, with the median of each figure."""
    wall, cpu, memory = (np.median([getattr(w, name) for w in ways]) for name in ("wall", "cpu", "memory"))
    return replace(ways[0], wall=float(wall), cpu=float(cpu), memory=int(memory))


def likeness(one: Way, other: Way) -> tuple[float, float]:
    """Return least and mean DSC over the organs that either finds."""
    scores = [
        2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))
        for a, b in zip(one.masks, other.masks, strict=True)
        if np.count_nonzero(a) + np.count_nonzero(b) >= FEW
    ]
    return min(scores), float(np.mean(scores))


def to_truth(way: Way) -> float:
    """Return the mean DSC of the starter's organs: which windows are evaluated makes neither better."""
    true = np.stack([truth()[organ].ravel() for organ in material("starter").release.contract.organs])
    return likeness(way, Way(0, 0, 0, 0, true))[1]


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("network", ["starter", "unet"])
def test_ours_through_triton_against_monai_on_torch(
    network: str, prepared: None, capsys: pytest.CaptureFixture[str]
) -> None:
    turns = [
        (measured("triton", network, huge_pages=False), measured("in-process", network))
        for _ in range(ROUNDS[network])
    ]
    ways = {
        "triton": middle([served for served, _ in turns]),
        "in-process": middle([plain for _, plain in turns]),
        "monai": measured("monai", network, huge_pages=False),
        "monai, huge pages": measured("monai", network),
    }
    ways["monai's windows"] = measured("in-process", network, "--monai-windows")
    ways["bf16"] = measured("in-process", network, "--precision", "bf16")
    a, b, plain, huge = (ways[name] for name in ("triton", "in-process", "monai", "monai, huge pages"))
    c = replace(plain, wall=min(plain.wall, huge.wall), memory=min(plain.memory, huge.memory))
    of = material(network)
    ours, theirs = whole_windows(network)
    with capsys.disabled():
        part = "whole CT" if of.hu is of.whole else f"{of.hu.shape} of {of.whole.shape} voxels"
        print(f"\n{network}, {part}, {THREADS} threads   wall s   CPU s  peak MB  windows  DSC to MONAI")
        for name, way in ways.items():
            least, mean = likeness(way, c)
            print(
                f"  {name:28} {way.wall:7.2f} {way.cpu:7.2f} {way.memory / MB:8.0f} {way.windows:8d}"
                f"  {least:.5f} {mean:.5f}"
            )
        if network == "starter":
            print(f"  mean DSC to the truth: ours {to_truth(a):.4f}, MONAI {to_truth(c):.4f}")
        print("  against MONAI's shorter time and its smaller memory:")
        print(f"  (a)/(b) {a.wall / b.wall:.3f} (goal 1.10), (c)/(a) {c.wall / a.wall:.2f} (goal 2.5),")
        print(
            f"  (c)/bf16 {c.wall / ways['bf16'].wall:.2f} (goal 4), memory "
            f"(a)/(c) {a.memory / c.memory:.2f}, (b)/(c) {b.memory / c.memory:.2f} (goal 1)"
        )
        each = a.wall / a.windows * ours, c.wall / c.windows * theirs
        print(
            f"  windows of the whole CT: ours {ours}, MONAI {theirs}; at the seconds a window above: "
            f"{each[0]:.0f} s and {each[1]:.0f} s, ratio {each[1] / each[0]:.2f}"
        )
    assert np.array_equal(a.masks, b.masks)
    assert likeness(ways["monai's windows"], c)[0] >= 0.999


def whole_windows(network: str) -> tuple[int, int]:
    """Return how many windows of the whole CT ours evaluates, and MONAI."""
    from monai.data.utils import dense_patch_slices
    from monai.inferers.utils import _get_scan_interval

    from models.body import body_mask
    from models.inference.windows import BODY_MARGIN_MM, plan
    from models.masks import bounding_box

    of = material(network)
    contract = of.release.contract
    body = body_mask(of.whole)
    crop = bounding_box(body, max(1, round(BODY_MARGIN_MM / min(contract.spacing_mm))))
    assert crop is not None
    sides = [max(n, w) for n, w in zip(of.whole.shape, contract.window_shape, strict=True)]
    step = _get_scan_interval(sides, contract.window_shape, 3, (contract.overlap,) * 3)
    return len(plan(body, crop, contract)), len(dense_patch_slices(sides, contract.window_shape, step))


@pytest.mark.timeout(1800)
def test_four_clients_at_once(prepared: None, capsys: pytest.CaptureFixture[str]) -> None:
    command = [sys.executable, "-m", "tests.bench.serving.clients", "starter"]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=1800, env=os.environ | HUGE_PAGES
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    with capsys.disabled():
        print(
            f"\nfour clients, starter: {said['volumes']} CTs in {said['seconds']:.1f} s, "
            f"{said['volumes'] / said['seconds'] * 3600:.0f} an hour, worst answer {said['worst']:.1f} s; "
            f"one client: {said['alone']:.1f} s a CT"
        )
        for name, (up, down) in said["wire"].items():
            print(f"  {name:48} {up / MB:9.3f} MB up {down / MB:9.3f} MB down")
    assert said["volumes"] / said["seconds"] >= 0.9 / said["alone"]  # waiting costs nothing
    assert said["wire"]["shared memory"][0] < 0.05 * said["wire"]["plain gRPC"][0]


@pytest.fixture(scope="module")
def prepared() -> None:
    """Make the CT, publish and export both networks, in a process of its own: its memory is not theirs."""
    command = [sys.executable, "-m", "tests.bench.serving.material"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(ROOT), timeout=1800)
    assert done.returncode == 0, done.stderr
