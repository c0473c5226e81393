"""The canary: one fixed study that a candidate must answer sanely before it may serve.

It proves the loaded release, on the server that will serve it: right shape, finite, untouched organs bit
for bit the incumbent's, no organ lost. How good the release is, the gate has decided.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.inference.segmentation import Segmentation
from models.phantom.case import SPACING_MM, make_case
from models.release import Release
from models.resampling import to_model_grid

CANARY_CASE = ("A", 900_101)
"""Phantom (site, seed) of the canary; used for nothing else."""

SOFT_TISSUE_HU = 40

Faults = dict[str, tuple[str, ...]]
"""Organs by fault: `wrong-shape`, `not-a-probability`, `untouched-output-changed`, `organ-lost`."""


def canary_volume(contract: ModelContract) -> NDArray[np.int16]:
    """Return the canary on the model grid, Hounsfield units, axes (k, j, i)."""
    least, most = SPACING_MM
    k, j, i = (min(max(side, least), most) for side in contract.spacing_mm)
    volume = make_case(*CANARY_CASE, spacing_mm=(k, j, i)).volume
    if (k, j, i) != contract.spacing_mm:
        volume = to_model_grid(volume, contract.spacing_mm, contract.antialias)
    return volume.hu.astype(np.int16, copy=False)


def probe_volume(contract: ModelContract) -> NDArray[np.int16]:
    """Return one window of soft tissue, axes (k, j, i): the least that only a living release answers."""
    return np.full(contract.window_shape, SOFT_TISSUE_HU, dtype=np.int16)


def answer_faults(release: Release, answer: Segmentation, shape: tuple[int, ...]) -> Faults:
    """Return what is wrong with an answer by itself.

    Parameters
    ----------
    release
        The release that was asked.
    answer
        What it answered.
    shape
        Of the volume asked about, (k, j, i).

    Raises
    ------
    InvalidRelease
        If another release answered.
    """
    answer.require(release)
    organs = release.contract.organs
    if answer.probability.shape != (len(organs), *shape):
        return {"wrong-shape": organs}
    # A comparison with NaN is false: what is not finite is no probability.
    bad = [o for o, p in zip(organs, answer.probability, strict=True) if not ((p >= 0) & (p <= 1)).all()]
    return {"not-a-probability": tuple(bad)} if bad else {}


def canary_faults(
    incumbent: Release, candidate: Release, before: Segmentation, after: Segmentation
) -> Faults:
    """Return what is wrong with a candidate's answer beside the incumbent's to the same volume.

    Parameters
    ----------
    incumbent, candidate
        Two releases of one contract; the candidate may have further organs, of which only `answer_faults`
        says anything here.
    before, after
        What either answered.

    Raises
    ------
    InvalidRelease
        If another release answered in place of either.
    """
    before.require(incumbent)
    faults = answer_faults(candidate, after, before.probability.shape[1:])
    if faults:
        return faults
    changed, lost = [], []
    for index, organ in enumerate(incumbent.contract.organs):
        if candidate.trunk == incumbent.trunk and candidate.heads[organ] == incumbent.heads[organ]:
            same = _bits(before, index) == _bits(after, index)
            changed += [] if same else [organ]
        elif _found(incumbent, before, index) and not _found(candidate, after, index):
            lost.append(organ)
    named = {"untouched-output-changed": tuple(changed), "organ-lost": tuple(lost)}
    return {fault: organs for fault, organs in named.items() if organs}


def _bits(answer: Segmentation, index: int) -> tuple[bytes, ...]:
    members = answer.member_disagreement.get(index)
    fields = (answer.probability[index], answer.disagreement[index], *(() if members is None else (members,)))
    return tuple(field.tobytes() for field in fields)


def _found(release: Release, answer: Segmentation, index: int) -> bool:
    threshold = release.contract.thresholds[release.contract.organs[index]]
    return bool((answer.probability[index] >= threshold).any())
