"""Tune the heads of corrected organs into a candidate; trunk and every other head stay the same bytes.

The same corrections, incumbent and settings give the same candidate, whatever was killed in between:
tuning repeats to the bit at a fixed number of threads, weights are kept by content, and a candidate that
is there already keeps its number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from prefect import flow, task
from prefect.artifacts import create_image_artifact, create_table_artifact

from flows.gate_candidate import CANDIDATE_TUNED
from flows.serving import Progress, silent
from flows.tuning_plan import TuningRun, plan
from models.calibration import Calibration, OrganCalibration
from models.network.training import Progress as TrainingProgress
from models.network.tuning import Level, TuningResult, TuningSettings, TuningStudy, tune_heads
from models.network.weights import head_from_bytes, head_to_bytes, trunk_from_bytes
from models.release import Release
from services.cases.tuning_study import read_tuning_study
from services.inference.engine import OpenVinoEngine
from services.pictures.slices import data_url
from services.pictures.tuning_curves import tuning_curves
from services.records.port import Event, ReleaseState
from services.releases.calibrator import calibrate_organs
from services.releases.exporter import export_release
from services.settings import Settings
from services.stopwatch import Stopwatch
from services.wiring import Services, connect_in_process


def tune(
    services: Services,
    organs: Collection[str] | None = None,
    settings: TuningSettings = TuningSettings(),  # noqa: B008 - frozen
    progress: Progress = silent,
) -> dict[str, Any]:
    """Learn from the corrections since the incumbent and publish the candidate that comes of it.

    Parameters
    ----------
    services
        What to work with; nothing is asked of a server.
    organs
        Organs that may be tuned; by default every organ with enough corrections.
    settings
        How to tune.
    progress
        Told each step, with the time left.

    Returns
    -------
    dict
        The document of the `tune` verb: ``release`` (None if there is nothing to learn), ``digest``,
        ``parent``, ``organs``, ``left_out`` (by organ, why), ``level``, ``corrections`` and ``replayed``
        (cases), ``curve`` (by organ, ``[step, loss]``), ``seconds``.

    Raises
    ------
    ValueError
        If the contract knows no such organ.
    InvalidRelease
        If there is no incumbent, a file of it is damaged, or an export does not agree with torch.
    StorageFailed
        If a disk is full or a case is not whole; the incumbent serves as before.
    """
    watch = Stopwatch()
    with watch.step("gather"):
        run = plan(services, organs, settings)
    if not run.evidence.organs:
        progress("nothing to learn: no organ has enough new corrections")
        return _document(run, None, {}, watch)
    done = _done_before(services, run)
    if done is not None:
        progress(f"release {done.payload['release']} has learnt all of this already")
        release = services.releases.release(int(done.payload["release"]))
        return _document(run, release, done.payload["curve"], watch)
    progress(
        f"tuning {', '.join(run.evidence.organs)} on {len(run.evidence.corrected)} corrected and "
        f"{len(run.evidence.replayed)} older studies"
    )
    with pinned_threads(services.settings.threads):
        with watch.step("read"):
            studies = [read_tuning_study(services.cases, one, run.parent.contract) for one in run.labelled]
        with watch.step("tune"):
            result = _tuned(services, run, studies, progress)
        with watch.step("export"):
            progress("exporting the candidate and proving it against torch")
            draft = _draft(services, run, result)
            export_release(draft, services.releases, threads=services.settings.threads)
    with watch.step("calibrate"):
        draft = replace(draft, calibration=_calibration(services, run, draft, progress))
    with watch.step("publish"):
        candidate = publish_candidate(services, draft)
        curve = _curve(result)
        _record(services, run, candidate, curve, watch)
    progress(f"candidate: release {candidate.number}")
    return _document(run, candidate, curve, watch)


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads: another number gives other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _tuned(
    services: Services, run: TuningRun, studies: Sequence[TuningStudy], progress: Progress
) -> TuningResult:
    store, parent = services.releases, run.parent

    def told(at: TrainingProgress) -> None:
        progress(f"step {at.step}/{at.steps}  loss {at.loss:.3f}  {at.seconds_left:.0f} s left")

    return tune_heads(
        trunk_from_bytes(store.trunk(parent.trunk)),
        {organ: head_from_bytes(store.head(parent.heads[organ])) for organ in run.evidence.organs},
        studies,
        run.evidence.organs,
        parent.contract,
        run.settings,
        told,
        every=max(1, run.settings.steps // 5),
    )


def _draft(services: Services, run: TuningRun, result: TuningResult) -> Release:
    """Keep the tuned heads and return the candidate: not calibrated yet, its number to be confirmed."""
    tuned = {organ: services.releases.add_head(head_to_bytes(head)) for organ, head in result.heads.items()}
    parent = run.parent
    return replace(
        parent,
        number=parent.number + 1,
        parent=parent.number,
        heads={**parent.heads, **tuned},
        calibration=None,
        corrections=run.corrections,
        note=f"Tuned from release {parent.number} ({run.settings.level}): {', '.join(run.evidence.organs)}.",
    )


def _calibration(
    services: Services, run: TuningRun, draft: Release, progress: Progress
) -> Calibration | None:
    """Return the parent's calibration with that of the tuned organs measured again, or left out.

    The trunk is the same, and so is where the calibration studies lie.
    """
    old = run.parent.calibration
    if old is None:
        return None
    measured: Mapping[str, OrganCalibration] = {}
    if run.calibration_cases:
        progress(f"calibrating on {len(run.calibration_cases)} cases")
        store = services.releases
        exports = {organ: store.export(digest) for organ, digest in draft.heads.items()}
        threads = services.settings.threads
        engine = OpenVinoEngine(draft, store.export(draft.trunk), exports, threads)
        cases = (services.cases.read(case) for case in run.calibration_cases)
        measured = calibrate_organs(draft, engine, run.evidence.organs, cases, old)
    kept = {organ: known for organ, known in old.organs.items() if organ not in run.evidence.organs}
    return replace(old, organs={**kept, **measured})


def publish_candidate(services: Services, draft: Release) -> Release:
    """Publish a candidate under the number it bears already, else under the next free one."""
    numbers = services.releases.numbers()
    for number in numbers:
        candidate = replace(draft, number=number)
        if candidate.digest == services.releases.release(number).digest:
            return candidate
    candidate = replace(draft, number=max((*numbers, *services.records.release_states(), 0)) + 1)
    services.releases.publish(candidate)
    return candidate


def _record(
    services: Services,
    run: TuningRun,
    candidate: Release,
    curve: Mapping[str, Sequence[tuple[int, float]]],
    watch: Stopwatch,
) -> None:
    states = services.records.release_states()
    if candidate.number not in states:
        services.records.record_release(candidate.number, candidate.digest, ReleaseState.CANDIDATE)
    learnt_from = [one.case for one in run.labelled] + list(run.calibration_cases)
    payload = {
        "key": run.key,
        "release": candidate.number,
        "digest": candidate.digest,
        "parent": run.parent.number,
        "organs": list(run.evidence.organs),
        "level": str(run.settings.level),
        "cases": [case.case_id for case in learnt_from],
        "patients": sorted({case.patient for case in learnt_from}),
        "sites": sorted({one.case.site for one in run.evidence.corrected if one.case.site}),
        "curve": curve,
        "seconds": watch.seconds(),
    }
    services.records.event(CANDIDATE_TUNED, who="tune_heads", payload=payload, key=run.key)


def _done_before(services: Services, run: TuningRun) -> Event | None:
    events = services.records.events(CANDIDATE_TUNED)
    return next((event for event in events if event.payload["key"] == run.key), None)


def _curve(result: TuningResult) -> dict[str, list[tuple[int, float]]]:
    curve: dict[str, list[tuple[int, float]]] = {}
    for point in result.curve:
        curve.setdefault(point.organ, []).append((point.step, round(point.loss, 4)))
    return curve


def _document(
    run: TuningRun,
    candidate: Release | None,
    curve: Mapping[str, Sequence[Sequence[float]]],
    watch: Stopwatch,
) -> dict[str, Any]:
    return {
        "release": candidate.number if candidate else None,
        "digest": candidate.digest if candidate else None,
        "parent": run.parent.number,
        "organs": list(run.evidence.organs),
        "left_out": dict(run.evidence.left_out),
        "level": str(run.settings.level),
        "corrections": len(run.evidence.corrected),
        "replayed": len(run.evidence.replayed),
        "curve": {organ: [list(point) for point in points] for organ, points in curve.items()},
        "seconds": watch.seconds(),
    }


@task(name="tune heads")
def tune_task(organs: list[str] | None, level: Level) -> dict[str, Any]:
    """Tune the heads with enough corrections; the document of the `tune` verb."""
    return tune(connect_in_process(Settings()), organs, TuningSettings(level=level), progress=print)


@task(name="publish tuning curve")
def publish_curve_task(document: dict[str, Any]) -> None:
    """Show the loss by organ and step in the Prefect dashboard."""
    rows = [
        {"organ": organ, "step": step, "loss": loss}
        for organ, points in document["curve"].items()
        for step, loss in points
    ]
    title = f"Release {document['release']} ({document['level']}), tuned from {document['parent']}"
    create_table_artifact(key="tuning-curve", table=rows, description=title)
    picture = data_url(tuning_curves(document["curve"]))
    create_image_artifact(key="tuning-curve-picture", image_url=picture, description=title)


@flow(name="tune-heads", log_prints=True)
def tune_flow(organs: list[str] | None = None, level: Level = Level.NEIGHBOURHOOD) -> dict[str, Any]:
    """Tune the heads with enough corrections into a candidate."""
    document = tune_task(organs, level)
    publish_curve_task(document)
    return document
