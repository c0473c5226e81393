"""What a run of tuning learns from, read: labels in doubt refused, older cases chosen, features found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from flows.progress import Progress
from flows.tuning.believed_labels import NEVER_SHOWN, believed, on_grid, only, sift
from flows.tuning.plan import TuningRun
from models.inference.question import told_grid
from models.inference.segmentation import Segmentation
from models.network.tuning.samples import TuningStudy
from models.release import Release
from models.tuning.document import RefusedLabel
from services.cases.features import FeatureStore
from services.cases.older_cases import choose_replayed, looked_at
from services.cases.store import CaseContent, CaseStore
from services.cases.training_runs import FEATURES, tuning_folder
from services.cases.tuning_evidence import LabelledCase
from services.cases.tuning_study import read_tuning_study
from services.inference.engine import OpenVinoEngine
from services.releases.engine import open_engine
from services.releases.store import ReleaseStore
from services.settings import Settings


@dataclass(frozen=True, eq=False)
class Lessons:
    """What is learnt from.

    Parameters
    ----------
    organs
        Those that still have enough evidence.
    left_out
        By organ, why its head is left as it is.
    corrected, replayed
        The cases.
    studies
        The same, read: corrected ones first.
    refused
        Labels that nothing is learnt from.
    """

    organs: tuple[str, ...]
    left_out: dict[str, str]
    corrected: tuple[LabelledCase, ...]
    replayed: tuple[LabelledCase, ...]
    studies: tuple[TuningStudy, ...]
    refused: tuple[RefusedLabel, ...]

    @property
    def cases(self) -> tuple[LabelledCase, ...]:
        """Every case learnt from, in the order of `studies`."""
        return self.corrected + self.replayed

    @property
    def corrections(self) -> tuple[str, ...]:
        """Names of the corrections learnt from."""
        return tuple(sorted({one.correction for one in self.cases if one.correction}))


def lessons_of(
    run: TuningRun, cases: CaseStore, store: ReleaseStore, settings: Settings, progress: Progress
) -> Lessons:
    """Read what is to be learnt from, and refuse what cannot be meant or is damaged.

    Raises
    ------
    StorageFailed
        If a case cannot be read.
    """
    evidence = run.evidence
    sifted = sift(cases, run)
    left_out, organs, corrected, refused = (
        dict(sifted.left_out), sifted.organs, sifted.corrected, sifted.refused,
    )  # fmt: skip
    older, off_grid = on_grid(cases, only(evidence.older, organs), run.parent)
    if len(older) > evidence.budget:
        progress(f"choosing {evidence.budget} of {len(older)} older studies to replay")
    # What was refused when new is refused again.
    older, also = believed(cases, looked_at(older, evidence.budget, organs))
    parent = run.parent
    replayed = choose_replayed(
        cases,
        only(older, organs),
        evidence.budget,
        organs,
        parent.contract,
        _Incumbent(parent, store, settings.threads).ask,
        settings.home / "tuning" / f"importance-{parent.digest[:24]}.json",
    )
    refused += off_grid + also
    learnt_from = [(one.case.patient, one.series_uid) for one in corrected + replayed if one.series_uid]
    features = FeatureStore(cases).held(learnt_from, tuning_folder(settings.home, run.key) / FEATURES)
    # A case may be in both: an organ of it was learnt before, another is new.
    studies = [read_tuning_study(cases, one, parent, features) for one in corrected]
    studies += [read_tuning_study(cases, one, parent, features, True) for one in replayed]
    shown = {organ for study in studies for organ, truth in study.truth.items() if truth.any()}
    left_out |= {organ: NEVER_SHOWN for organ in organs if organ not in shown}
    organs = tuple(organ for organ in organs if organ in shown)
    learnt = [
        _of_organs(study, organs)
        for one, study in zip(corrected + replayed, studies, strict=True)
        if only([one], organs)
    ]
    return Lessons(organs, left_out, only(corrected, organs), only(replayed, organs), tuple(learnt), refused)


def _of_organs(study: TuningStudy, organs: Sequence[str]) -> TuningStudy:
    return replace(study, truth={organ: truth for organ, truth in study.truth.items() if organ in organs})


class _Incumbent:
    """The incumbent in this process, compiled when it is first asked."""

    def __init__(self, release: Release, store: ReleaseStore, threads: int) -> None:
        self._release, self._store, self._threads = release, store, threads
        self._engine: OpenVinoEngine | None = None

    def ask(self, content: CaseContent) -> Segmentation:
        """Return its answer for a case."""
        if self._engine is None:
            self._engine = open_engine(self._release, self._store, self._threads)
        ct = told_grid(content.volume, self._release.contract)
        return self._engine.segment(content.volume.hu, ct=ct)


def taught_organs(cases: Sequence[LabelledCase]) -> dict[str, tuple[str, ...]]:
    """Return by correction the organs it taught, as events of candidates say it."""
    return {one.correction: one.organs for one in cases if one.correction}


def taught_from_pictures(cases: Sequence[LabelledCase]) -> dict[str, tuple[str, ...]] | None:
    """Return by correction the organs that were accepted from pictures; None where none was."""
    found: dict[str, tuple[str, ...]] = {}
    for one in cases:
        organs = tuple(organ for organ in one.organs if organ in one.from_pictures)
        if one.correction and organs:
            found[one.correction] = organs
    return found or None
