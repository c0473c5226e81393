"""How large the experiments are, and where what they gave is kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from models.contract import ModelContract
from models.network.trunk_kinds import build_trunk
from models.organs import ORGANS

BUILD = Path(__file__).resolve().parents[3] / "build" / "continual"

KEPT = ("spleen", "right_kidney", "left_kidney", "pancreas", "liver")
"""Organs that the readers of the new site leave as they are: labelled by the incumbent in every study."""

REVISED = ("stomach", "aorta", "postcava", "gallbladder")
"""Organs that they revise."""


@dataclass(frozen=True)
class Scale:
    """Sizes of one run of the experiments.

    Parameters
    ----------
    name
        Folder of its results.
    spacing_mm
        Side of the voxels that phantoms are made on.
    window
        Window shape (k, j, i); a multiple of 32, as Swin UNETR wants it.
    trunks
        By name what `build_trunk` needs.
    hidden
        Width of the heads.
    incumbent_cases
        Studies of the old site that the incumbent learnt from, all organs labelled.
    cohort
        Studies of the new site, five organs labelled by the incumbent.
    first, second
        Studies in which the readers revise four organs, in the first round and in the second.
    tests
        By site, studies that nothing learnt from.
    steps
        By trunk, optimiser steps of the incumbent's training on the old site.
    full_steps
        By trunk, optimiser steps of Full Training on the new one.
    tuning_steps
        Optimiser steps of an organ's head.
    """

    name: str
    spacing_mm: float
    window: tuple[int, int, int]
    trunks: Mapping[str, Mapping[str, Any]]
    incumbent_cases: int
    steps: Mapping[str, int]
    full_steps: Mapping[str, int]
    tests: Mapping[str, int]
    cohort: int = 200
    first: int = 12
    second: int = 22
    hidden: int = 8
    tuning_steps: int = 200
    learning_rate: Mapping[str, float] = field(default_factory=lambda: {"unet": 2e-3, "swin": 1e-3})

    def contract(self, trunk: str) -> ModelContract:
        """Return the contract of a network of this scale."""
        built = build_trunk(self.trunks[trunk])
        return ModelContract(
            organs=ORGANS,
            spacing_mm=(self.spacing_mm,) * 3,
            hu_window=(-175.0, 250.0),
            window_shape=self.window,
            overlap=0.25,
            thresholds=dict.fromkeys(ORGANS, 0.5),
            feature_channels=built.feature_channels,
            coarse_channels=built.coarse_channels,
            global_channels=built.global_channels,
            trunk=dict(built.spec),
        )

    @property
    def folder(self) -> Path:
        """Where results lie; other sizes, another folder."""
        sizes = json.dumps(asdict(self), sort_keys=True, default=dict)
        return BUILD / f"{self.name}-{hashlib.sha256(sizes.encode()).hexdigest()[:8]}"


SMALL = Scale(
    name="small",
    spacing_mm=6.0,
    window=(32, 64, 64),
    trunks={
        "unet": {"kind": "unet", "widths": [12, 24, 48, 96], "features": 24},
        "swin": {"kind": "swin_unetr", "feature_size": 12},
    },
    incumbent_cases=60,
    steps={"unet": 600, "swin": 1500},
    full_steps={"unet": 1800, "swin": 3000},
    tests={"A": 16, "B": 24, "C": 8, "D": 8},
)
"""Half an hour of one core for the U-Net, some seven hours for Swin UNETR."""

FULL = Scale(
    name="full",
    spacing_mm=4.0,
    window=(64, 96, 128),
    trunks={
        "unet": {"kind": "unet", "widths": [16, 32, 64, 128], "features": 32},
        "swin": {"kind": "swin_unetr", "feature_size": 24},
    },
    incumbent_cases=128,
    steps={"unet": 4000, "swin": 4000},
    full_steps={"unet": 12000, "swin": 12000},
    tests={"A": 60, "B": 100, "C": 30, "D": 30},
)
"""Needs a GPU, or days."""


def chosen() -> Scale:
    """Return the full scale if ``ORGANLOOP_BENCH_FULL=1``, else the small one."""
    return FULL if os.environ.get("ORGANLOOP_BENCH_FULL") == "1" else SMALL


def device() -> str:
    """Return where torch computes: ``ORGANLOOP_BENCH_DEVICE``, by default the CPU."""
    return os.environ.get("ORGANLOOP_BENCH_DEVICE", "cpu")


def once(path: Path, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what is kept under a path, computed if nothing is."""
    if not path.exists():
        found = compute()
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_suffix(f".{os.getpid()}")
        aside.write_text(json.dumps(found, indent=1))
        aside.rename(path)
    return json.loads(path.read_text())  # what was computed reads like what was kept
