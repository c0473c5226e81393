"""What the head of one organ is measured against in a network with a softmax: the other classes, frozen.

A voxel is the organ's where its logit is larger than every other class had when the network was imported; its
probability is sigmoid(z - logsumexp of those). So what is learnt of one organ takes nothing from another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.network.planned_trunk import PlannedTrunk
from models.network.trunk import Trunk
from models.recipe import NnunetRecipe


@dataclass(frozen=True, eq=False)
class Rivals:
    """The other classes' logits at some voxels.

    Parameters
    ----------
    together
        Axes (voxel,), float32: the logarithm of the sum of their exponentials.
    largest
        Axes (voxel,), float32; infinite where the organ yields whatever its head says.
    """

    together: Tensor
    largest: Tensor

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Rivals:
        """Return the same with both changed alike."""
        return Rivals(change(self.together), change(self.largest))


class Competitors:
    """The frozen last layer of a network with a softmax.

    Parameters
    ----------
    trunk
        Holds it.
    recipe
        Has the class of each organ, and says which voxels its head leaves to others.
    """

    def __init__(self, trunk: PlannedTrunk, recipe: NnunetRecipe) -> None:
        self._weight = trunk.head.weight.detach().cpu().flatten(1)
        self._bias = None if trunk.head.bias is None else trunk.head.bias.detach().cpu()
        self._numbers = {organ: number for number, organ in recipe.organs.items()}
        self._left = {organ: recipe.yields_to(number) for organ, number in self._numbers.items()}

    def at(self, organ: str, features: Tensor) -> Rivals:
        """Return the rivals of an organ.

        Parameters
        ----------
        organ
            Key of the contract.
        features
            Axes (voxel, channel): the trunk's last features.
        """
        logits = functional.linear(features.float().cpu(), self._weight, self._bias)
        others = [n for n in range(logits.shape[1]) if n not in self._left[organ]]
        theirs = logits[:, list(self._left[organ])].amax(1) if self._left[organ] else None
        left = None if theirs is None else theirs > logits[:, others].amax(1)
        logits[:, self._numbers[organ]] = -torch.inf
        largest = logits.amax(1)
        return Rivals(logits.logsumexp(1), largest if left is None else largest.masked_fill(left, torch.inf))

    def margin(self, organ: str, logit: NDArray[np.float32], frozen: Tensor | None) -> NDArray[np.float32]:
        """Return by how much an organ's logit is over its rivals', axes (k, j, i).

        Parameters
        ----------
        organ, logit
            Which, and what its head says; axes (k, j, i).
        frozen
            The network's own logits, axes (1, class, k, j, i).

        Raises
        ------
        InvalidRelease
            If there are none.
        """
        if frozen is None:
            raise InvalidRelease("the trunk answered no logits of its own")
        own, left = self._numbers[organ], self._left[organ]
        largest, theirs, others = (np.full(logit.shape, -np.inf, dtype=np.float32) for _ in range(3))
        for number, rival in enumerate(frozen[0].numpy()):  # one by one: all of them are gigabytes
            if number != own:
                np.maximum(largest, rival, out=largest)
            side = theirs if number in left else others
            np.maximum(side, rival, out=side)
        return np.where(theirs > others, np.float32(-np.inf), logit - largest)


def competitors(trunk: Trunk, contract: ModelContract) -> Competitors | None:
    """Return what heads are measured against; None where each organ is decided by itself.

    Raises
    ------
    InvalidRelease
        If the contract has a softmax and the trunk has no logits of its own.
    """
    if contract.recipe is None or contract.recipe.rule == "regions":
        return None
    if not isinstance(trunk, PlannedTrunk):
        raise InvalidRelease("a network with a softmax has its own last layer in the trunk")
    return Competitors(trunk, contract.recipe)
