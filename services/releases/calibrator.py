"""Measure how far a release's own Dice estimate may be trusted, as it serves, on cases with known truth."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.calibration import Calibration, OrganCalibration
from models.conformal import fit_calibration, fit_organ
from models.domain import study_feature
from models.dsc import dsc
from models.release import Release
from models.resampling import to_model_grid
from models.segmentation import Segmentation
from models.study import organ_result
from models.volume import Volume
from services.cases.store import CaseContent

Truth = Mapping[str, NDArray[np.bool_]]
"""By organ key a bool mask on the CT grid, axes (k, j, i)."""


class Engine(Protocol):
    """What answers the calibration cases: the release in its serving profile."""

    profile: str

    def segment(self, hu: NDArray[np.int16]) -> Segmentation:
        """Segment a volume on the model grid."""
        ...


def calibrate(
    release: Release,
    engine: Engine,
    cases: Iterable[tuple[Volume, Truth]],
    progress: Callable[[int], None] = lambda _: None,
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

    Returns
    -------
    Calibration
        An organ found in too few cases is left out: no bound will be claimed for it.
    """
    scores: dict[str, tuple[list[float], list[float]]] = {o: ([], []) for o in release.contract.organs}
    features = []
    for done, (volume, truth) in enumerate(cases, 1):
        model = to_model_grid(volume, release.contract.spacing_mm)
        answer = engine.segment(model.hu.astype(np.int16, copy=False))
        features.append(study_feature(answer.global_feature))
        for probability, organ in zip(answer.probability, release.contract.organs, strict=True):
            found = organ_result(
                probability, release.contract.thresholds[organ], model.geometry, volume.geometry
            )
            score = dsc(found.mask, truth[organ])
            if found.sdc is not None and score is not None:
                scores[organ][0].append(found.sdc)
                scores[organ][1].append(score)
        progress(done)
    return fit_calibration(engine.profile, scores, np.stack(features))


def calibrate_organs(
    release: Release, engine: Engine, organs: Collection[str], cases: Iterable[CaseContent]
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

    Returns
    -------
    dict
        By organ; one found in too few cases is left out.
    """
    scores: dict[str, tuple[list[float], list[float]]] = {organ: ([], []) for organ in organs}
    for content in cases:
        answer = engine.segment(content.volume.hu.astype(np.int16, copy=False))
        for organ in scores.keys() & content.labels.keys():
            label = content.labels[organ]
            found = organ_result(
                answer.probability[release.contract.organs.index(organ)],
                release.contract.thresholds[organ],
                content.volume.geometry,
                content.ct,
            )
            score = dsc(found.mask, label.inside)
            if label.weight.any() and found.sdc is not None and score is not None:
                scores[organ][0].append(found.sdc)
                scores[organ][1].append(score)
    fitted = {organ: fit_organ(sdc, measured) for organ, (sdc, measured) in scores.items()}
    return {organ: one for organ, one in fitted.items() if one is not None}
