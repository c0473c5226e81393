"""How far the windows that saw a voxel disagree: each votes for a class or not, weights count the votes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.inference.windows import WindowLogits
from models.masks import Box
from models.nnunet.windows import Origin, weight
from models.recipe import NnunetRecipe


class _Vote(NamedTuple):
    """Of one window: its first voxel; the winner, or a bit for each region; where tuned heads won."""

    origin: Origin
    said: NDArray
    own: dict[int, NDArray[np.bool_]]


class Votes:
    """What each window's logits said, kept until all have been asked.

    Parameters
    ----------
    recipe
        How labels follow from logits.
    window
        Voxels of a window.
    tuned
        Classes whose heads are no longer the network's own.
    """

    def __init__(self, recipe: NnunetRecipe, window: Sequence[int], tuned: Sequence[int] = ()) -> None:
        self._recipe = recipe
        self._regions = recipe.rule == "regions"
        self._classes = len(recipe.classes)
        self._weight = weight(window).astype(np.float32)
        self._tuned = tuple(tuned)
        self._votes: list[_Vote] = []

    def __call__(self, origin: Origin, logits: WindowLogits) -> None:
        """Take one window's vote; `models.nnunet.windows.Watch`."""
        frozen, tuned = logits[: self._classes], logits[self._classes :]
        winner = np.packbits(np.asarray(frozen) > 0, axis=0) if self._regions else _largest(frozen)
        own = {n: logit > self._rival(n, frozen) for n, logit in zip(self._tuned, tuned, strict=True)}
        for n, won in own.items():
            if left := self._recipe.yields_to(n):
                won &= ~np.isin(winner, left)
        self._votes.append(_Vote(origin, winner, own))

    def origins(self, shape: Sequence[int]) -> NDArray[np.int32]:
        """Return the first voxel of each window in a volume of such a shape, axes (window, 3)."""
        return np.array([vote.origin for vote in self._votes], dtype=np.int32) - self._before(shape)

    def spread(self, number: int, box: Box, shape: Sequence[int]) -> NDArray[np.float32]:
        """Return, in a box of the volume, the standard deviation of the vote for a class, 0..0.5.

        With a share s of the weight for it, sqrt(s (1 - s)): 0 where all agree, on it or on others.
        """
        sides = [side.stop - side.start for side in box]
        voted, total = np.zeros(sides, dtype=np.float32), np.zeros(sides, dtype=np.float32)
        for first, vote in zip(self.origins(shape).tolist(), self._votes, strict=True):
            low = [max(a, side.start) for a, side in zip(first, box, strict=True)]
            high = [min(a + n, s.stop) for a, n, s in zip(first, self._weight.shape, box, strict=True)]
            if any(a >= b for a, b in zip(low, high, strict=True)):
                continue
            inside = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, first, strict=True))
            here = tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, box, strict=True))
            total[here] += self._weight[inside]
            voted[here] += self._weight[inside] * self._is_for(vote, number, inside)
        share = voted / total
        deviation: NDArray[np.float32] = np.sqrt(np.clip(share * (1 - share), 0, 0.25))
        return deviation

    def _before(self, shape: Sequence[int]) -> NDArray[np.int32]:
        """Return how far a window reaches out before a volume that is smaller: it lies in the middle."""
        return np.maximum(np.subtract(self._weight.shape, shape), 0).astype(np.int32) // 2

    def _rival(self, number: int, frozen: WindowLogits) -> NDArray[np.float32] | float:
        if self._regions:
            return 0.0
        return reduce(np.maximum, (logit for n, logit in enumerate(frozen) if n != number))

    def _is_for(self, vote: _Vote, number: int, inside: tuple[slice, ...]) -> NDArray[np.bool_]:
        if number in vote.own:
            return vote.own[number][inside]
        if self._regions:
            eight = vote.said[number // 8][inside]
            return (eight >> (7 - number % 8) & 1).astype(np.bool_)
        mine: NDArray[np.bool_] = vote.said[inside] == number
        return mine


def _largest(logits: WindowLogits) -> NDArray[np.uint16]:
    """Return the class of the largest logit, the lowest of equal ones; numpy's argmax copies all of them."""
    best, winner = logits[0].copy(), np.zeros(logits[0].shape, dtype=np.uint16)
    for number, logit in enumerate(logits[1:], 1):
        over = logit > best
        np.copyto(best, logit, where=over)
        winner[over] = number
    return winner
