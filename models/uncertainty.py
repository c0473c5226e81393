"""How unsure the segmenter is, from its probabilities and from where its windows disagree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import entr

from models.resampling import bounding_box

NEAR_VOXELS = 2
"""Near an organ is inside it or this many voxels outside."""


def entropy(probability: NDArray) -> NDArray[np.float32]:
    """Return the Bernoulli entropy -p ln p - (1-p) ln(1-p), float32 nats, 0..ln 2, same axes."""
    p = probability.astype(np.float32)
    return entr(p) + entr(1 - p)


def voxel_error(probability: NDArray, mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the probability that each voxel of the mask is wrong, float32: 1-p inside, p outside."""
    p = probability.astype(np.float32)
    return np.where(mask, 1 - p, p)


def soft_dice_confidence(probability: NDArray, mask: NDArray[np.bool_]) -> float | None:
    """Return the DSC the segmenter itself expects of its mask.

    Parameters
    ----------
    probability
        Axes (k, j, i), 0..1.
    mask
        The voxels taken as organ, same axes.

    Returns
    -------
    float or None
        2Σpm / (Σp + Σm), 0..1; None for an empty mask, which is a matter of presence.

    Notes
    -----
    Source: Borges et al. 2024, arXiv 2402.10665: close to E[DSC] if voxels err independently, which
    they do not; it becomes a bound only by calibration (`models.conformal`).
    """
    if not mask.any():
        return None
    inside = float(probability[mask].sum(dtype=np.float64))
    return 2 * inside / (float(probability.sum(dtype=np.float64)) + np.count_nonzero(mask))


class Uncertainty(NamedTuple):
    """How unsure the segmenter is of one organ, a mean over the voxels in and near it.

    Parameters
    ----------
    entropy
        Bernoulli entropy, nats, 0..ln 2.
    disagreement
        Standard deviation of the probability over overlapping windows, 0..0.5.
    """

    entropy: float
    disagreement: float


def uncertainty_near(
    probability: NDArray, disagreement: NDArray, mask: NDArray[np.bool_]
) -> Uncertainty | None:
    """Return how unsure the segmenter is in and near an organ.

    Parameters
    ----------
    probability
        Axes (k, j, i), 0..1.
    disagreement
        Same axes, 0..0.5.
    mask
        The organ, same axes.

    Returns
    -------
    Uncertainty or None
        Means over the mask grown by `NEAR_VOXELS`; None for an empty mask.
    """
    box = bounding_box(mask, margin=NEAR_VOXELS)
    if box is None:
        return None
    near = ndimage.binary_dilation(mask[box], iterations=NEAR_VOXELS)
    fields = entropy(probability[box][near]), disagreement[box][near]
    return Uncertainty(*(float(field.mean(dtype=np.float64)) for field in fields))
