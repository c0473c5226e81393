"""What tuning costs on the network as published: a U-Net of 19 million parameters, windows of 96 voxels.

``python -m tests.bench.continual.published``. Weights are drawn at random: what a step costs does not depend
on them, and how good a network is cannot be measured here.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from models.contract import ModelContract
from models.network.heads import HeadSpec, build_head
from models.network.training.losses import segmentation_loss
from models.network.training.train import Start
from models.network.trunk_kinds import build_trunk
from models.network.tuning import tune as network_tuning
from models.network.tuning.samples import OrganVoxels, extract
from models.network.tuning.tune import tune_heads
from models.organs import ORGANS
from models.tuning.settings import Cost, Level, TuningSettings
from tests.bench.continual import cohort
from tests.bench.continual.measuring import flops, timed
from tests.bench.continual.methods import say, tuning_study
from tests.bench.continual.scale import BUILD, REVISED, Scale, once

SPEC = {"kind": "text_driven_unet", "width": 64, "features": 8, "global_channels": 256}
SIDE = 96
"""Sides of a window, voxels."""

TIMED_SIDE = 64
"""Sides of the windows on which a training step is timed: of 96 it takes minutes on one core."""

WINDOWS_A_STUDY = 150
"""Of a CT of 300 x 240 x 220 voxels at 1.5 mm with an overlap of one half."""

PAPER_STEPS = 50_000
"""Full Training in the paper's set-up: 250 epochs of 200 studies, one window each."""


def contract(side: int) -> ModelContract:
    """Return the published network's contract for our nine organs."""
    trunk = build_trunk(SPEC)
    return ModelContract(
        organs=ORGANS,
        spacing_mm=(1.5, 1.5, 1.5),
        hu_window=(-175.0, 250.0),
        window_shape=(side,) * 3,
        overlap=0.5,
        thresholds=dict.fromkeys(ORGANS, 0.5),
        feature_channels=trunk.feature_channels,
        coarse_channels=trunk.coarse_channels,
        global_channels=trunk.global_channels,
        trunk=SPEC,
    )


def network(organs: tuple[str, ...] = ORGANS) -> Start:
    """Return trunk and text-driven heads with weights drawn from one seed."""
    torch.manual_seed(0)
    trunk = build_trunk(SPEC)
    spec = HeadSpec(trunk.feature_channels, 8, global_channels=trunk.global_channels, form="text-driven")
    return trunk, {organ: build_head(spec) for organ in organs}


def training_step(at: Start, side: int, device: str) -> None:
    """Take a step of training on one window: forward, loss, backward."""
    trunk, heads = at
    if device == "meta":  # nothing is computed
        output = trunk(torch.rand(1, 1, side, side, side, device=device))
        torch.stack([head(output).flatten(1) for head in heads.values()], -1).sum().backward()
        return
    with torch.autocast(device, torch.bfloat16):
        output = trunk(torch.rand(1, 1, side, side, side, device=device))
        logits = torch.stack([head(output).flatten(1) for head in heads.values()], -1)
    segmentation_loss(logits, torch.zeros(logits.shape, device=device)).backward()


def counted() -> dict[str, int]:
    """Count the operations of one window of 96 voxels a side, without computing any of them."""
    trunk, heads = network()
    at = trunk.to("meta"), {organ: head.to("meta") for organ, head in heads.items()}
    window = torch.zeros(1, 1, SIDE, SIDE, SIDE, device="meta")
    with torch.no_grad():
        extraction = flops(lambda: trunk(window))
    return {
        "training_step": flops(lambda: training_step(at, SIDE, "meta")),
        "extraction": extraction,
        "parameters": sum(p.numel() for p in trunk.parameters()),
    }


def step_seconds(side: int, repeats: int) -> dict[str, float]:
    """Return the processor seconds of a training step, and of running the trunk once over a window."""
    at = network()
    trunk = at[0]
    steps, runs = [], []
    for _ in range(repeats):
        with timed() as taken:
            training_step(at, side, "cpu")
        steps.append(taken)
        with timed() as taken, torch.inference_mode():
            trunk(torch.rand(1, 1, side, side, side))
        runs.append(taken)
    return {
        "side": side,
        "training_step": statistics.median(one.wall for one in steps),
        "training_step_cpu": statistics.median(one.cpu for one in steps),
        "extraction": statistics.median(one.wall for one in runs),
        "extraction_cpu": statistics.median(one.cpu for one in runs),
    }


