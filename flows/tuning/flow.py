"""The tuning job: what a worker with torch does, and what Prefect shows of it."""

from __future__ import annotations

from dataclasses import asdict

from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_markdown_artifact, create_table_artifact

from flows.tuning.plan import AUTO, tuning_settings
from models.tuning.document import NoCost, TuningDocument
from services.pictures.slices import data_url
from services.pictures.tuning_curves import tuning_curves
from services.settings import Settings
from services.wiring import connect_in_process

LONGEST_SECONDS = 20 * 3600.0
"""A job that is not done by then is ended, has died, or was never taken; the next night begins again."""


@task(name="tune heads")
def tune_task(organs: list[str] | None, level: str) -> TuningDocument:
    """Tune the heads with enough corrections; the document of the `tune` verb."""
    from flows.tuning.tune import tune  # torch is loaded only where heads are tuned

    settings = Settings()
    return tune(connect_in_process(settings), organs, tuning_settings(level, settings), progress=print)


@task(name="publish tuning")
def publish_tuning_task(document: TuningDocument) -> None:
    """Show what was learnt from, the ladder, the loss and the cost in the Prefect dashboard.

    Also where no candidate came of it: what the ladder says of each organ is for a person to read. Where
    there was nothing to learn from, nothing is shown.
    """
    if not (document.ladders or document.doubts):
        return
    title = f"Release {document.release} ({document.level}), tuned from {document.parent}"
    if document.release is None:
        title = f"No candidate ({document.level}) from release {document.parent}"
    create_table_artifact(key="tuning-data", table=_data(document), description=title)
    if not document.ladders:
        return
    create_table_artifact(key="tuning-ladder", table=_rungs(document), description=title)
    create_markdown_artifact(key="tuning-cost", markdown=_cost(document), description=title)
    if not document.curve:
        return
    rows = [
        {"organ": organ, "step": step, "loss": loss}
        for organ, points in document.curve.items()
        for step, loss in points
    ]
    create_table_artifact(key="tuning-curve", table=rows, description=title)
    picture = data_url(tuning_curves(document.curve))
    create_image_artifact(key="tuning-curve-picture", image_url=picture, description=title)


@flow(name="tune-heads", log_prints=True, timeout_seconds=LONGEST_SECONDS)
def tune_flow(organs: list[str] | None = None, level: str = AUTO) -> TuningDocument:
    """Tune the heads with enough corrections into a candidate; a run that was cut short goes on."""
    document = tune_task(organs, level)
    publish_tuning_task(document)
    return document


def _data(document: TuningDocument) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = [
        {"what": "corrected studies", "why": "", "count": document.corrections},
        {"what": "older studies, replayed", "why": "", "count": document.replayed},
    ]
    rows += [
        {"what": f"{organ}: {kind}", "why": "", "count": count}
        for organ, counts in document.studies.items()
        for kind, count in asdict(counts).items()
    ]
    rows += [{"what": organ, "why": why, "count": None} for organ, why in document.left_out.items()]
    rows += [
        {"what": f"{one.organ} in case {one.case[:12]}", "why": f"{one.code}: {one.detail}", "count": None}
        for one in document.doubts
    ]  # fmt: skip
    return rows


def _rungs(document: TuningDocument) -> list[dict[str, object]]:
    return [
        {
            "organ": organ,
            **asdict(rung),
            "target": climb.target,
            "kept": "yes" if rung.level == document.levels[organ] else "",
            "end": climb.end,
            "feature_shift": climb.feature_shift,
        }
        for organ, climb in document.ladders.items()
        for rung in climb.rungs
    ]


def _cost(document: TuningDocument) -> str:
    cost, total = document.cost, document.seconds["total"]
    if isinstance(cost, NoCost):
        return f"Nothing was computed ({total:.1f} s)."
    tera = 1e12
    return (
        f"| | windows | steps | seconds | TFLOP |\n|---|---|---|---|---|\n"
        f"| features extracted | {cost.windows_extracted} | | {cost.extraction_seconds:.1f} | "
        f"{cost.extraction_flops / tera:.3f} |\n"
        f"| features kept while serving | {cost.windows_warm} | | | |\n"
        f"| fits | | {cost.steps} | {cost.fit_seconds:.1f} | {cost.fit_flops / tera:.5f} |\n"
        f"| all | | | {total:.1f} | |\n\n"
        f"On {document.device}.\n"
    )
