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


@dataclass(frozen=True, eq=False)
class Rivals:
    """The other classes' logits at some voxels.

    Parameters
    ----------
    together
        Axes (voxel,), float32: the logarithm of the sum of their exponentials.
    largest
        Axes (voxel,), float32.
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
    numbers
        Class of each organ.
    """

    def __init__(self, trunk: PlannedTrunk, numbers: dict[str, int]) -> None:
        self._weight = trunk.head.weight.detach().cpu().flatten(1)
        self._bias = None if trunk.head.bias is None else trunk.head.bias.detach().cpu()
        self._numbers = numbers

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
        logits[:, self._numbers[organ]] = -torch.inf
        return Rivals(logits.logsumexp(1), logits.amax(1))

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
        largest = np.full(logit.shape, -np.inf, dtype=np.float32)
        for number, rival in enumerate(frozen[0].numpy()):  # one by one: all of them are gigabytes
            if number != self._numbers[organ]:
                np.maximum(largest, rival, out=largest)
        return logit - largest


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
    return Competitors(trunk, {organ: number for number, organ in contract.recipe.organs.items()})
