"""How unsure the segmenter is: its probabilities, and where its windows and its members disagree."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import entr

from models.masks import Box, bounding_box

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
    they do not; it becomes a bound only by calibration (`models.bounds.conformal`).
    """
    if not mask.any():
        return None
    inside = float(probability[mask].sum(dtype=np.float64))
    return 2 * inside / (float(probability.sum(dtype=np.float64)) + int(np.count_nonzero(mask)))


def member_agreement(probability: NDArray, spread: NDArray | None) -> float | None:
    """Return how far the members of a head draw the same organ, as the Dice of one against another.

    Parameters
    ----------
    probability
        Axes (k, j, i), 0..1, as served.
    spread
        Same axes: standard deviation over the members, 0..0.5; None for a head of one member.

    Returns
    -------
    float or None
        Σp² / Σ(p² + s²), 0..1; None for a head of one member, or where nothing has a probability.

    Notes
    -----
    The soft Dice 2Σab / Σ(a² + b²) of Milletari et al. 2016, arXiv 1606.04797, expected of two members a
    and b that are independent, of mean p and deviation s. That pairwise Dice of an ensemble finds failures:
    Zenk et al. 2025, arXiv 2406.03323.
    """
    if spread is None:
        return None
    mean = float(np.sum(np.square(probability, dtype=np.float32), dtype=np.float64))
    scatter = float(np.sum(np.square(spread, dtype=np.float32), dtype=np.float64))
    return mean / (mean + scatter) if mean > 0 else None


def entropy_near(probability: NDArray, mask: NDArray[np.bool_]) -> float | None:
    """Return the mean entropy in and near an organ, nats, 0..ln 2; None for an empty mask."""
    near = _near(mask)
    if near is None:
        return None
    box, inside = near
    return float(entropy(probability[box][inside]).mean(dtype=np.float64))


class Uncertainty(NamedTuple):
    """How unsure the segmenter is of one organ, a mean over the voxels in and near it.

    Parameters
    ----------
    entropy
        Bernoulli entropy, nats, 0..ln 2.
    disagreement
        Standard deviation of the probability over overlapping windows, 0..0.5.
    members
        The same over the members of the head; None for a head of one.
    """

    entropy: float
    disagreement: float
    members: float | None = None


def uncertainty_near(
    probability: NDArray, disagreement: NDArray, mask: NDArray[np.bool_], spread: NDArray | None = None
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
    spread
        As of `member_agreement`.

    Returns
    -------
    Uncertainty or None
        Means over the mask grown by `NEAR_VOXELS`; None for an empty mask.
    """
    where = _near(mask)
    if where is None:
        return None
    box, near = where
    return Uncertainty(
        entropy=float(entropy(probability[box][near]).mean(dtype=np.float64)),
        disagreement=float(disagreement[box][near].mean(dtype=np.float64)),
        members=None if spread is None else float(spread[box][near].mean(dtype=np.float64)),
    )


def _near(mask: NDArray[np.bool_]) -> tuple[Box, NDArray[np.bool_]] | None:
    """Return the box round an organ, and which of its voxels are in or near the organ."""
    box = bounding_box(mask, margin=NEAR_VOXELS)
    return None if box is None else (box, ndimage.binary_dilation(mask[box], iterations=NEAR_VOXELS))
