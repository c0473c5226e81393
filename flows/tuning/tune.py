"""Tune the heads of corrected organs into a candidate; trunk and every other head stay the same bytes.

The same program, corrections, incumbent, settings and kept features give the same candidate, whatever was
killed in between: a run holds the features it began with and its fits go on under the program that began
them, tuning repeats to the bit at a fixed number of threads, weights are kept by content, and a candidate
that is there already keeps its number.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from time import monotonic

import torch

from flows.calibration.cases import measurable
from flows.calibration.measure import calibrate_organs
from flows.candidates import publish_candidate, record_candidate
from flows.lineage import always_held
from flows.progress import Progress, silent
from flows.tuning.believed_labels import CASE_DAMAGED
from flows.tuning.lessons import Lessons, lessons_of, taught_from_pictures, taught_organs
from flows.tuning.plan import AUTO, TuningRun, document, known, plan, refuse_taken_back
from flows.tuning.report import report_of
from models.calibration import Calibration, OrganCalibration
from models.errors import OrganloopError, Refused, StorageFailed
from models.network.training.train import Progress as TrainingProgress
from models.network.tuning.tune import TuningResult, tune_heads
from models.network.weights import head_from_bytes, head_to_bytes, trunk_from_bytes
from models.release import Release
from models.targets import Targets
from models.tuning.document import TuningDocument, TuningReport
from models.tuning.settings import TuningSettings
from services.cases.disagreements import Policy
from services.cases.store import CaseStore
from services.cases.training_runs import give_up_runs, tuning_folder
from services.program import learning_program
from services.records.entries.cases import Case
from services.records.events.candidates import CandidateTuned, TuningDeclined
from services.records.port import Cases, Log, Records
from services.releases.engine import open_engine
from services.releases.exporter import export_release
from services.releases.served_look import served_look
from services.releases.store import ReleaseStore
from services.stopwatch import Stopwatch, time_left
from services.wiring import Services, repository_root

LOOKED_AT_A_TIME = 4
"""Studies between two words on how far the features are."""

NEW_THRESHOLD = 0.5
"""Probability from which a voxel belongs to a new organ, until somebody calibrates it."""


def tune(
    services: Services,
    organs: Collection[str] | None = None,
    settings: TuningSettings = TuningSettings(),  # noqa: B008 - frozen
    progress: Progress = silent,
    new_organs: Collection[str] = (),
) -> TuningDocument:
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
    new_organs
        Organs of the catalogue that the incumbent lacks: each gets a head from readers' masks alone.

    Raises
    ------
    ValueError
        If the contract knows no such organ, or has a new one already.
    InvalidRelease
        If there is no incumbent, a file of it is damaged, or an export does not agree with torch.
    StorageFailed
        If a disk is full or does not give a case, or without the cases that are damaged there is nothing to
        learn; the incumbent serves as before.
    Refused
        `patient-erased` if a patient who is learnt from was taken out meanwhile, `correction-taken-back`
        if a correction was.
    OrganloopError
        If CUDA is asked for and there is none: the CPU would give other bits.
    """
    watch = Stopwatch()
    with watch.step("gather"):
        run = plan(services, organs, settings, new_organs)
    require_device(settings.device)
    before = known(run, services.records, services.releases)
    if before is not None:
        progress(
            "nothing to learn: no organ has enough new corrections"
            if before.release is None
            else f"release {before.release} has learnt all of this already"
        )
        shutil.rmtree(tuning_folder(services.settings.home, run.key), ignore_errors=True)
        return replace(before, seconds=watch.seconds())
    policy, image = services.policy, services.settings.image_digest
    folder = tuning_folder(services.settings.home, run.key)
    give_up_runs(services.settings.home, run.key)
    with pinned_threads(services.settings.threads):
        with watch.step("read"):
            lessons = lessons_of(run, services.cases, services.releases, services.settings, progress)
        if not lessons.organs:
            progress("nothing to learn: the labels of every organ are in doubt")
            shutil.rmtree(folder, ignore_errors=True)
            return _declined(services.records, run, lessons, None, watch, image)
        progress(
            f"tuning {', '.join(lessons.organs)} on {len(lessons.corrected)} corrected and "
            f"{len(lessons.replayed)} older studies"
        )
        with watch.step("tune"):
            result = _tuned(
                run,
                lessons,
                folder / _seen(run, lessons),
                services.releases,
                services.settings.threads,
                progress,
            )
        for organ, ladder in result.ladders.items():
            progress(f"{organ}: {ladder.end}, level {ladder.chosen or 'incumbent'}")
        learnt_from = [one.case for one in lessons.cases] + list(run.calibration_cases)
        _refuse_gone(lessons, learnt_from, services.records, policy, folder)
        if not result.heads:
            progress("no candidate: no head would be better than the one that serves")
            shutil.rmtree(folder, ignore_errors=True)
            return _declined(services.records, run, lessons, result, watch, image)
        with watch.step("export"):
            progress("exporting the candidate and proving it against torch")
            draft = _draft(services.releases, run, lessons, result)
            export_release(draft, services.releases, threads=services.settings.threads)
    with watch.step("calibrate"):
        tuned = [organ for organ in result.heads if organ not in run.new_organs]
        draft = replace(
            draft,
            calibration=_calibration(
                run,
                tuned,
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
        _refuse_gone(lessons, learnt_from, services.records, policy, folder)
        candidate = publish_candidate(draft, services.releases, services.records)
        report = report_of(run, lessons, result, image)
        _record(services.records, run, lessons, learnt_from, candidate, report, watch)
        shutil.rmtree(folder, ignore_errors=True)
    progress(f"candidate: release {candidate.number}")
    return document(run, candidate, report, watch.seconds())


def require_device(device: str) -> None:
    """Raise `OrganloopError` where CUDA is asked for and there is none: the CPU would give other bits."""
    if device == "cuda" and not torch.cuda.is_available():
        raise OrganloopError("ORGANLOOP_TUNING_DEVICE is cuda, and torch finds no CUDA device here")


@contextmanager
def pinned_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads: another number gives other last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def refuse_erased(learnt_from: Sequence[Case], known: Cases, folder: Path) -> None:
    """Refuse a candidate that has seen a patient who was taken out meanwhile; its run is deleted.

    Raises
    ------
    Refused
        `patient-erased` with the number of cases.
    """
    gone = sum(known.erased(case.patient) for case in learnt_from)
    if gone:
        shutil.rmtree(folder, ignore_errors=True)
        detail = f"{gone} of the cases learnt from were taken out meanwhile; start again without them"
        raise Refused("patient-erased", detail, {"cases": gone})


def _refuse_gone(
    lessons: Lessons, learnt_from: Sequence[Case], records: Records, policy: Policy, folder: Path
) -> None:
    """Refuse a candidate that has seen what nobody is to learn any more; its run is deleted."""
    refuse_erased(learnt_from, records, folder)
    try:
        refuse_taken_back(lessons.cases, records, policy)
    except Refused:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _declined(
    log: Log,
    run: TuningRun,
    lessons: Lessons,
    result: TuningResult | None,
    watch: Stopwatch,
    image: str | None,
) -> TuningDocument:
    """Put on record that a run came to no candidate, so that it is not tried again; return its document.

    Raises
    ------
    StorageFailed
        If cases are damaged: with them it might have come to one, so it is tried again.
    """
    report = report_of(run, lessons, result, image)
    damaged = sorted({one.case for one in report.doubts if one.code == CASE_DAMAGED})
    if damaged:
        raise StorageFailed(
            f"without {len(damaged)} damaged cases there is nothing to learn; add them, or ingest their "
            f"corrections, again: {', '.join(damaged)}"
        )
    event = TuningDeclined(run=run.key, report=report, seconds=watch.seconds())
    log.record(event, who="tune_heads", key=run.key)
    return document(run, None, report, watch.seconds())


def _seen(run: TuningRun, lessons: Lessons) -> str:
    """Name what fits depend on beside the run's key: program, device, labels refused, kept features read."""
    digest = hashlib.sha256(f"{learning_program(repository_root())} {run.settings.device}".encode())
    digest.update(repr([(one.case.case_id, one.organs) for one in lessons.cases]).encode())
    for number, study in enumerate(lessons.studies):
        if study.warm is not None:
            digest.update(f" {number} ".encode() + study.warm.window.tobytes() + study.warm.index.tobytes())
    return digest.hexdigest()[:16]


def _tuned(
    run: TuningRun,
    lessons: Lessons,
    folder: Path,
    store: ReleaseStore,
    threads: int,
    progress: Progress,
) -> TuningResult:
    parent = run.parent

    def told(at: TrainingProgress) -> None:
        progress(f"step {at.step}/{at.steps}  loss {at.loss:.3f}  {at.seconds_left:.0f} s left")

    def looked(done: int, total: int) -> None:
        if done % LOOKED_AT_A_TIME == 0 or done == total:
            progress(f"features of {done} of {total} studies; {time_left(monotonic() - begin, done, total)}")

    begin, sees = monotonic(), None
    if run.settings.device == "cpu":  # a GPU's bits are torch's own
        sees = served_look(parent, lessons.organs, store, threads)
    return tune_heads(
        trunk_from_bytes(store.trunk(parent.trunk)),
        {organ: head_from_bytes(store.head(digest)) for organ, digest in parent.heads.items()},
        lessons.studies,
        lessons.organs,
        parent.contract,
        run.settings,
        told,
        every=max(1, run.settings.steps // 5),
        folder=folder,
        count_flops=True,
        sees=sees,
        looked=looked,
    )


def _draft(store: ReleaseStore, run: TuningRun, lessons: Lessons, result: TuningResult) -> Release:
    """Keep the tuned heads and return the candidate: not calibrated yet, its number to be confirmed."""
    tuned = {organ: store.add_head(head_to_bytes(head)) for organ, head in result.heads.items()}
    parent = run.parent
    levels = ", ".join(f"{organ} ({result.ladders[organ].chosen})" for organ in result.heads)
    new = [organ for organ in result.heads if organ not in parent.heads]
    contract = replace(
        parent.contract,
        organs=(*parent.contract.organs, *new),
        thresholds={**parent.contract.thresholds, **dict.fromkeys(new, NEW_THRESHOLD)},
    )
    return replace(
        parent,
        number=parent.number + 1,
        parent=parent.number,
        contract=contract,
        heads={**parent.heads, **tuned},
        calibration=None,
        corrections=lessons.corrections,
        note=f"Tuned from release {parent.number}: {levels}.",
    )


def _calibration(
    run: TuningRun,
    organs: Sequence[str],
    draft: Release,
    store: CaseStore,
    kept_cases: Cases,
    releases: ReleaseStore,
    threads: int,
    progress: Progress,
    targets: Targets,
) -> Calibration | None:
    """Return the parent's calibration with that of the tuned organs measured again, or left out.

    The trunk is the same, and so is where the calibration studies lie. An organ that was new once gets no
    certificate here: those it had beside it have shared all the probability of being wrong that there is.
    """
    old = run.parent.calibration
    if old is None:
        return None
    shared = always_held(run.parent, releases)
    measured: Mapping[str, OrganCalibration] = {}
    kept_for_it = measurable(run.calibration_cases, run.parent, store, kept_cases, progress)
    if kept_for_it:
        progress(f"calibrating on {len(kept_for_it)} cases")
        engine = open_engine(draft, releases, threads)
        cases = (store.read(case) for case in kept_for_it)
        measured = {
            organ: fitted if organ in shared else replace(fitted, certificate=None)
            for organ, fitted in calibrate_organs(draft, engine, organs, cases, old, targets).items()
        }
    kept = {organ: known for organ, known in old.organs.items() if organ not in organs}
    return replace(old, organs={**kept, **measured})


def _record(
    records: Records,
    run: TuningRun,
    lessons: Lessons,
    learnt_from: Sequence[Case],
    candidate: Release,
    report: TuningReport,
    watch: Stopwatch,
) -> None:
    event = CandidateTuned(
        run=run.key,
        release=candidate.number,
        digest=candidate.digest,
        parent=run.parent.number,
        organs=report.organs,
        level=str(run.settings.level or AUTO),
        taught=taught_organs(lessons.cases),
        from_pictures=taught_from_pictures(lessons.cases),
        cases=tuple(dict.fromkeys(case.case_id for case in learnt_from)),
        patients=tuple(sorted({case.patient for case in learnt_from})),
        sites=tuple(sorted({one.case.site for one in lessons.corrected if one.case.site})),
        report=report,
        seconds=watch.seconds(),
    )
    record_candidate(candidate, event, "tune_heads", run.key, records)
