"""The whole loop on phantoms: segment, correct, ingest, tune, gate, promote, segment again, roll back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from deploy.demo.cohorts import CORRECTED, GATE, REPLAYED, UNSEEN, Phantoms, Study
from deploy.demo.outcome import Outcome, read_outcome
from deploy.demo.simulated_reader import save_like_ohif
from flows.cases.keep import add_case
from flows.corrections.flow import ingest_correction
from flows.corrections.report import Ingested, NotTaken
from flows.gate.gate_candidate import gate_candidate
from flows.nightly.flow import nightly_tuning
from flows.promotion.flow import promote_release
from flows.promotion.promote import Promoted
from flows.promotion.roll_back import RolledBack, rollback
from flows.segmentation.document import Segmented
from flows.segmentation.flow import segment_study
from flows.speech.speech import speak, speech_of
from flows.tuning.tune import tune
from models.corrections.ledger import INDEPENDENT
from models.errors import OrganloopError, Refusal
from models.gate.document import GateDocument
from models.organs import ORGANS, organ
from models.resampling import to_model_grid
from models.tuning.document import TuningDocument
from models.tuning.settings import Level, TuningSettings
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.inference.port import Segmenter
from services.records.entries.cases import Purpose
from services.releases.store import ReleaseStore
from services.wiring import Services

Progress = Callable[[str], None]

READER_CORRECTS = ("stomach", "aorta", "postcava", "gallbladder")
"""The organs that suffer at site B; the reader corrects them and nothing else."""

LEVEL = Level.NEIGHBOURHOOD
"""Which part of the heads is free. The ladder would find the lowest that does; it takes some minutes more."""

SAVED_AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)
"""When the simulated reader saves; fixed, so that a demonstration can be repeated to the byte."""


@dataclass(frozen=True)
class Loop:
    """Everything the loop did.

    Parameters
    ----------
    before, after
        Unseen studies as release 1 and as the promoted release saw them, in the same order.
    ledgers
        What `ingest` said of each correction.
    tuning, gate, promotion, rollback
        The documents of the verbs.
    identical
        Untouched organs whose probabilities on an unseen study are the same bits in both releases.
    """

    before: tuple[Outcome, ...]
    after: tuple[Outcome, ...]
    ledgers: tuple[Ingested | NotTaken, ...]
    tuning: TuningDocument
    gate: GateDocument
    promotion: Promoted | None
    rollback: RolledBack | None
    identical: tuple[str, ...]

    def faults(self) -> tuple[str, ...]:
        """Return what the loop should have shown and did not, one sentence each."""
        untouched = [key for key in ORGANS if key not in self.tuning.organs]
        faults = [f"{key} was not tuned and has other bits" for key in untouched if key not in self.identical]
        if self.promotion is None:
            faults.append(f"release {self.tuning.release} was not promoted: {self.gate.decision}")
        elif self.rollback is None or self.rollback.release != self.tuning.parent:
            faults.append("the rollback did not lead back to the release before")
        return tuple(faults)


def run(folder: Path, phantoms: Phantoms, services: Services, progress: Progress) -> Loop:
    """Run the loop once; the incumbent at the end is the promoted release, if the gate let it pass."""
    progress("gate set: phantoms of both sites with independent truth, frozen before anything is tuned")
    _keep(phantoms.of(*GATE, progress=progress), Purpose.GATE, services)
    services.records.freeze(Purpose.GATE)
    progress("older studies of site A, kept so that a tuned organ does not forget its old site")
    _keep(phantoms.of(REPLAYED, progress=progress), Purpose.TUNING, services)

    progress("site B: release 1 segments, the reader corrects four organs and saves as OHIF does")
    corrected = phantoms.of(CORRECTED, progress=progress)
    ledgers = _corrected(corrected, folder / "results" / "1", progress)
    progress("unseen studies of both sites, segmented by release 1")
    unseen = list(phantoms.of(*UNSEEN, progress=progress))
    before = _segmented(unseen, folder / "results" / "1", progress)

    progress(
        f"the heads of the corrected organs are tuned, at level {LEVEL}; no ladder is climbed, to save time"
    )
    tuning = tune(services, settings=TuningSettings(level=LEVEL), progress=progress)
    number = tuning.release
    if number is None:
        raise OrganloopError(f"nothing was tuned: {dict(tuning.left_out)}")
    progress("the gate decides")
    gate = gate_candidate(number, services, progress)
    progress("the nightly flow finds the same candidate and the same decision, and shows them in Prefect")
    night = nightly_tuning(str(LEVEL))
    seen = (night.tuning and night.tuning.digest, night.gate and night.gate.decision)
    if seen != (tuning.digest, gate.decision):
        raise OrganloopError("the nightly flow came to another candidate or decision")
    identical = _identical(unseen[0], number, services.releases, services.segmenter)
    promotion = back = None
    after = before
    if gate.decision in ("promote", "needs-approval"):
        progress(f"the gate says {gate.decision}: release {number} is promoted in the demo's name")
        reason = f"demonstration, nobody has read the figures; the gate's decision is {gate.decision}"
        promotion = promote_release(number, approver="demo", reason=reason)
        progress(f"unseen studies again, segmented by release {number}")
        after = _segmented(unseen, folder / "results" / str(number), progress)
        progress("rollback, and forth again")
        back = rollback(None, services, "demo", "to show that it can be done")
        promote_release(number, approver="demo", reason="back to the release the gate let pass")
    if not speech_of(services.records).speaks:
        progress("the site was silent, and sent no result to an archive; now it speaks, in the demo's name")
        speak("demo", "demonstration: its archive is its own", services.records)
    return Loop(before, after, ledgers, tuning, gate, promotion, back, identical)


def _keep(studies: Iterable[Study], purpose: Purpose, services: Services) -> None:
    for study in studies:
        add_case(study.ct, study.truth_file, purpose, INDEPENDENT, services)


def _corrected(studies: Iterable[Study], out: Path, progress: Progress) -> tuple[Ingested | NotTaken, ...]:
    """Segment studies; let the reader correct each and take that in while the next is segmented."""

    def sent(study: Study) -> Path:
        path = _answered(study, out).path_of("organ-seg")
        if path is None:
            raise ValueError("a result without an organ SEG")
        return path

    ledgers = []
    with ThreadPoolExecutor(1) as ahead:
        asked = [(study, ahead.submit(copy_context().run, sent, study)) for study in studies]
        for study, segmented in asked:
            ledgers.append(_taken_in(study, segmented.result(), out))
            progress(f"  {study.name}: segmented, corrected, ingested")
    return tuple(ledgers)


def _taken_in(study: Study, sent: Path, out: Path) -> Ingested | NotTaken:
    """Let the reader correct what was sent, and take the correction in."""
    series = load(choose_series(read_series(study.ct)))
    truth = study.truth()
    painted = {organ(key).label: truth[key].dense() for key in READER_CORRECTS}
    saved = out / study.name / "saved-by-reader.dcm"
    saved.write_bytes(save_like_ohif(sent.read_bytes(), series, painted, written_at=SAVED_AT))
    return ingest_correction(saved, study.ct, sent)


def _answered(study: Study, out: Path) -> Segmented:
    document = segment_study(study.ct, out / study.name)
    if isinstance(document, Refusal):
        raise OrganloopError(f"{study.name} is refused: {document.code}: {document.detail}")
    return document


def _segmented(studies: Iterable[Study], out: Path, progress: Progress) -> tuple[Outcome, ...]:
    """Segment studies, two at a time: while one is answered, the other is read, written and proven."""

    def segmented(study: Study) -> Outcome:
        return read_outcome(study.name, study.site, study.ct, _answered(study, out), study.truth())

    outcomes = []
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(copy_context().run, segmented, study) for study in studies]
        for done in asked:
            outcomes.append(done.result())
            progress(f"  {outcomes[-1].name}")
    return tuple(outcomes)


def _identical(study: Study, number: int, store: ReleaseStore, segmenter: Segmenter) -> tuple[str, ...]:
    """Return the organs whose probabilities on a study are the same bits in both releases."""
    release = store.release(number)
    if release.parent is None:
        raise ValueError(f"release {number} has no parent to be compared with")
    volume = load(choose_series(read_series(study.ct))).volume
    hu = to_model_grid(volume, release.contract.spacing_mm, release.contract.antialias).hu.astype(
        np.int16, copy=False
    )
    old = segmenter.segment(hu, release.parent).probability
    new = segmenter.segment(hu, number).probability
    same = [a.tobytes() == b.tobytes() for a, b in zip(old, new, strict=True)]
    return tuple(
        key for key, equal in zip(release.contract.organs, same, strict=True) if equal and key in ORGANS
    )
