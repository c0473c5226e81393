"""From served probabilities to calibrated ones, organ by organ: of voxels called 0.8, 80 % are inside.

A served probability is a float16: at most 15 361 values. Counted by value, the voxels of a study fit into
one small table, from which reliability, calibration error and soft Dice confidence follow exactly.

Voxels at `NEGLIGIBLE_PROBABILITY` or below count as zero: background would hide every error near the
organ, and its many near-zeros would outweigh the organ. The mask stays what was served: calibration
changes what is said of a voxel, never on which side of the threshold it lies.

Source: Platt 1999; that segmentation networks trained on Dice are overconfident, and that calibration must
be measured near the organ: Mehrtash et al. 2020, arXiv 1911.13273.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from models.calibration import AS_SERVED, Reliability
from models.resampling import NEGLIGIBLE_PROBABILITY

VALUES = np.arange(0x3C01, dtype=np.uint16).view(np.float16).astype(np.float64)
"""Every float16 from 0 to 1, ascending."""

LOGIT_LIMIT = 10.0
"""Served logits are taken no farther from 0: beyond it float16 tells nothing apart."""

ERROR_BINS = 15
"""Bins of equal width of the expected calibration error."""

_COUNTED = VALUES > NEGLIGIBLE_PROBABILITY
_LOGITS = np.clip(
    np.log(np.clip(VALUES, 1e-8, None)) - np.log(np.clip(1 - VALUES, 1e-8, None)), -LOGIT_LIMIT, LOGIT_LIMIT
)


@dataclass(frozen=True, eq=False)
class VoxelCounts:
    """The voxels of one organ in one or more studies, counted by served probability.

    Parameters
    ----------
    voxels
        Shape (15361,): voxels with each of `VALUES`; 0 where that is negligible.
    inside
        Same shape: how much of them lies inside the true organ, in voxels.
    """

    voxels: NDArray[np.int64]
    inside: NDArray[np.float64]


def count_voxels(probability: NDArray[np.float16], truth: NDArray) -> VoxelCounts:
    """Count one study's voxels.

    Parameters
    ----------
    probability
        Axes (k, j, i) on the model grid, float16, 0..1.
    truth
        Same axes: fraction of the voxel inside the organ, 0..1, or bool.
    """
    counted = probability > NEGLIGIBLE_PROBABILITY
    value = probability[counted].view(np.uint16)
    inside = np.bincount(value, weights=truth[counted], minlength=len(VALUES)).astype(np.float64)
    return VoxelCounts(np.bincount(value, minlength=len(VALUES)), inside)


def pooled(counts: Sequence[VoxelCounts]) -> VoxelCounts:
    """Return the voxels of several studies together."""
    return VoxelCounts(
        np.sum([one.voxels for one in counts], axis=0), np.sum([one.inside for one in counts], axis=0)
    )


def fit_reliability(counts: VoxelCounts, start: Reliability = AS_SERVED) -> Reliability | None:
    """Fit slope and bias by likelihood, drawn a voxel's worth towards probabilities as served.

    Parameters
    ----------
    counts
        The voxels.
    start
        Where the search begins; the loss is convex, so that only its time depends on it.

    Returns
    -------
    Reliability or None
        None when no voxel is counted, or when a greater served probability would mean a smaller
        calibrated one: then there is nothing to be told from the probabilities.
    """
    seen = counts.voxels > 0
    if not seen.any():
        return None
    logit, total, inside = _LOGITS[seen], counts.voxels[seen].astype(np.float64), counts.inside[seen]
    size = total.sum()

    def loss(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, bias = parameters
        x = slope * logit + bias
        excess = total * expit(x) - inside
        prior = (slope - 1) ** 2 + bias**2
        value = (total * np.logaddexp(0, x) - inside * x).sum() + prior / 2
        slopes = np.array([(excess * logit).sum() + slope - 1, excess.sum() + bias])
        return float(value / size), slopes / size

    slope, bias = minimize(loss, np.array([start.slope, start.bias]), jac=True, method="BFGS").x
    return Reliability(float(slope), float(bias)) if slope > 0 else None


def calibrated(probability: NDArray[np.float16], reliability: Reliability) -> NDArray[np.float32]:
    """Return calibrated probabilities, float32, same axes; 0 where the served one is negligible."""
    field: NDArray[np.float32] = _table(reliability).astype(np.float32)[probability.view(np.uint16)]
    return field


def calibration_error(counts: VoxelCounts, reliability: Reliability = AS_SERVED) -> float:
    """Return the expected calibration error near the organ, 0..1.

    Notes
    -----
    Source: Guo et al. 2017, arXiv 1706.04599, equation 3: the mean over bins of |frequency -
    probability|, weighted by voxels.
    """
    table = _table(reliability)
    bins = np.minimum((table * ERROR_BINS).astype(int), ERROR_BINS - 1)
    gap = np.bincount(bins, counts.inside - counts.voxels * table, ERROR_BINS)
    return float(np.abs(gap).sum() / counts.voxels.sum())


def counted_confidence(counts: VoxelCounts, threshold: float, reliability: Reliability) -> float | None:
    """Return the soft Dice confidence of counted voxels (`models.bounds.uncertainty`)."""
    table = _table(reliability)
    mask = counts.voxels[threshold <= VALUES].sum()
    if mask == 0:
        return None
    soft = counts.voxels * table
    return float(2 * soft[threshold <= VALUES].sum() / (soft.sum() + mask))


def _table(reliability: Reliability) -> NDArray[np.float64]:
    """Return the calibrated probability of each of `VALUES`."""
    if reliability == AS_SERVED:
        return np.where(_COUNTED, VALUES, 0.0)
    return np.where(_COUNTED, expit(reliability.slope * _LOGITS + reliability.bias), 0.0)
