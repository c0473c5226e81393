"""Plain facts of an acquisition, and whether they are like those of the calibration studies.

They see what a network's features may pass over: other slices, a body wider than the field of view,
metal, another contrast phase. Each is measured on the CT itself, not read out of its header, so that a
wrong or missing header changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.bounds.domain import FEWEST_STUDIES, MARGIN, farthest_usual
from models.calibration import FactsReference
from models.geometry import Geometry
from models.resampling import AIR_HU
from models.volume import Volume

METAL_HU = 1500
"""Above this on the model grid is metal: no bone of an adult is that dense there."""

TISSUE_HU = (-20, 300)
"""Soft tissue with and without contrast medium."""


class Fact(NamedTuple):
    """One fact.

    Parameters
    ----------
    name
        Key, with its unit.
    words
        What a reader is told.
    step
        A difference this small says nothing, whatever the calibration studies' own spread.
    """

    name: str
    words: str
    step: float


FACTS: tuple[Fact, ...] = (
    Fact("slice_mm", "slice thickness", 0.5),
    Fact("pixel_mm", "pixel size", 0.1),
    Fact("length_mm", "length of the scan", 20.0),
    Fact("body_cm2", "size of the body", 40.0),
    Fact("edge_share", "body beyond the field of view", 0.01),
    Fact("noise_hu", "noise", 1.0),
    Fact("liver_hu", "enhancement of the liver", 5.0),
    Fact("aorta_hu", "enhancement of the aorta", 10.0),
    Fact("metal_ml", "metal", 0.5),
)


def acquisition_facts(
    model: Volume, ct: Geometry, body: NDArray[np.bool_], masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, float]:
    """Measure one study.

    Parameters
    ----------
    model
        Hounsfield units on the model grid, int16, axes (k, j, i).
    ct
        The CT grid.
    body
        `models.body.filled_body` on the model grid.
    masks
        By organ the voxels served as such, same axes.

    Returns
    -------
    dict
        By name of `FACTS`: millimetres, square centimetres, Hounsfield units, millilitres, and the
        share (0..1) of the edge of the scanned field that the body covers. Of an organ that was not
        found there is no fact.
    """
    hu = model.hu
    tissue = body & (hu > TISSUE_HU[0]) & (hu < TISSUE_HU[1])
    beside = tissue[:, :, 1:] & tissue[:, :, :-1]
    steps = np.abs(np.diff(hu.astype(np.int32), axis=2)[beside])
    _, j_mm, i_mm = model.geometry.spacing_mm
    scanned = (hu > AIR_HU).any(axis=0)
    edge = scanned & ~ndimage.binary_erosion(scanned, iterations=2)
    enhanced = {
        f"{organ}_hu": float(np.median(hu[masks[organ]]))
        for organ in ("liver", "aorta")
        if organ in masks and masks[organ].any()
    }
    return {
        "slice_mm": float(ct.spacing_mm[0]),
        "pixel_mm": float(np.mean(ct.spacing_mm[1:])),
        "length_mm": float(ct.spacing_mm[0] * ct.shape[0]),
        "body_cm2": float(np.median(body.sum(axis=(1, 2))) * j_mm * i_mm / 100),
        "edge_share": float(body[:, edge].mean()) if edge.any() else 0.0,
        "noise_hu": float(np.median(steps) / 0.9539) if steps.size else 0.0,  # median |difference| / sigma
        "metal_ml": float(np.count_nonzero(hu > METAL_HU) * model.geometry.voxel_ml),
        **enhanced,
    }


def fit_facts(studies: Sequence[Mapping[str, float]]) -> FactsReference:
    """Describe the facts of the calibration studies.

    Parameters
    ----------
    studies
        `acquisition_facts` of each, at least `FEWEST_STUDIES`.

    Returns
    -------
    FactsReference
        Its threshold is the 1 - `FALSE_ALARMS` quantile of the studies' own distances to a reference
        fitted without them, corrected for their number, times `MARGIN`.

    Raises
    ------
    ValueError
        If there are too few studies or a value is not finite.
    """
    known = [fact for fact in FACTS if sum(fact.name in study for study in studies) >= FEWEST_STUDIES]
    table = np.array([[study.get(fact.name, math.nan) for fact in known] for study in studies])
    if len(table) < FEWEST_STUDIES or np.isinf(table).any():
        raise ValueError(f"need finite facts of at least {FEWEST_STUDIES} studies, not {table.shape}")
    steps = np.array([fact.step for fact in known])
    left_out = [
        np.nanmax(_distances(row, *_range(np.delete(table, n, axis=0)), steps)) for n, row in enumerate(table)
    ]
    low, high = _range(table)
    threshold = MARGIN * max(1.0, farthest_usual(left_out))
    names = tuple(fact.name for fact in known)
    return FactsReference(names, tuple(low.tolist()), tuple(high.tolist()), threshold)


@dataclass(frozen=True)
class StrangeFact:
    """One fact of a study that is unlike the calibration studies'.

    Parameters
    ----------
    name, words
        As of `Fact`.
    value
        In this study.
    usual
        Range of the calibration studies.
    """

    name: str
    words: str
    value: float
    usual: tuple[float, float]


def strange_facts(study: Mapping[str, float], reference: FactsReference) -> tuple[StrangeFact, ...]:
    """Return the facts that lie beyond the reference's threshold; one that is not finite does."""
    strange = []
    facts = {fact.name: fact for fact in FACTS}
    for name, low, high in zip(reference.names, reference.low, reference.high, strict=True):
        if name not in study:
            continue
        ends = np.array([low]), np.array([high])
        far = _distances(np.array([study[name]]), *ends, np.array([facts[name].step]))[0]
        if not far <= reference.threshold:
            strange.append(StrangeFact(name, facts[name].words, study[name], (low, high)))
    return tuple(strange)


def _range(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.nanmin(table, axis=0), np.nanmax(table, axis=0)


def _distances(
    row: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    steps: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return by fact the distance from the middle of its range, 1 at either end."""
    distances: NDArray[np.float64] = np.abs(row - (low + high) / 2) / np.maximum((high - low) / 2, steps)
    return distances
