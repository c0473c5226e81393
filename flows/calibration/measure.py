"""Measure how far a release's own Dice estimate may be trusted, as it serves, on cases with known truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.body import filled_body
from models.bounds.acquisition_facts import acquisition_facts, strange_facts
from models.bounds.band import missed
from models.bounds.domain import is_out_of_domain, study_feature
from models.bounds.fit import OrganCase, StudyCase, fit_calibration, fit_organs
from models.bounds.reliability import count_voxels
from models.bounds.uncertainty import entropy_near, member_agreement
from models.calibration import Calibration, OrganCalibration
from models.contract import ModelContract
from models.errors import Refused
from models.geometry import Geometry
from models.inference.question import (
    answered_volume,
    asked_grid,
    asked_volume,
    is_asked_grid,
    told_grid,
)
from models.inference.segmentation import Segmentation
from models.masks import BoxedMask
from models.metrics.dsc import dsc
from models.release import Release
from models.resampling import patch_on_ct, resample
from models.targets import FROM_THE_CATALOGUE, Targets
from models.volume import Volume
from services.cases.store import CaseContent

Truth = Mapping[str, BoxedMask]
"""By organ key a mask on the CT grid."""


class Engine(Protocol):
    """What answers the calibration cases: the release in its serving profile."""

    profile: str

    def segment(
        self,
        hu: NDArray[np.int16] | NDArray[np.float32],
        sampled: bool = False,
        ct: Geometry | None = None,
    ) -> Segmentation:
        """Segment a volume; as `services.inference.port.Segmenter`."""
        ...


def calibrate(
    release: Release,
    engine: Engine,
    cases: Iterable[tuple[Volume, Truth]],
    progress: Callable[[int], None] = lambda _: None,
    targets: Targets = FROM_THE_CATALOGUE,
) -> Calibration:
    """Calibrate a release on cases it has learnt nothing from.

    Parameters
    ----------
    release
        Contract and thresholds.
    engine
        The release as it serves.
    cases
        CT volumes with independent truth, one study of one patient each.
    progress
        Told the number of cases done.
    targets
        What the site has established.

    Returns
    -------
    Calibration
        An organ found in too few cases is left out: no bound will be claimed for it.

    Raises
    ------
    ValueError
        If there are too few cases to know where they lie (`models.bounds.domain.FEWEST_STUDIES`).
    """
    contract = release.contract
    questions = ((asked_volume(volume, contract), volume.geometry, truth) for volume, truth in cases)
    measured = list(_measured(release, engine, questions, progress))
    return fitted(release, engine.profile, measured, targets)


def calibrate_kept(
    release: Release,
    engine: Engine,
    cases: Iterable[CaseContent],
    progress: Callable[[int], None] = lambda _: None,
    targets: Targets = FROM_THE_CATALOGUE,
) -> Calibration:
    """Calibrate a release on kept cases; as `calibrate`.

    Raises
    ------
    Refused
        `other-grid` if a case was kept for another contract.
    ValueError
        If there are too few cases.
    """
    return fitted(release, engine.profile, measure_kept(release, engine, cases, progress), targets)


def measure_kept(
    release: Release,
    engine: Engine,
    cases: Iterable[CaseContent],
    progress: Callable[[int], None] = lambda _: None,
) -> list[StudyCase]:
    """Measure a release on kept cases; as `calibrate_kept`, which fits what is measured."""
    return list(_measured(release, engine, _kept(cases, release.contract), progress))


def fitted(release: Release, profile: str, measured: Sequence[StudyCase], targets: Targets) -> Calibration:
    """Return what may be claimed of a release in a profile by measured cases; raises as `calibrate_kept`."""
    contract = release.contract
    return fit_calibration(profile, measured, contract.thresholds, targets.dsc_targets(contract))


def calibrate_organs(
    release: Release,
    engine: Engine,
    organs: Collection[str],
    cases: Iterable[CaseContent],
    within: Calibration | None = None,
    targets: Targets = FROM_THE_CATALOGUE,
) -> dict[str, OrganCalibration]:
    """Calibrate some organs of a release on kept cases it has learnt nothing from.

    Parameters
    ----------
    release
        Contract and thresholds.
    engine
        The release as it serves.
    organs
        Whose heads are new.
    cases
        With independent truth, one study of one patient each.
    within
        Calibration that is kept for the other organs: a case out of its domain does not count, for a
        study like it would get no bound.
    targets
        What the site has established.

    Returns
    -------
    dict
        By organ; one found in too few cases is left out.

    Raises
    ------
    Refused
        `other-grid` if a case was kept for another contract.
    """
    kept = _kept(cases, release.contract, organs)
    thresholds = {organ: release.contract.thresholds[organ] for organ in organs}
    measured = [
        case
        for case in _measured(release, engine, kept, lambda _: None)
        if within is None or not _outside(case, within)
    ]
    return fit_organs(
        measured, thresholds, targets.dsc_targets(release.contract), len(release.contract.organs)
    )


def _outside(case: StudyCase, calibration: Calibration) -> bool:
    strange = calibration.facts is not None and strange_facts(case.facts, calibration.facts)
    return bool(strange) or is_out_of_domain(case.feature, calibration.domain)


def study_case(
    answer: Segmentation, asked: Volume, ct: Geometry, truth: Truth, contract: ModelContract
) -> StudyCase:
    """Measure one answered case against its truth.

    Parameters
    ----------
    answer
        What was answered.
    asked
        What was asked about.
    ct
        The CT grid.
    truth
        Organs that are not named have no truth here.
    contract
        Organs and thresholds.
    """
    model = answered_volume(asked, answer)
    served = {
        organ: answer.inside(channel, contract.thresholds[organ])
        for channel, organ in enumerate(contract.organs)
    }
    organs = {}
    for channel, (probability, organ) in enumerate(zip(answer.probability, contract.organs, strict=True)):
        if organ not in truth:
            continue
        patch, box = patch_on_ct(probability, model.geometry, ct)
        mask, drawn = np.zeros(ct.shape, dtype=bool), truth[organ].dense()
        if answer.drawn is not None:
            mask = answer.drawn.on_ct[channel].dense()
        else:
            mask[box] = patch >= contract.thresholds[organ]
        near = drawn[box]
        elsewhere = truth[organ].voxels - int(np.count_nonzero(near))
        fraction = resample(drawn, ct, model.geometry, outside=0.0)
        organs[organ] = OrganCase(
            counts=count_voxels(probability, fraction),
            dsc=dsc(mask, drawn),
            missed=missed(patch, near, elsewhere),
            agreement=member_agreement(probability, answer.member_disagreement.get(channel)),
            entropy=entropy_near(probability, served[organ]),
        )
    facts = acquisition_facts(model, ct, filled_body(model.hu), served)
    return StudyCase(organs, study_feature(answer.global_feature), facts)


def _measured(
    release: Release,
    engine: Engine,
    cases: Iterable[tuple[Volume, Geometry, Truth]],
    progress: Callable[[int], None],
) -> Iterator[StudyCase]:
    for done, (asked, ct, truth) in enumerate(cases, 1):
        answer = engine.segment(asked.hu, ct=told_grid(asked, release.contract))
        yield study_case(answer, asked, ct, truth, release.contract)
        progress(done)


def _kept(
    cases: Iterable[CaseContent], contract: ModelContract, organs: Collection[str] | None = None
) -> Iterator[tuple[Volume, Geometry, Truth]]:
    """Yield volume, CT grid and truth of kept cases, checked to lie on the contract's grid."""
    for content in cases:
        expected, found = asked_grid(content.ct, contract), content.volume.geometry
        if not is_asked_grid(found, content.ct, contract):
            raise Refused(
                "other-grid",
                "a calibration case was kept on another grid than the release's; add it again",
                {"expected": list(expected.shape), "found": list(found.shape)},
            )
        yield (
            content.volume,
            content.ct,
            {
                organ: label.inside
                for organ, label in content.labels.items()
                if organ in (contract.organs if organs is None else organs) and label.weight.any()
            },
        )
