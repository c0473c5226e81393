"""Tune the heads of corrected organs into a candidate; trunk and every other head stay the same bytes.

The same corrections, incumbent and settings give the same candidate, whatever was killed in between:
tuning repeats to the bit at a fixed number of threads, weights are kept by content, and a candidate that
is there already keeps its number.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from prefect import flow, task
from prefect.artifacts import create_table_artifact

from flows.segment_study import incumbent
from models.calibration import Calibration, OrganCalibration
from models.conformal import CONFIDENCE, fewest_cases
from models.contract import ModelContract
from models.corrections import INDEPENDENT
from models.errors import StorageFailed
from models.network.training import Progress as TrainingProgress
from models.network.tuning import Level, TuningResult, TuningSettings, TuningStudy, tune_heads
from models.network.weights import head_from_bytes, head_to_bytes, trunk_from_bytes
from models.release import Release, sha256_hex
from models.resampling import resample
from services.cases.evidence import Evidence, LabelledCase, gather
from services.cases.store import CaseContent
from services.inference.engine import OpenVinoEngine, serving_profile
from services.records.port import Case, Event, Purpose, ReleaseState
from services.releases.calibrator import calibrate_organs
from services.releases.exporter import export_release
from services.settings import Settings
from services.stopwatch import Stopwatch
from services.wiring import Services, connect_in_process

CANDIDATE_TUNED = "candidate-tuned"
"""Event: a candidate was published, with what it learnt from."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class TuningRun:
    """One run of tuning, decided before anything is computed.

    Parameters
    ----------
    parent
        The incumbent that is tuned.
    evidence
        Which organs learn from which cases.
    calibration_cases
        Cases with independent truth that tuned organs are calibrated on; empty if no bound can be claimed.
    settings
        How to tune.
    profile
        Serving profile.
    """

    parent: Release
    evidence: Evidence
    calibration_cases: tuple[Case, ...]
    settings: TuningSettings
    profile: str

    @property
    def labelled(self) -> tuple[LabelledCase, ...]:
        """Every case learnt from: the corrected ones, then those replayed."""
        return self.evidence.corrected + self.evidence.replayed

    @property
    def corrections(self) -> tuple[str, ...]:
        """SOP Instance UIDs of the corrections learnt from."""
        return tuple(sorted(one.correction for one in self.labelled if one.correction))

    @property
    def key(self) -> str:
        """Digest of everything the candidate depends on; equal runs give equal candidates."""
        document = {
            "incumbent": self.parent.digest,
            "learnt from": [(one.case.digest, one.organs) for one in self.labelled],
            "calibrated on": [case.digest for case in self.calibration_cases],
            "corrections": self.corrections,
            "settings": asdict(self.settings),
            "profile": self.profile,
        }
        return sha256_hex(json.dumps(document, sort_keys=True).encode())


