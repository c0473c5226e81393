"""What `tune` says beside the candidate: cases, ladders, doubts, curve, cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from flows.tuning.lessons import Lessons
from flows.tuning.plan import TuningRun
from models.network.tuning.tune import TuningResult
from models.tuning.settings import Ladder


def device_name(device: str) -> str:
    """Return the device as a person knows it: bits and seconds hang on it."""
    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else device


def report_of(run: TuningRun, lessons: Lessons, result: TuningResult | None) -> dict[str, Any]:
    """Return what the `tune` verb says beside the candidate."""
    report: dict[str, Any] = {
        "organs": list(lessons.organs if result is None else result.heads),
        "left_out": dict(lessons.left_out),
        "corrections": len(lessons.corrected),
        "replayed": len(lessons.replayed),
        "studies": {organ: _studies(lessons, organ) for organ in lessons.organs},
        "doubts": [asdict(label) for label in lessons.refused],
    }
    if result is None:
        return report
    curve: dict[str, list[list[float]]] = {}
    for point in result.curve:
        curve.setdefault(point.organ, []).append([point.step, round(point.loss, 4)])
    report["doubts"] += [
        {
            "organ": doubt.organ,
            "case": lessons.cases[doubt.study].case.case_id,
            "code": doubt.code,
            "detail": ", ".join(f"{name} {value:g}" for name, value in doubt.measured.items()),
        }
        for doubt in result.doubts
    ]
    return report | {
        "levels": {organ: str(ladder.chosen or "incumbent") for organ, ladder in result.ladders.items()},
        "ladders": {organ: _ladder(ladder) for organ, ladder in result.ladders.items()},
        "curve": curve,
        "cost": {name: _rounded(value) for name, value in asdict(result.cost).items()},
        "device": device_name(run.settings.device),
    }


def _studies(lessons: Lessons, organ: str) -> dict[str, int]:
    """Return from how many cases an organ is learnt, and of how many patients."""
    return {
        "corrected": sum(organ in one.organs for one in lessons.corrected),
        "replayed": sum(organ in one.organs for one in lessons.replayed),
        "patients": len({one.case.patient for one in lessons.cases if organ in one.organs}),
    }


def _ladder(ladder: Ladder) -> dict[str, Any]:
    return {
        "end": str(ladder.end),
        "target": ladder.target,
        "feature_shift": _rounded(ladder.feature_shift),
        "rungs": [
            {
                "level": str(rung.level or "incumbent"),
                "steps": rung.steps,
                "train_dsc": _rounded(rung.train_dsc),
                "new_dsc": _rounded(rung.new_dsc),
                "old_dsc": _rounded(rung.old_dsc),
            }
            for rung in (ladder.before, *ladder.rungs)
        ],
    }


def _rounded(value: float | None) -> float | None:
    return value if value is None or isinstance(value, int) else round(value, 4)
