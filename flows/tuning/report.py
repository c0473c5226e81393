"""What `tune` says beside the candidate: cases, ladders, doubts, curve, cost."""

from __future__ import annotations

from dataclasses import replace

import torch

from flows.tuning.lessons import Lessons
from flows.tuning.plan import TuningRun
from models.network.tuning.tune import TuningResult
from models.tuning.document import Climb, RefusedLabel, Studies, TriedLevel, TuningReport
from models.tuning.settings import Ladder


def device_name(device: str) -> str:
    """Return the device as a person knows it: bits and seconds hang on it."""
    return f"cuda ({torch.cuda.get_device_name()})" if device == "cuda" else device


def report_of(
    run: TuningRun, lessons: Lessons, result: TuningResult | None, image: str | None
) -> TuningReport:
    """Return what the `tune` verb says beside the candidate; `image` is the digest of what runs here."""
    report = TuningReport(
        organs=lessons.organs,
        left_out=lessons.left_out,
        corrections=len(lessons.corrected),
        replayed=len(lessons.replayed),
        studies={organ: _studies(lessons, organ) for organ in lessons.organs},
        doubts=lessons.refused,
    )
    if result is None:
        return report
    curve: dict[str, tuple[tuple[int, float], ...]] = {}
    for point in result.curve:
        curve[point.organ] = (*curve.get(point.organ, ()), (point.step, round(point.loss, 4)))
    doubts = tuple(
        RefusedLabel(
            doubt.organ,
            lessons.cases[doubt.study].case.case_id,
            doubt.code,
            ", ".join(f"{name} {value:g}" for name, value in doubt.measured.items()),
        )
        for doubt in result.doubts
    )
    return replace(
        report,
        organs=tuple(result.heads),
        doubts=(*report.doubts, *doubts),
        levels={organ: str(ladder.chosen or "incumbent") for organ, ladder in result.ladders.items()},
        ladders={organ: _climb(ladder) for organ, ladder in result.ladders.items()},
        curve=curve,
        cost=replace(
            result.cost,
            extraction_seconds=round(result.cost.extraction_seconds, 4),
            fit_seconds=round(result.cost.fit_seconds, 4),
        ),
        device=device_name(run.settings.device),
        image=image,
    )


def _studies(lessons: Lessons, organ: str) -> Studies:
    return Studies(
        corrected=sum(organ in one.organs for one in lessons.corrected),
        replayed=sum(organ in one.organs for one in lessons.replayed),
        patients=len({one.case.patient for one in lessons.cases if organ in one.organs}),
    )


def _climb(ladder: Ladder) -> Climb:
    return Climb(
        end=ladder.end,
        target=ladder.target,
        feature_shift=_rounded(ladder.feature_shift),
        rungs=tuple(
            TriedLevel(
                level=rung.level or "incumbent",
                steps=rung.steps,
                train_dsc=_rounded(rung.train_dsc),
                new_dsc=_rounded(rung.new_dsc),
                old_dsc=_rounded(rung.old_dsc),
            )
            for rung in (ladder.before, *ladder.rungs)
        ),
    )


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