def tuning(level: Level) -> dict[str, Any]:
    """Tune four organs' heads on the real trunk's features of four studies, one small window each.

    What a step of a head costs depends on how many windows its voxels come from, since weights are made for
    each. So every voxel passes for a window of its own: of 24 studies' thousands of windows a step draws
    nearly as many others as it may, and so it does here.
    """
    side = TIMED_SIDE
    at, bound = network(), contract(side)
    made = Scale("published", 4.0, (side,) * 3, {}, 0, {}, {}, {})
    studies = []
    for number, one in enumerate(cohort.studies(made, "B", cohort.COHORT_SEED, 4)):
        box = tuple(slice(max(0, (n - side) // 2), max(0, (n - side) // 2) + side) for n in one.hu.shape)
        inner = cohort.Study(one.site, one.seed, one.hu[box], {o: m[box] for o, m in one.truth.items()})
        studies.append(tuning_study(inner, replayed=number % 2 == 1))
    how = TuningSettings(level=level)
    trunk, heads = at
    with mock.patch.object(network_tuning, "extract", _of_many_windows):
        with timed() as taken:
            result = tune_heads(trunk, heads, studies, REVISED, bound, how, lambda _: None)
        again = tune_heads(trunk, heads, studies, REVISED, bound, how, lambda _: None, count_flops=True)
    return {
        "level": str(level),
        "wall": taken.wall,
        "cpu": taken.cpu,
        "measured": asdict(result.cost),
        "counted": asdict(again.cost),
        "bytes": {o: sum(4 * p.numel() for p in h.parameters()) for o, h in result.heads.items()},
    }


def _of_many_windows(*given: Any) -> tuple[dict[str, OrganVoxels], Cost]:
    """Extract, and let every voxel be of a window of its own."""
    found, cost = extract(*given)
    spread = {}
    for organ, voxels in found.items():
        taps = voxels.taps
        assert taps.window is not None
        assert taps.context is not None
        window, context = torch.arange(len(taps.window)), taps.context[taps.window]
        spread[organ] = replace(voxels, taps=replace(taps, window=window, context=context))
    return spread, cost


LEVELS = (Level.HEAD, Level.COARSE, Level.NEIGHBOURHOOD)


def _parts(threads: int) -> dict[str, tuple[Path, Callable[[], dict[str, Any]]]]:
    """Return where each part is kept, and what computes it."""
    folder = BUILD / "published"
    parts: dict[str, tuple[Path, Callable[[], dict[str, Any]]]] = {
        "counted": (folder / "counted.json", counted),
        "seconds": (folder / f"seconds-{TIMED_SIDE}-{threads}.json", partial(step_seconds, TIMED_SIDE, 3)),
    }
    for level in LEVELS:
        parts[str(level)] = folder / f"tuning-{level}-{threads}.json", partial(tuning, level)
    return parts


def measured() -> dict[str, Any]:
    """Return all of it, measured unless it has been: each part once for a number of threads."""
    before = known()
    if before is not None:
        return before
    found = {}
    for name, (path, compute) in _parts(torch.get_num_threads()).items():
        say(f"published: {name}")
        found[name] = once(path, compute)
    return _sorted(found)


def known() -> dict[str, Any] | None:
    """Return what has been measured, on two threads or else on one; None if a part is missing."""
    for threads in (2, 1):
        parts = _parts(threads)
        if all(path.exists() for path, _ in parts.values()):
            return _sorted({name: once(*part) for name, part in parts.items()})
    return None


def _sorted(found: dict[str, Any]) -> dict[str, Any]:
    tuned = {str(level): found[str(level)] for level in LEVELS}
    return {"counted": found["counted"], "seconds": found["seconds"], "tuning": tuned}


def main() -> None:
    """Measure what is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.continual.published", description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    print(measured())


if __name__ == "__main__":
    main()
