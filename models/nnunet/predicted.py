"""What a network that nnU-Net planned predicts in one window, for the voxels that are kept for tuning."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.inference.sampled_features import UNCERTAIN_LOGIT, Told, add_mask, told_by
from models.recipe import NnunetRecipe


def predicted(
    frozen: NDArray[np.float32], recipe: NnunetRecipe, own: Mapping[int, NDArray[np.float32]]
) -> Told:
    """Return what is predicted in one window.

    Parameters
    ----------
    frozen
        The network's own logits, axes (class, k, j, i).
    recipe
        How labels follow from logits. Of a softmax, where the two largest differ by little is in doubt.
    own
        By class, the logits of heads that were tuned since; axes (k, j, i).
    """
    if recipe.rule == "regions":
        logits = np.stack([own.get(n, frozen[n]) for n in recipe.organs])
        return told_by(logits, np.zeros(len(logits), dtype=np.float32))
    largest, second, winner = _largest_two(frozen)
    band, organ = np.zeros(winner.shape, dtype=np.bool_), np.zeros(winner.shape, dtype=np.bool_)
    doubt = largest - second < UNCERTAIN_LOGIT
    for number in recipe.organs:
        if number in own:
            margin = own[number] - np.where(winner == number, second, largest)
            add_mask(margin > 0, organ, band)
            doubt |= np.abs(margin) < UNCERTAIN_LOGIT
    untouched = np.array([n for n in recipe.organs if n not in own], dtype=winner.dtype)
    shown = np.isin(winner, untouched)
    organ |= shown
    for axis in range(winner.ndim):  # an organ ends where the next voxel is another class's
        before, behind = [slice(None)] * winner.ndim, [slice(None)] * winner.ndim
        before[axis], behind[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(before), tuple(behind)
        ends = (winner[a] != winner[b]) & (shown[a] | shown[b])
        band[a] |= ends
        band[b] |= ends
    return Told(band, doubt, organ)


def _largest_two(
    frozen: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.uint16]]:
    """Return the two largest logits and the class of the largest, axes (k, j, i), one class at a time."""
    largest, winner = frozen[0].copy(), np.zeros(frozen.shape[1:], dtype=np.uint16)
    second = np.full_like(largest, -np.inf)
    for number, logit in enumerate(frozen[1:], 1):
        np.maximum(second, np.minimum(largest, logit), out=second)
        winner[logit > largest] = number
        np.maximum(largest, logit, out=largest)
    return largest, second, winner
