"""The same heads without privacy: one small network for all organs, tuned on the revised ones alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from models.contract import ModelContract
from models.inference.windows import axis_starts, cut, scale_hu
from models.network.heads import Head, HeadSpec
from models.network.training.losses import segmentation_loss
from models.network.training.train import TrainingCase, cut_truth, warm_cosine
from models.network.trunk import Trunk, TrunkOutput


class SharedLayers(nn.Module):
    """Three 1x1x1 layers, of which only the last has an output for each organ."""

    def __init__(self, features: int, hidden: int, organs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv3d(features, hidden, 1),
            nn.ReLU(),
            nn.Conv3d(hidden, hidden, 1),
            nn.ReLU(),
            nn.Conv3d(hidden, organs, 1),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return logits, axes (batch, organ, k, j, i)."""
        return self.layers(features)


class SharedHead(nn.Module):
    """One organ's output of shared layers, in the place of a head."""

    def __init__(self, layers: SharedLayers, organ: int, features: int, hidden: int) -> None:
        super().__init__()
        self.layers, self.organ, self.spec = layers, organ, HeadSpec(features, hidden)

    def forward(self, trunk: TrunkOutput) -> Tensor:
        """Return the logit of every voxel."""
        return self.layers(trunk.features)[:, self.organ : self.organ + 1]


def heads_of(layers: SharedLayers, contract: ModelContract, hidden: int) -> dict[str, Head]:
    """Return the outputs as heads by organ."""
    return {
        organ: SharedHead(layers, number, contract.feature_channels, hidden)  # type: ignore[misc]
        for number, organ in enumerate(contract.organs)
    }


def fit(
    layers: SharedLayers,
    trunk: Trunk,
    cases: Sequence[TrainingCase],
    contract: ModelContract,
    steps: int,
    rate: float = 5e-3,
) -> None:
    """Fit shared layers on a frozen trunk, whole windows at a time, as private heads are fitted."""
    random = np.random.default_rng(0)
    optimiser = torch.optim.AdamW(layers.parameters(), rate, weight_decay=0.0)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * warm_cosine(step, 10, steps)
        case = cases[random.integers(len(cases))]
        origin = tuple(
            int(random.choice(axis_starts(side.start, side.stop, n, window, contract.overlap)))
            for side, n, window in zip(case.body, case.hu.shape, contract.window_shape, strict=True)
        )
        hu = cut(case.hu, (origin[0], origin[1], origin[2]), contract.window_shape)
        with torch.no_grad():
            features = trunk(torch.from_numpy(scale_hu(hu, contract.hu_window))[None, None]).features
        truth = torch.from_numpy(cut_truth(case.truth, origin, contract.window_shape)).float() / 255
        weight = None
        if case.weight is not None:
            told = cut_truth(case.weight, origin, contract.window_shape, outside=255)
            weight = torch.from_numpy(told).float() / 255
        logits = layers(features)[0].flatten(1).T
        loss = segmentation_loss(logits, truth, weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
    layers.requires_grad_(False)
