"""What a run of tuning learns from, read: labels in doubt refused, older cases chosen, features found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from flows.serving import Progress
from flows.tuning_plan import TuningRun
from models.errors import Refused, StorageFailed
from models.label_doubts import LabelDoubt, label_doubt
from models.network.samples import TuningStudy
from models.relations import filled_body
from models.release import Release
from models.resampling import resample
from models.segmentation import Segmentation
from services.cases.evidence import LabelledCase
from services.cases.features import FeatureStore
from services.cases.replayed import choose_replayed, looked_at
from services.cases.store import CaseContent
from services.cases.training_runs import FEATURES, tuning_folder
from services.cases.tuning_study import read_tuning_study
from services.inference.engine import OpenVinoEngine
from services.wiring import Services

CASE_DAMAGED = "case-damaged"
"""Why a label teaches nothing: a file of its case is not what was kept."""

NEVER_SHOWN = "never-shown: every label says that it is not there, and none shows what it is"
"""Why an organ is left as it is: its head would learn to find it nowhere."""


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
        Labels that nothing is learnt from: ``[{organ, case, code, detail}]``.
    """

    organs: tuple[str, ...]
    left_out: dict[str, str]
    corrected: tuple[LabelledCase, ...]
    replayed: tuple[LabelledCase, ...]
    studies: tuple[TuningStudy, ...]
    refused: tuple[dict[str, Any], ...]

    @property
    def cases(self) -> tuple[LabelledCase, ...]:
        """Every case learnt from, in the order of `studies`."""
        return self.corrected + self.replayed

    @property
    def corrections(self) -> tuple[str, ...]:
        """Names of the corrections learnt from."""
        return tuple(sorted({one.correction for one in self.cases if one.correction}))


def lessons_of(services: Services, run: TuningRun, progress: Progress) -> Lessons:
    """Read what is to be learnt from, and refuse what cannot be meant or is damaged.

    Raises
    ------
    StorageFailed
        If a case cannot be read.
    """
    evidence = run.evidence
    corrected, refused = on_grid(services, evidence.corrected, run.parent)
    corrected, doubted = believed(services, corrected)
    refused += doubted
    left_out = dict(evidence.left_out)
    for organ in {one["organ"]: None for one in refused}:
        gone = {one["case"] for one in refused if one["organ"] == organ}
        why = evidence.too_little_without(organ, gone)
        if why is not None:
            codes = sorted({one["code"] for one in refused if one["organ"] == organ})
            left_out[organ] = f"{why}; labels refused: {', '.join(codes)}"
    organs = tuple(organ for organ in evidence.organs if organ not in left_out)
    corrected = _only(corrected, organs)
    older, off_grid = on_grid(services, _only(evidence.older, organs), run.parent)
    if len(older) > evidence.budget:
        progress(f"choosing {evidence.budget} of {len(older)} older studies to replay")
    older, also = believed(
        services, looked_at(older, evidence.budget, organs)
    )  # also what was refused when new
    parent = run.parent
    replayed = choose_replayed(
        services.cases,
        _only(older, organs),
        evidence.budget,
        organs,
        parent.contract,
        _Incumbent(services, parent).ask,
        services.settings.home / "tuning" / f"importance-{parent.digest[:24]}.json",
    )
    refused += off_grid + also
    learnt_from = [(one.case.patient, one.series_uid) for one in corrected + replayed if one.series_uid]
    features = FeatureStore(services.cases).held(
        learnt_from, tuning_folder(services.settings.home, run.key) / FEATURES
    )
    # A case may be in both: an organ of it was learnt before, another is new.
    studies = [read_tuning_study(services.cases, one, parent, features) for one in corrected]
    studies += [read_tuning_study(services.cases, one, parent, features, True) for one in replayed]
    shown = {organ for study in studies for organ, truth in study.truth.items() if truth.any()}
    left_out |= {organ: NEVER_SHOWN for organ in organs if organ not in shown}
    organs = tuple(organ for organ in organs if organ in shown)
    learnt = [
        _of_organs(study, organs)
        for one, study in zip(corrected + replayed, studies, strict=True)
        if _only([one], organs)
    ]
    return Lessons(
        organs, left_out, _only(corrected, organs), _only(replayed, organs), tuple(learnt), refused
    )


