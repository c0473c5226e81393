"""The trunk: the network that all organs share, and that a release freezes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.contract import TRUNK_COARSE, TRUNK_FEATURES, TRUNK_FROZEN, TRUNK_GLOBAL
from models.network.norm import InstanceNorm, window_mean


@dataclass(frozen=True, eq=False)
class TrunkOutput:
    """What a head may look at, for a batch of windows.

    Parameters
    ----------
    features
        Last features at full resolution, axes (batch, channel, k, j, i).
    coarse
        Coarser decoder maps, finest first: 1/2, 1/4, 1/8 of the window; same axes.
    global_feature
        Axes (batch, feature): what the window as a whole looks like.
    frozen
        Axes (batch, class, k, j, i): the logits of the network as it was imported; None of a trunk that had
        none.
    """

    features: Tensor
    coarse: tuple[Tensor, ...]
    global_feature: Tensor
    frozen: Tensor | None = None

    def by_name(self) -> dict[str, Tensor]:
        """Return the tensors under their names in the exported graphs, in the graph's order."""
        maps = {TRUNK_COARSE.format(level): tensor for level, tensor in enumerate(self.coarse, 1)}
        own = {} if self.frozen is None else {TRUNK_FROZEN: self.frozen}
        return {TRUNK_FEATURES: self.features, **maps, TRUNK_GLOBAL: self.global_feature, **own}


class Trunk(nn.Module, ABC):
    """Scaled windows, axes (batch, 1, k, j, i) in 0..1, to `TrunkOutput`.

    Attributes
    ----------
    spec
        What `models.network.trunk_kinds.build_trunk` needs to build it again; JSON values, ``kind`` first.
    feature_channels, coarse_channels, global_channels
        Sizes of the three outputs, as in the contract.
    """

    spec: Mapping[str, Any]
    feature_channels: int
    coarse_channels: tuple[int, ...]
    global_channels: int

    @abstractmethod
    def forward(self, window: Tensor) -> TrunkOutput:
        """Return everything the heads may use."""


def _convolution(channels_in: int, channels_out: int, strides: int = 1) -> nn.Sequential:
    """Return MONAI's convolution block, with its names of weights; importing MONAI takes seconds."""
    adn = OrderedDict[str, nn.Module](N=InstanceNorm(channels_out), A=nn.ReLU())
    conv = nn.Conv3d(channels_in, channels_out, 3, strides, padding=1)
    return nn.Sequential(OrderedDict[str, nn.Module](conv=conv, adn=nn.Sequential(adn)))


class UNetTrunk(Trunk):
    """3D U-Net of convolution blocks as MONAI's, with instance norm.

    Two 3x3x3 convolutions a level on the way down and up, one at full resolution on the way up, where
    a convolution costs as much as all coarser levels together. Halving is a stride, doubling a 1x1x1
    convolution and trilinear interpolation.

    Parameters
    ----------
    widths
        Channels at 1, 1/2, 1/4, 1/8 of the window.
    features
        Channels of the last features.

    Notes
    -----
    Source: Çiçek et al., "3D U-Net", MICCAI 2016, arXiv:1606.06650. The global feature is the mean of
    the 1/8 map and the spread of the first convolution before its norm; the norm removes contrast and
    noise, which tell one kind of scan from another.
    """

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128), features: int = 32) -> None:
        super().__init__()
        self.spec = {"kind": "unet", "widths": list(widths), "features": features}
        self.feature_channels = features
        self.coarse_channels = tuple(widths[1:])
        self.global_channels = widths[0] + widths[-1]
        self.stem: Any = _convolution(1, widths[0])
        self.full = _convolution(widths[0], widths[0])
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Sequential(_convolution(a, b, 2), _convolution(b, b)) for a, b in steps)
        self.narrow = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in steps)
        self.up = nn.ModuleList(
            nn.Sequential(_convolution(2 * a, a), _convolution(a, a)) for a, _ in steps[1:]
        )
        self.last = _convolution(2 * widths[0], features)

    def forward(self, window: Tensor) -> TrunkOutput:
        """Return features, decoder maps and global feature of scaled windows."""
        response = self.stem.conv(window)
        maps = [self.full(self.stem.adn(response))]
        for down in self.down:
            maps.append(down(maps[-1]))
        deep = maps.pop()
        coarse = [deep]
        for level in range(len(maps) - 1, -1, -1):
            wide = functional.interpolate(
                self.narrow[level](coarse[0]), scale_factor=2.0, mode="trilinear", align_corners=False
            )
            joined = torch.cat((maps[level], wide), 1)
            coarse.insert(0, self.up[level - 1](joined) if level else self.last(joined))
        centred = response - window_mean(response)
        summary = torch.cat((window_mean(centred * centred).sqrt(), window_mean(deep)), 1)
        return TrunkOutput(coarse[0], tuple(coarse[1:]), summary.flatten(1))


class SwinTrunk(Trunk):
    """Encoder and decoder of MONAI's Swin UNETR; its last layer is left to the heads.

    Parameters
    ----------
    feature_size
        Channels of the last features, a multiple of 12; 48 is the published size, 12 a small one.

    Notes
    -----
    Source: Hatamizadeh et al., "Swin UNETR", arXiv:2201.01266.
    """

    def __init__(self, feature_size: int = 24) -> None:
        from monai.networks.nets import SwinUNETR  # seconds of a processor: only who wants it pays them

        super().__init__()
        self.spec = {"kind": "swin_unetr", "feature_size": feature_size}
        self.feature_channels = feature_size
        self.coarse_channels = (feature_size, 2 * feature_size, 4 * feature_size)
        self.global_channels = 16 * feature_size
        self.stride = 32
        self.net = SwinUNETR(in_channels=1, out_channels=1, feature_size=feature_size)
        del self.net.out

    def forward(self, window: Tensor) -> TrunkOutput:
        """Return features, decoder maps and global feature of scaled windows."""
        net = self.net
        hidden = net.swinViT(window, net.normalize)
        deep = net.encoder10(hidden[4])
        eighth = net.decoder4(net.decoder5(deep, hidden[3]), net.encoder4(hidden[2]))
        quarter = net.decoder3(eighth, net.encoder3(hidden[1]))
        half = net.decoder2(quarter, net.encoder2(hidden[0]))
        features = net.decoder1(half, net.encoder1(window))
        return TrunkOutput(features, (half, quarter, eighth), window_mean(deep).flatten(1))
