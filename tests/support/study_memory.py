"""Assess and write one CT whose organs fill the field, and tell what memory it took; run as a program.

Its argument is a JSON document: ``{"shape": [100, 512, 512], "pixel_mm": 0.8, "step_mm": 3, "spacing_mm": 4,
"organs": 9, "lean_degrees": 0, "profile": "ohif"}``. It prints another, ``{at_rest_mib, peak_mib, need_mib,
steps}``: memory at rest and at most, what the verdict asks for, and the peak of each step.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from models.findings import StudyFindings
from models.inference.memory import FILLED, need
from models.inference.segmentation import Segmentation
from models.judgement.assess import assess
from models.organs import KEYS
from models.resampling import to_model_grid
from models.volume import Volume
from services.dicom.results.write import write_results
from tests.support.paper_releases import paper_contract, paper_release
from tests.support.result_cases import affine, ct_series

MIB = 1024**2

T = TypeVar("T")


def resident(key: str) -> float:
    """Return this process's memory, MiB: ``VmRSS`` now, ``VmHWM`` at most since it was last set back."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(key)).split()[1]) / 1024


class Peaks:
    """The peak of each step."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}

    def of(self, step: str, make: Callable[[], T]) -> T:
        """Do a step."""
        Path("/proc/self/clear_refs").write_text("5")
        made = make()
        self.steps[step] = round(resident("VmHWM"), 1)
        return made


def main(given: dict[str, Any]) -> dict[str, Any]:
    """Do it all, and return what it took."""
    peaks, at_rest = Peaks(), resident("VmRSS")
    shape, pixel, step = tuple(given["shape"]), given["pixel_mm"], given["step_mm"]
    lean = step * math.tan(math.radians(given["lean_degrees"]))
    grid = affine((1, 0, 0), (0, 1, 0), (pixel, pixel), (0, lean, step))
    series = ct_series(grid, shape)
    hu = np.full(shape, 40, np.int16)
    series = replace(series, volume=Volume(hu, series.volume.geometry))
    ct = series.volume.geometry
    release = paper_release(paper_contract(KEYS[: given["organs"]], given["spacing_mm"]))
    wanted = need(ct, hu.itemsize, release.contract)
    held: dict[str, Any] = {}
    held["model"] = peaks.of("resample", lambda: to_model_grid(series.volume, release.contract.spacing_mm))

    def answered() -> Segmentation:
        probability = np.zeros((given["organs"], *held["model"].geometry.shape), np.float16)
        unsure = np.zeros_like(probability)
        probability[:FILLED] = 1
        unsure[:FILLED] = 0.2  # everywhere: regions to look at are as large as they can be
        members = {n: np.full_like(probability[0], 0.1) for n in range(min(given["organs"], FILLED))}
        features = np.zeros((1, 16), np.float32), np.zeros((1, 3), np.int32)
        return Segmentation(probability, unsure, *features, release.digest, members)

    def assessed() -> StudyFindings:
        return assess(held.pop("answer"), held.pop("model"), ct, release, "a profile")

    held["answer"] = peaks.of("answer", answered)
    findings = peaks.of("assess", assessed)
    written_at, profile = datetime(2026, 12, 1), given["profile"]
    peaks.of("write", lambda: write_results(series, findings, profile=profile, written_at=written_at))
    return {
        "at_rest_mib": round(at_rest, 1),
        "peak_mib": max(peaks.steps.values()),
        "need_mib": round(wanted.worker / MIB, 1),
        "steps": peaks.steps,
    }


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
