"""What the next night would learn, and what it leaves out and why: read, not run, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from flows.progress import Progress, silent
from flows.tuning.believed_labels import NEVER_SHOWN, Sifted, believed, on_grid, only, sift
from flows.tuning.plan import TuningRun, known, plan
from models.errors import StorageFailed
from models.tuning.document import RefusedLabel
from models.tuning.settings import TuningSettings
from models.uids import SeriesUid
from services.cases.store import CaseStore
from services.cases.tuning_evidence import LabelledCase
from services.wiring import Services


class Night(StrEnum):
    """What the next night would do."""

    TUNES = "tunes"
    NOTHING_TO_LEARN = "nothing-to-learn"
    """No organ has enough new corrections, or the labels of every one are refused."""
    LEARNT_ALREADY = "learnt-already"
    """A release has learnt just this, and waits for the gate or a person, or was decided against."""
    NO_BETTER = "no-better"
    """Just this was tried and no head was better; further corrections are another run."""


@dataclass(frozen=True)
class OrganTonight:
    """One organ.

    Parameters
    ----------
    organ
        Key in the catalogue.
    learns
        Whether its head would be tuned.
    code, detail
        Why it would not; empty where it would.
    studies, patients
        Corrected studies it would learn from, and whose they are; 0 where it would not.
    """

    organ: str
    learns: bool
    code: str
    detail: str
    studies: int
    patients: int


@dataclass(frozen=True)
class CaseTonight:
    """One case that would be learnt from.

    Parameters
    ----------
    case
        Its name in the case store.
    correction, series_uid
        Where its label comes from; None for a case added otherwise.
    organs
        Organs whose label there would be learnt from.
    replayed
        Whether it is an older one.
    """

    case: str
    correction: str | None
    series_uid: SeriesUid | None
    organs: tuple[str, ...]
    replayed: bool


@dataclass(frozen=True)
class RefusedTonight:
    """One label that nothing would be learnt from, and the name of the correction that it came by."""

    organ: str
    case: str
    correction: str | None
    code: str
    detail: str


@dataclass(frozen=True)
class Tonight:
    """The document of the `tonight` verb.

    Parameters
    ----------
    night
        What would be done.
    incumbent
        Release whose heads would be tuned.
    release
        The one that has learnt just this; None if none has.
    organs
        Every organ of the incumbent, in the contract's order.
    cases
        The corrected ones in order of arrival, then the older ones that would be replayed.
    older
        How many older cases there are.
    replayed_at_most
        How many of them would be replayed; if there are more, the incumbent's uncertainty chooses on the
        night, and none is listed in `cases`.
    refused
        Labels that are not believed.
    calibrated_on
        Cases with independent truth that tuned organs would be calibrated on.
    """

    night: Night
    incumbent: int
    release: int | None
    organs: tuple[OrganTonight, ...]
    cases: tuple[CaseTonight, ...]
    older: int
    replayed_at_most: int
    refused: tuple[RefusedTonight, ...]
    calibrated_on: int


def tonight(services: Services, settings: TuningSettings, progress: Progress = silent) -> Tonight:
    """Return what a run of tuning would learn from what is on record now.

    Labels are read and judged as `tune` does, about a second a case; nothing is fitted, asked or written.

    Parameters
    ----------
    services
        What to read.
    settings
        How the night tunes.
    progress
        Told each case.

    Raises
    ------
    InvalidRelease
        If there is no incumbent, or it cannot be read.
    StorageFailed
        If records or a case cannot be read.
    """
    run = plan(services, None, settings)
    sifted = sift(services.cases, run, progress)
    older, refused = _older(services.cases, run, sifted, progress)
    left_out = dict(sifted.left_out)
    shown = _shown(services.cases, sifted.corrected + older)
    left_out |= {organ: NEVER_SHOWN for organ in sifted.organs if organ not in shown}
    organs = tuple(organ for organ in sifted.organs if organ in shown)
    corrected = only(sifted.corrected, organs)
    listed = only(older, organs) if len(older) <= run.evidence.budget else ()
    before = known(run, services.records, services.releases)
    night = Night.TUNES if organs else Night.NOTHING_TO_LEARN
    if organs and before is not None:
        night = Night.NO_BETTER if before.release is None else Night.LEARNT_ALREADY
    by_case = {one.case.case_id: one.correction for one in run.evidence.corrected + run.evidence.older}
    return Tonight(
        night=night,
        incumbent=run.parent.number,
        release=before.release if before else None,
        organs=tuple(_organ(organ, corrected, left_out) for organ in run.parent.contract.organs),
        cases=(*(_case(one, False) for one in corrected), *(_case(one, True) for one in listed)),
        older=len(older),
        replayed_at_most=min(len(older), run.evidence.budget),
        refused=tuple(
            RefusedTonight(one.organ, one.case, by_case.get(one.case), one.code, one.detail)
            for one in (*sifted.refused, *refused)
        ),
        calibrated_on=len(run.calibration_cases),
    )


def _older(
    cases: CaseStore, run: TuningRun, sifted: Sifted, progress: Progress
) -> tuple[tuple[LabelledCase, ...], tuple[RefusedLabel, ...]]:
    """Return the older cases there are to replay; judged where all of them would be."""
    older, refused = on_grid(cases, only(run.evidence.older, sifted.organs), run.parent)
    if len(older) <= run.evidence.budget:
        older, doubted = believed(cases, older, progress)
        older, refused = only(older, sifted.organs), refused + doubted
    return older, refused


def _shown(store: CaseStore, cases: Sequence[LabelledCase]) -> set[str]:
    """Return the organs that any label shows, where it counts."""
    shown: set[str] = set()
    for one in cases:
        if set(one.organs) <= shown:
            continue
        try:
            labels = store.read(one.case).labels
        except StorageFailed:
            if store.is_whole(one.case):
                raise
            continue  # an older one that the night may not even choose
        shown |= {
            organ
            for organ in one.organs
            if organ in labels and bool(labels[organ].weight[labels[organ].inside.dense()].any())
        }
    return shown


def _organ(organ: str, corrected: Sequence[LabelledCase], left_out: dict[str, str]) -> OrganTonight:
    code, _, detail = left_out.get(organ, "").partition(": ")
    cases = [] if code else [one.case for one in corrected if organ in one.organs]
    patients = len({case.patient for case in cases})
    return OrganTonight(organ, not code, code, detail, len(cases), patients)


def _case(one: LabelledCase, replayed: bool) -> CaseTonight:
    return CaseTonight(one.case.case_id, one.correction, one.series_uid, one.organs, replayed)
