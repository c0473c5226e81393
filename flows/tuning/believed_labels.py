"""Which labels a run of tuning believes: those of cases that can be used, and that can be meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from flows.progress import Progress, silent
from flows.tuning.plan import TuningRun
from models.body import filled_body
from models.corrections.label_doubts import LabelDoubt, label_doubt
from models.errors import Refused, StorageFailed
from models.release import Release
from models.resampling import resample
from models.tuning.document import RefusedLabel
from services.cases.store import CaseStore
from services.cases.tuning_evidence import LabelledCase

CASE_DAMAGED = "case-damaged"
"""Why a label teaches nothing: a file of its case is not what was kept."""

NEVER_SHOWN = "never-shown: every label says that it is not there, and none shows what it is"
"""Why an organ is left as it is: its head would learn to find it nowhere."""


@dataclass(frozen=True)
class Sifted:
    """What is left of new evidence without the labels that are refused.

    Parameters
    ----------
    organs
        Those that still have enough.
    left_out
        By organ, why its head is left as it is.
    corrected
        Cases with the organs there that are believed and still have enough.
    refused
        Labels that nothing is learnt from.
    """

    organs: tuple[str, ...]
    left_out: Mapping[str, str]
    corrected: tuple[LabelledCase, ...]
    refused: tuple[RefusedLabel, ...]


def sift(cases: CaseStore, run: TuningRun, progress: Progress = silent) -> Sifted:
    """Read the corrected cases of a run, and refuse what cannot be meant or is damaged; nothing is written.

    Raises
    ------
    StorageFailed
        If the disk does not give a case.
    """
    evidence = run.evidence
    corrected, refused = on_grid(cases, evidence.corrected, run.parent)
    corrected, doubted = believed(cases, corrected, progress)
    refused += doubted
    left_out = dict(evidence.left_out)
    for organ in {one.organ: None for one in refused}:
        gone = {one.case for one in refused if one.organ == organ}
        why = evidence.too_little_without(organ, gone)
        if why is not None:
            codes = sorted({one.code for one in refused if one.organ == organ})
            left_out[organ] = f"{why}; labels refused: {', '.join(codes)}"
    organs = tuple(organ for organ in evidence.organs if organ not in left_out)
    return Sifted(organs, left_out, only(corrected, organs), refused)


def on_grid(
    cases: CaseStore, labelled: Sequence[LabelledCase], release: Release
) -> tuple[tuple[LabelledCase, ...], tuple[RefusedLabel, ...]]:
    """Take the cases out that were kept for a release that is asked on another grid.

    Returns
    -------
    cases, refused
        The others, and the labels of these, with the code `other-grid`.
    """
    kept, refused = [], []
    contract = release.contract
    asked = f"model grid is {_millimetres(contract.spacing_mm)}" if contract.recipe is None else "is the CT's"
    for one in labelled:
        other = cases.other_grid(one.case, contract)
        if other is None:
            kept.append(one)
            continue
        detail = f"kept at {_millimetres(other.spacing_mm)}, where the incumbent's {asked}"
        refused += [RefusedLabel(organ, one.case.case_id, "other-grid", detail) for organ in one.organs]
    return tuple(kept), tuple(refused)


def _millimetres(spacing: Sequence[float]) -> str:
    return " x ".join(f"{side:g}" for side in spacing) + " mm"


def believed(
    cases: CaseStore, labelled: Sequence[LabelledCase], progress: Progress = silent
) -> tuple[tuple[LabelledCase, ...], tuple[RefusedLabel, ...]]:
    """Take the organs out whose label cannot be what a reader meant, and those of a case that is damaged.

    One without a label teaches nothing.

    Returns
    -------
    cases, refused
        Every case with the organs that are believed, and the labels of the others.
    """
    kept, refused = [], []
    for number, one in enumerate(labelled, 1):
        progress(f"reading case {number} of {len(labelled)}")
        doubts = _doubts(cases, one)
        refused += [
            RefusedLabel(organ, one.case.case_id, doubt.code, doubt.detail) for organ, doubt in doubts.items()
        ]
        kept.append(replace(one, organs=tuple(organ for organ in one.organs if organ not in doubts)))
    return tuple(kept), tuple(refused)


def _doubts(cases: CaseStore, one: LabelledCase) -> dict[str, LabelDoubt]:
    """Return why organs of a case teach nothing: a case that cannot be used stops none of the others.

    Raises
    ------
    StorageFailed
        If the disk does not give what is there: that says nothing of the case.
    """
    try:
        content = cases.read(one.case)
    except StorageFailed:
        if cases.is_whole(one.case):
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


def only(cases: Sequence[LabelledCase], organs: Sequence[str]) -> tuple[LabelledCase, ...]:
    """Return the cases that have any of these organs, with no others."""
    kept = (replace(one, organs=tuple(organ for organ in one.organs if organ in organs)) for one in cases)
    return tuple(one for one in kept if one.organs)
