"""Results that were made while the site was silent, each compared with the label that the site gave.

What is compared are the masks as they are written in the kept SEG, on the CT's grid: whatever release made
them, with whatever preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flows.progress import Progress, silent
from models.corrections.ledger import INDEPENDENT
from models.errors import ReadFailed, Refused, StorageFailed
from models.gate.silent_results import (
    NotCompared,
    OrganAgreement,
    SilentResults,
    StudyAgreement,
    organ_agreement,
    summed,
)
from models.masks import BoxedMask
from services.cases.store import CaseContent, CaseStore
from services.dicom.ct.placed import PlacedSeries
from services.dicom.results.organ_seg import KIND as ORGAN_SEG
from services.dicom.seg.reader import read_seg
from services.pacs.unsent import SLICES, UnsentResults, kept_file
from services.records.entries.cases import Case, Purpose
from services.records.events.results import ResultKept
from services.records.port import Records


def compared(
    records: Records, cases: CaseStore, unsent: UnsentResults, progress: Progress = silent
) -> SilentResults:
    """Compare the kept results of every case of independent truth; what cannot be compared says why.

    Parameters
    ----------
    records
        Which cases there are, and what was kept.
    cases
        Their labels.
    unsent
        The kept results.
    progress
        Told each case.
    """
    studies: list[StudyAgreement] = []
    failed: list[NotCompared] = []
    labelled = [case for purpose in Purpose for case in records.cases(purpose)]
    labelled = [case for case in labelled if case.origin == INDEPENDENT]
    for number, case in enumerate(labelled, 1):
        progress(f"results made in silence: case {number} of {len(labelled)}")
        folders = unsent.of_series(case.patient, case.case_id)
        if not folders:
            detail = "no result of it is kept that was made in silence"
            failed.append(NotCompared(case.case_id, "no-result", detail))
        for folder in folders:
            try:
                studies.append(_compared(case, folder, records, cases))
            except Refused as refused:
                failed.append(NotCompared(case.case_id, refused.code, refused.detail))
            except ReadFailed as error:
                failed.append(NotCompared(case.case_id, "result-unreadable", str(error)))
            except StorageFailed as error:
                failed.append(NotCompared(case.case_id, "result-changed", str(error)))
    return summed(studies, failed)


def _compared(case: Case, folder: Path, records: Records, cases: CaseStore) -> StudyAgreement:
    """Compare one kept result; raises `Refused` with the reason where it cannot be."""
    kept = records.last(ResultKept, key=ResultKept.key(folder.name))
    if kept is None:
        raise Refused("not-on-record", "nothing on record tells of what is kept: segment the study again")
    name = f"{ORGAN_SEG}.dcm"
    kept_file(folder, name, kept.said.files[name])
    series = PlacedSeries.from_bytes(kept_file(folder, SLICES, kept.said.files[SLICES]))
    content = cases.read(case)
    if not series.geometry.same_grid(content.ct):
        raise Refused("case-off-grid", "the labels lie on another grid than the result")
    seg = read_seg(folder / name, series)
    # Our own SEG has each organ's key as its TrackingID, which was proven when it was written.
    masks = {one.tracking_id: one.mask for one in seg.segments if one.tracking_id is not None}
    shared = [key for key in content.labels if key in masks]
    if not shared:
        raise Refused("no-common-organ", "result and labels have no organ in common")
    return StudyAgreement(
        case.case_id, kept.said.release, tuple(_agreement(key, masks, content) for key in shared)
    )


def _agreement(key: str, masks: Mapping[str, BoxedMask], content: CaseContent) -> OrganAgreement:
    return organ_agreement(key, masks[key], content.labels[key].inside, content.ct.spacing_mm)
