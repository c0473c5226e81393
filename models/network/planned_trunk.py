"""A network of nnU-Net as a trunk: its last features, and what it answers itself, frozen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Literal

import torch
from torch import Tensor, nn

from models.network.nnunet_networks import Axes, NnunetArchitecture, NnunetTrunk
from models.network.norm import window_mean
from models.network.trunk import Trunk, TrunkOutput


class PlannedTrunk(Trunk):
    """Windows as `models.recipe.NnunetRecipe` normalises them to features and the network's own logits.

    Heads are rows of its last convolution. Those that nobody tuned answer with the network's own logits, and
    tuned ones are measured against these: they belong to what is frozen.

    Parameters
    ----------
    classes
        Channels of its logits.
    kind, features, kernels, strides, encoder, decoder, bias, eps, slope
        As `models.network.nnunet_networks.NnunetArchitecture`.

    Notes
    -----
    The global feature is the mean and the spread of the window, then the mean of each channel of the coarsest
    map: norms take from it what tells one kind of scan from another.
    """

    def __init__(
        self,
        classes: int,
        network: Literal["plain_conv_unet", "residual_encoder_unet"],
        features: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        encoder: Sequence[int],
        decoder: Sequence[int],
        bias: bool,
        eps: float,
        slope: float,
    ) -> None:
        super().__init__()
        architecture = NnunetArchitecture(
            network,
            tuple(features),
            tuple(_axes(sides) for sides in kernels),
            tuple(_axes(sides) for sides in strides),
            tuple(encoder),
            tuple(decoder),
            bias,
            eps,
            slope,
        )
        said = asdict(architecture)
        self.spec = {"kind": "nnunet", "classes": classes, "network": said.pop("kind"), **said}
        self.feature_channels = architecture.features[0]
        self.coarse_channels = ()
        self.global_channels = 2 + architecture.features[-1]
        self.network = NnunetTrunk(architecture)
        self.head = nn.Conv3d(architecture.features[0], classes, 1)

    def forward(self, window: Tensor) -> TrunkOutput:
        """Return features, global feature and the network's own logits of normalised windows."""
        maps = self.network.encoder(window)
        features = self.network.decoder(maps)
        mean = window_mean(window)
        spread = window_mean((window - mean) ** 2).sqrt()
        feature = torch.cat([mean, spread, window_mean(maps[-1])], 1).flatten(1)
        return TrunkOutput(features, (), feature, self.head(features))


def planned_trunk(network: NnunetTrunk, head: nn.Conv3d) -> PlannedTrunk:
    """Return a network that was read, as a trunk; weights are shared."""
    a = network.architecture
    trunk = PlannedTrunk(
        len(head.weight),
        a.kind,
        a.features,
        a.kernels,
        a.strides,
        a.encoder,
        a.decoder,
        a.bias,
        a.eps,
        a.slope,
    )
    trunk.network, trunk.head = network, head
    return trunk.requires_grad_(False).eval()


def _axes(sides: Sequence[int]) -> Axes:
    k, j, i = sides
    return (k, j, i)
