"""Train the whole network again: a candidate with another trunk, in which every organ is touched.

Nothing starts it but a person. It goes on where it was cut, under the program that began it; the same
program, cases, incumbent and settings give the same candidate. It passes the same gate as any other, and a
person must agree to it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flows.calibration.cases import measurable
from flows.calibration.measure import calibrate_kept
from flows.candidates import publish_candidate, record_candidate
from flows.progress import Progress, silent
from flows.training.plan import FEWEST_CASES, Begin, TrainingRun, plan
from flows.tuning.believed_labels import believed, on_grid
from flows.tuning.lessons import taught_organs
from flows.tuning.report import device_name
from flows.tuning.tune import pinned_threads, refuse_erased, require_device
from models.calibration import Calibration
from models.errors import Refused
from models.inference.windows import segment_windows
from models.network.heads import Head
from models.network.prediction import torch_predict
from models.network.training.state import Keep
from models.network.training.train import Progress as TrainingProgress
from models.network.training.train import Start, TrainingSettings, train
from models.network.trunk import Trunk
from models.network.trunk_kinds import IMPORTED
from models.network.weights import head_from_bytes, head_to_bytes, trunk_from_bytes, trunk_to_bytes
from models.release import Release, sha256_hex
from models.targets import Targets
from models.tuning.document import RefusedLabel
from models.tuning.training_document import Labelled, Trained
from services.cases.store import CaseStore
from services.cases.training_cases import PreparedCases, training_case
from services.cases.training_runs import CASES, give_up_runs, run_folder
from services.cases.tuning_evidence import LabelledCase
from services.cases.tuning_study import read_tuning_study
from services.files import replace as replace_file
from services.program import learning_program
from services.records.events.candidates import CandidateTrained
from services.records.port import Cases, Corrections, Records
from services.releases.engine import open_engine
from services.releases.exporter import export_release
from services.releases.store import ReleaseStore
from services.stopwatch import Stopwatch
from services.wiring import Services, repository_root

REPORTS = 20
"""How often a run says where it is and is kept."""

Curve = Sequence[tuple[int, float]]
"""Steps and the mean loss since the point before."""


def training_settings(begin: Begin, steps: int, learning_rate: float | None = None) -> TrainingSettings:
    """Return how to train: half the usual rate, unless told, where weights are there already."""
    usual = TrainingSettings.learning_rate / (1 if begin is Begin.SCRATCH else 2)
    return TrainingSettings(steps=steps, learning_rate=learning_rate or usual)


def train_release(
    services: Services,
    begin: Begin,
    settings: TrainingSettings,
    progress: Progress = silent,
) -> Trained:
    """Train trunk and heads on all that readers have taught, and publish the candidate that comes of it.

    Parameters
    ----------
    services
        What to work with; nothing is asked of a server.
    begin
        Which weights to begin with, and so which labels count.
    settings
        How to train.
    progress
        Told each step, with the time left.

    Raises
    ------
    Refused
        `too-few-cases`; `too-few-labels` where an organ would have to be learnt that fewer than
        `FEWEST_CASES` cases show and nothing holds; `patient-erased` if a patient who is learnt from was
        taken out meanwhile, `correction-taken-back` if a correction was withdrawn.
    InvalidRelease
        If there is no incumbent, a file of it is damaged, or an export does not agree with torch.
    StorageFailed
        If a disk is full, or a case or what is kept of the run is not whole; the incumbent serves as before.
    OrganloopError
        If CUDA is asked for and there is none: the CPU would give other bits.
    """
    watch = Stopwatch()
    with watch.step("gather"):
        run = plan(services, begin, settings)
    require_device(run.device)
    before = services.records.last(CandidateTrained, run=run.key)
    if before is not None:
        progress(f"release {before.said.release} has been trained on all of this already")
        return before.said.document
    with pinned_threads(services.settings.threads):
        with watch.step("read"):
            start = _incumbents(services.releases, run.parent)
            taught, refused = _taught(services.cases, run, progress)
            begun = _begun_by(learning_program(repository_root()), run, taught)
            folder = run_folder(services.settings.home, begun)
            give_up_runs(services.settings.home, begun)
            cases, labels = _prepared(services.cases, run, taught, start, folder, progress)
        with watch.step("train"):
            network, curve = _trained(run, cases, start, folder, progress)
        learnt_from = [one.case for one in taught] + list(run.calibration_cases)
        refuse_erased(learnt_from, services.records, folder)
        _refuse_withdrawn(taught, services.records, folder)
        with watch.step("export"):
            progress("exporting the candidate and proving it against torch")
            draft = _draft(services.releases, run, taught, network)
            export_release(draft, services.releases, threads=services.settings.threads)
    with watch.step("calibrate"):
        draft = replace(
            draft,
            calibration=_calibration(
                run,
                draft,
                services.cases,
                services.records,
                services.releases,
                services.settings.threads,
                progress,
                services.targets,
            ),
        )
    with watch.step("publish"):
        refuse_erased(learnt_from, services.records, folder)
        _refuse_withdrawn(taught, services.records, folder)
        candidate = publish_candidate(draft, services.releases, services.records)
        document = Trained(
            release=candidate.number,
            digest=candidate.digest,
            parent=run.parent.number,
            begin=begin,
            cases=len(taught),
            labels=labels,
            refused=refused,
            calibrated=tuple(sorted(candidate.calibration.organs)) if candidate.calibration else (),
            steps=settings.steps,
            device=device_name(run.device),
            curve=tuple(curve),
            seconds=watch.seconds(),
            image=services.settings.image_digest,
        )
        _record(services.records, run, taught, candidate, document)
    shutil.rmtree(folder, ignore_errors=True)
    progress(f"candidate: release {candidate.number}")
    return document


def _begun_by(program: str, run: TrainingRun, taught: Sequence[LabelledCase]) -> str:
    """Name what a program has begun to learn from labels that it believes: with others it begins again."""
    believed_ones = [(one.case.case_id, one.organs) for one in taught]
    return sha256_hex(f"{run.key} {program} {believed_ones}".encode())


def _refuse_withdrawn(taught: Sequence[LabelledCase], known: Corrections, folder: Path) -> None:
    """Refuse a network that has learnt a correction withdrawn meanwhile; its run is deleted.

    One that was said anew is no reason to throw a long training away: the next learns the later word.
    """
    withdrawn = {one.name for one in known.corrections() if one.withdrawn}
    gone = len(withdrawn.intersection(_corrections(taught)))
    if gone:
        shutil.rmtree(folder, ignore_errors=True)
        detail = f"{gone} of the corrections learnt from were withdrawn meanwhile; start again without them"
        raise Refused("correction-taken-back", detail, {"corrections": gone})


def _incumbents(store: ReleaseStore, parent: Release) -> Start:
    heads = {organ: head_from_bytes(store.head(digest)) for organ, digest in parent.heads.items()}
    return trunk_from_bytes(store.trunk(parent.trunk)), heads


def _corrections(taught: Sequence[LabelledCase]) -> tuple[str, ...]:
    """Return the names of the corrections learnt from."""
    return tuple(sorted({one.correction for one in taught if one.correction}))


def _taught(
    store: CaseStore, run: TrainingRun, progress: Progress
) -> tuple[tuple[LabelledCase, ...], tuple[RefusedLabel, ...]]:
    """Return the cases with the organs that are learnt there, and the labels refused.

    What tuning does not believe is not learnt here either, and a case of which nothing is left is no case.

    Raises
    ------
    Refused
        `too-few-cases`.
    """
    cases, refused = on_grid(store, run.labelled, run.parent)
    cases, doubted = believed(store, cases)
    refused += doubted
    taught = tuple(one for one in cases if one.organs)
    codes = ", ".join(sorted({one.code for one in refused}))
    if len(taught) < FEWEST_CASES:
        raise Refused(
            "too-few-cases",
            f"{len(taught)} cases are left to learn from, {FEWEST_CASES} are the fewest; "
            f"{len(refused)} labels were refused: {codes}",
            {"cases": len(taught), "fewest": FEWEST_CASES, "labels_refused": len(refused)},
        )
    if refused:
        progress(f"{len(refused)} labels refused: {codes}")
    return taught, refused


def _prepared(
    store: CaseStore,
    run: TrainingRun,
    taught: Sequence[LabelledCase],
    start: Start,
    folder: Path,
    progress: Progress,
) -> tuple[PreparedCases, dict[str, Labelled]]:
    """Bring every case onto the model grid, once; return them, and of each organ who labelled how many.

    Raises
    ------
    Refused
        `too-few-labels`.
    """
    organs = run.parent.contract.organs
    drawn = dict.fromkeys(organs, 0)
    shown = dict.fromkeys(organs, 0)
    cases = PreparedCases(folder / CASES)
    for number, labelled in enumerate(taught, 1):
        study = read_tuning_study(store, labelled, run.parent)
        for organ in organs:
            drawn[organ] += organ in study.truth
            shown[organ] += organ in study.truth and bool(study.truth[organ].any())
        if not cases.take(labelled.case.case_id):
            progress(f"case {number} of {len(taught)}")
            held = _held(study.hu, start, run.parent) if run.begin is Begin.INCUMBENT else None
            cases.add(labelled.case.case_id, training_case(study, organs, held))
    if run.begin is Begin.SCRATCH:
        few = {organ: count for organ, count in shown.items() if count < FEWEST_CASES}
        if few:
            shutil.rmtree(folder, ignore_errors=True)  # nobody takes it up
            raise Refused(
                "too-few-labels",
                f"from scratch every organ must be shown by readers in {FEWEST_CASES} cases; "
                f"too few of {', '.join(few)} (--begin incumbent holds them)",
                {"fewest": FEWEST_CASES, **few},
            )
    held_cases = 0 if run.begin is Begin.SCRATCH else len(taught)
    labels = {organ: Labelled(readers, max(held_cases - readers, 0)) for organ, readers in drawn.items()}
    return cases, labels


def _held(hu: NDArray[np.int16], start: Start, parent: Release) -> Mapping[str, NDArray[np.uint8]]:
    """Return 255 x the probability the incumbent gives each organ, axes (k, j, i)."""
    trunk, heads = start
    answer = segment_windows(hu, parent.contract, torch_predict(trunk, heads, parent.contract))
    rounded = np.rint(255 * answer.probability.astype(np.float32)).astype(np.uint8)
    return dict(zip(parent.contract.organs, rounded, strict=True))


def _trained(
    run: TrainingRun,
    cases: PreparedCases,
    start: Start,
    folder: Path,
    progress: Progress,
) -> tuple[tuple[Trunk, dict[str, Head]], Curve]:
    every = max(1, run.settings.steps // REPORTS)
    kept = folder / "curve.json"
    curve: list[tuple[int, float]] = json.loads(kept.read_bytes()) if kept.exists() else []

    def told(at: TrainingProgress) -> None:
        curve[:] = [point for point in curve if point[0] < at.step]  # a state that was deleted is made again
        curve.append((at.step, round(at.loss, 4)))
        replace_file(kept, json.dumps(curve).encode())
        progress(f"step {at.step}/{at.steps}  loss {at.loss:.3f}  {at.seconds_left:.0f} s left")

    begun = start if run.begin is Begin.INCUMBENT else None
    network = train(
        cases,
        run.parent.contract,
        run.settings,
        told,
        every,
        start=begun,
        keep=Keep(folder / "state.pt", every),
        device=run.device,
    )
    return network, curve


def _draft(
    store: ReleaseStore,
    run: TrainingRun,
    taught: Sequence[LabelledCase],
    network: tuple[Trunk, dict[str, Head]],
) -> Release:
    """Keep trunk and heads; return the candidate, not calibrated yet, its number to be confirmed."""
    trunk, heads = network
    parent = run.parent
    exact = str(parent.contract.trunk.get("kind")) in IMPORTED
    words = {Begin.SCRATCH: "from scratch", Begin.INCUMBENT: f"from release {parent.number}"}[run.begin]
    return replace(
        parent,
        number=parent.number + 1,
        parent=parent.number,
        trunk=store.add_trunk(trunk_to_bytes(trunk, exact=exact)),
        heads={organ: store.add_head(head_to_bytes(head)) for organ, head in heads.items()},
        calibration=None,
        corrections=_corrections(taught),
        note=f"Trained {words} on {len(taught)} cases.",
    )


def _calibration(
    run: TrainingRun,
    draft: Release,
    store: CaseStore,
    kept_cases: Cases,
    releases: ReleaseStore,
    threads: int,
    progress: Progress,
    targets: Targets,
) -> Calibration | None:
    """Measure what may be claimed of the new network; None where the calibration set is too small."""
    kept_for_it = measurable(run.calibration_cases, run.parent, store, kept_cases, progress)
    if not kept_for_it:
        return None
    engine = open_engine(draft, releases, threads)
    count = len(kept_for_it)
    cases = (store.read(case) for case in kept_for_it)
    try:
        return calibrate_kept(
            draft, engine, cases, lambda done: progress(f"calibration case {done} of {count}"), targets
        )
    except ValueError as error:
        progress(f"no bound is claimed: {error}")
        return None


def _record(
    records: Records,
    run: TrainingRun,
    taught: Sequence[LabelledCase],
    candidate: Release,
    document: Trained,
) -> None:
    learnt_from = [one.case for one in taught] + list(run.calibration_cases)
    event = CandidateTrained(
        run=run.key,
        release=candidate.number,
        digest=candidate.digest,
        parent=run.parent.number,
        begin=run.begin,
        organs=candidate.contract.organs,
        taught=taught_organs(taught),
        cases=tuple(case.case_id for case in learnt_from),
        patients=tuple(sorted({case.patient for case in learnt_from})),
        sites=tuple(sorted({one.case.site for one in taught if one.case.site})),
        document=document,
    )
    record_candidate(candidate, event, "train_release", run.key, records)