def _of_organs(study: TuningStudy, organs: Sequence[str]) -> TuningStudy:
    return replace(study, truth={organ: truth for organ, truth in study.truth.items() if organ in organs})


class _Incumbent:
    """The incumbent in this process, compiled when it is first asked."""

    def __init__(self, services: Services, release: Release) -> None:
        self._services, self._release = services, release
        self._engine: OpenVinoEngine | None = None

    def ask(self, content: CaseContent) -> Segmentation:
        """Return its answer for a case."""
        if self._engine is None:
            store, release = self._services.releases, self._release
            exports = {organ: store.export(digest) for organ, digest in release.heads.items()}
            threads = self._services.settings.threads
            self._engine = OpenVinoEngine(release, store.export(release.trunk), exports, threads)
        return self._engine.segment(np.ascontiguousarray(content.volume.hu, dtype=np.int16))


def on_grid(
    services: Services, labelled: Sequence[LabelledCase], release: Release
) -> tuple[tuple[LabelledCase, ...], tuple[dict[str, Any], ...]]:
    """Take the cases out that were kept for a release of another model grid.

    Returns
    -------
    cases, refused
        The others, and ``[{organ, case, code, detail}]`` of these, with the code `other-grid`.
    """
    kept, refused = [], []
    grid = release.contract.spacing_mm
    for one in labelled:
        other = services.cases.other_spacing(one.case, grid)
        if other is None:
            kept.append(one)
            continue
        detail = f"kept at {_millimetres(other)}, where the incumbent's model grid is {_millimetres(grid)}"
        refused += [
            {"organ": organ, "case": one.case.case_id, "code": "other-grid", "detail": detail}
            for organ in one.organs
        ]
    return tuple(kept), tuple(refused)


def _millimetres(spacing: Sequence[float]) -> str:
    return " x ".join(f"{side:g}" for side in spacing) + " mm"


def believed(
    services: Services, labelled: Sequence[LabelledCase]
) -> tuple[tuple[LabelledCase, ...], tuple[dict[str, Any], ...]]:
    """Take the organs out whose label cannot be what a reader meant, and those of a case that is damaged.

    One without a label teaches nothing.

    Returns
    -------
    cases, refused
        Every case with the organs that are believed, and ``[{organ, case, code, detail}]`` of the others.
    """
    kept, refused = [], []
    for one in labelled:
        doubts = _doubts(services, one)
        refused += [
            {"organ": organ, "case": one.case.case_id, "code": doubt.code, "detail": doubt.detail}
            for organ, doubt in doubts.items()
        ]
        kept.append(replace(one, organs=tuple(organ for organ in one.organs if organ not in doubts)))
    return tuple(kept), tuple(refused)


def _doubts(services: Services, one: LabelledCase) -> dict[str, LabelDoubt]:
    """Return why organs of a case teach nothing: a case that cannot be used stops none of the others.

    Raises
    ------
    StorageFailed
        If the disk does not give what is there: that says nothing of the case.
    """
    try:
        content = services.cases.read(one.case)
    except StorageFailed:
        if services.cases.is_whole(one.case):
            raise
        detail = "its files are not what was kept: add it, or ingest its correction, again"
        return dict.fromkeys(one.organs, LabelDoubt(CASE_DAMAGED, detail))
    try:
        body = filled_body(content.volume.hu).astype(np.float32)
    except Refused as refusal:
        return dict.fromkeys(one.organs, LabelDoubt(refusal.code, refusal.detail))
    outside = resample(body, content.volume.geometry, content.ct, outside=0.0) < 0.5
    found = {
        organ: label_doubt(organ, content.labels[organ], content.ct, outside)
        for organ in one.organs
        if organ in content.labels
    }
    return {organ: doubt for organ, doubt in found.items() if doubt is not None}


def taught_organs(cases: Sequence[LabelledCase]) -> dict[str, list[str]]:
    """Return by correction the organs it taught, as events of candidates say it."""
    return {one.correction: list(one.organs) for one in cases if one.correction}


def _only(cases: Sequence[LabelledCase], organs: Sequence[str]) -> tuple[LabelledCase, ...]:
    kept = (replace(one, organs=tuple(organ for organ in one.organs if organ in organs)) for one in cases)
    return tuple(one for one in kept if one.organs)