def tune(
    services: Services,
    organs: Collection[str] | None = None,
    settings: TuningSettings = TuningSettings(),  # noqa: B008 - frozen
    progress: Say = lambda _: None,
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
            studies = [_study(services, one, run.parent.contract) for one in run.labelled]
        with watch.step("tune"):
            result = _tuned(services, run, studies, progress)
        with watch.step("export"):
            progress("exporting the candidate and proving it against torch")
            draft = _draft(services, run, result)
            export_release(draft, services.releases, threads=services.settings.threads)
    with watch.step("calibrate"):
        draft = replace(draft, calibration=_calibration(services, run, draft, progress))
    with watch.step("publish"):
        candidate = _publish(services, draft)
        curve = _curve(result)
        _record(services, run, candidate, curve, watch)
    progress(f"candidate: release {candidate.number}")
    return _document(run, candidate, curve, watch)


def plan(services: Services, organs: Collection[str] | None, settings: TuningSettings) -> TuningRun:
    """Decide what would be learnt from what, without computing anything.

    Raises
    ------
    ValueError, InvalidRelease
        As `tune`.
    """
    parent = services.releases.release(incumbent(services))
    contract = parent.contract
    unknown = sorted(set(organs or ()) - set(contract.organs))
    if unknown:
        raise ValueError(f"no such organ: {', '.join(unknown)}; there are {', '.join(contract.organs)}")
    asked = [organ for organ in contract.organs if organs is None or organ in organs]
    learnt = {uid for release in _lineage(services, parent) for uid in release.corrections}
    profile = serving_profile(services.settings.threads)
    independent = tuple(
        case for case in services.records.cases(Purpose.CALIBRATION) if case.origin == INDEPENDENT
    )
    calibrates = parent.calibration is not None and parent.calibration.profile == profile
    enough = calibrates and len(independent) >= fewest_cases(CONFIDENCE)
    return TuningRun(
        parent=parent,
        evidence=gather(services.records, services.cases, learnt, asked),
        calibration_cases=independent if enough else (),
        settings=settings,
        profile=profile,
    )


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads: another number gives other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def tuning_study(content: CaseContent, organs: Sequence[str]) -> TuningStudy:
    """Bring a case's labels onto its model grid; an organ without a reader's word stays unlabelled.

    Parameters
    ----------
    content
        The case.
    organs
        Organs whose label may be learnt from.
    """
    truth, weight = {}, {}
    for organ in organs:
        label = content.labels.get(organ)
        if label is not None and label.weight.any():
            truth[organ] = _on_model_grid(label.inside, content)
            weight[organ] = _on_model_grid(label.weight, content)
    hu = np.ascontiguousarray(content.volume.hu, dtype=np.int16)
    return TuningStudy(hu, truth, weight)


def _on_model_grid(field: NDArray, content: CaseContent) -> NDArray[np.uint8]:
    """Return 255 x the mean of a field on the CT grid in each model voxel, 0..1."""
    mean = resample(field, content.ct, content.volume.geometry, outside=0.0)
    return np.rint(255 * np.clip(mean, 0, 1)).astype(np.uint8)


def _study(services: Services, labelled: LabelledCase, contract: ModelContract) -> TuningStudy:
    case_id = labelled.case.case_id
    content = services.cases.read(case_id)
    if not np.allclose(content.volume.geometry.spacing_mm, contract.spacing_mm, atol=1e-3):
        raise StorageFailed(f"case {case_id} is kept at another spacing than the incumbent's model grid")
    study = tuning_study(content, labelled.organs)
    missing = set(labelled.organs) - set(study.truth)
    if labelled.correction and missing:
        raise StorageFailed(
            f"case {case_id} lacks what the reader said of {', '.join(sorted(missing))}: ingest "
            f"the correction {labelled.correction} again"
        )
    return study


def _tuned(services: Services, run: TuningRun, studies: Sequence[TuningStudy], progress: Say) -> TuningResult:
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


def _calibration(services: Services, run: TuningRun, draft: Release, progress: Say) -> Calibration | None:
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
        engine = OpenVinoEngine(draft.contract, store.export(draft.trunk), exports, threads)
        cases = (services.cases.read(case.case_id) for case in run.calibration_cases)
        measured = calibrate_organs(draft, engine, run.evidence.organs, cases)
    kept = {organ: known for organ, known in old.organs.items() if organ not in run.evidence.organs}
    return replace(old, organs={**kept, **measured})


def _publish(services: Services, draft: Release) -> Release:
    """Publish a candidate under the number it bears already, else under the next free one."""
    numbers = services.releases.numbers()
    for number in numbers:
        candidate = replace(draft, number=number)
        if candidate.digest == services.releases.release(number).digest:
            return candidate
    candidate = replace(draft, number=max(*numbers, *services.records.release_states(), 0) + 1)
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
        "sites": sorted({case.site for case in learnt_from if case.site}),
        "curve": curve,
        "seconds": watch.seconds(),
    }
    services.records.event(CANDIDATE_TUNED, who="tune_heads", payload=payload, key=run.key)


def _done_before(services: Services, run: TuningRun) -> Event | None:
    events = services.records.events(CANDIDATE_TUNED)
    return next((event for event in events if event.payload["key"] == run.key), None)


def _lineage(services: Services, release: Release) -> Iterator[Release]:
    """Yield a release and its ancestors."""
    yield release
    while release.parent is not None:
        release = services.releases.release(release.parent)
        yield release


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


@flow(name="tune-heads", log_prints=True)
def tune_flow(organs: list[str] | None = None, level: Level = Level.NEIGHBOURHOOD) -> dict[str, Any]:
    """Tune the heads with enough corrections into a candidate."""
    document = tune_task(organs, level)
    publish_curve_task(document)
    return document
