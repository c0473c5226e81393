"""The two U-Nets that nnU-Net v2 plans, built here of torch's own layers.

Tensors have the names that they have in a checkpoint, without its aliases, so that a refusal names what is in
the file. Written from the published form and checked against recorded answers of the library itself; logits
are equal to the bit in torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.network.norm import ExportedInstanceNorm

Axes = tuple[int, int, int]
"""One whole number for each axis of the network, slowest first: after ``transpose_forward``."""

ONES: Axes = (1, 1, 1)


@dataclass(frozen=True)
class NnunetArchitecture:
    """How a network of nnU-Net is built; a stage is one resolution, the finest first.

    Parameters
    ----------
    kind
        Plain convolutions in the encoder, or residual blocks.
    features
        Channels of each stage.
    kernels
        Sides of each stage's convolutions, odd, along the network's axes.
    strides
        By how much each stage is coarser than the one before, along the network's axes; the first is
        (1, 1, 1).
    encoder
        Convolutions, or residual blocks, of each stage on the way down.
    decoder
        Convolutions of each stage on the way up, the coarsest first: one stage fewer.
    bias
        Whether convolutions have one; that of a residual block's skip never does.
    eps
        What instance norm adds to the variance.
    slope
        Of the leaky ReLU below 0.
    """

    kind: Literal["plain_conv_unet", "residual_encoder_unet"]
    features: tuple[int, ...]
    kernels: tuple[Axes, ...]
    strides: tuple[Axes, ...]
    encoder: tuple[int, ...]
    decoder: tuple[int, ...]
    bias: bool
    eps: float
    slope: float

    @property
    def window_multiple(self) -> Axes:
        """A window's sides are multiples of these: the product of the strides along each axis."""
        k, j, i = (prod(sides) for sides in zip(*self.strides, strict=True))
        return k, j, i


class NnunetTrunk(nn.Module):
    """Windows to the features that the last 1x1x1 convolution makes logits of.

    The other outputs of deep supervision are no part of it: nothing but training uses them.

    Notes
    -----
    Source: Isensee et al., "nnU-Net", Nature Methods 2021; the residual block is that of He et al., "Bag of
    Tricks for Image Classification", CVPR 2019, arXiv:1812.01187: its skip is an average pool before a 1x1x1
    convolution.
    """

    def __init__(self, architecture: NnunetArchitecture) -> None:
        super().__init__()
        self.architecture = architecture
        plain = architecture.kind == "plain_conv_unet"
        self.encoder = _PlainEncoder(architecture) if plain else _ResidualEncoder(architecture)
        self.decoder = _Decoder(architecture)

    def forward(self, window: Tensor) -> Tensor:
        """Return the last features.

        Parameters
        ----------
        window
            Normalised intensities, float32, axes (batch, 1, *network's axes); sides are multiples of
            `NnunetArchitecture.window_multiple`.

        Returns
        -------
        Tensor
            Axes (batch, channel, *network's axes).
        """
        maps: list[Tensor] = self.encoder(window)
        features: Tensor = self.decoder(maps)
        return features


class _ConvNorm(nn.Module):
    """Convolution, instance norm and, unless `slope` is None, a leaky ReLU."""

    def __init__(
        self,
        architecture: NnunetArchitecture,
        channels: tuple[int, int],
        kernel: Axes,
        stride: Axes = ONES,
        *,
        bias: bool,
        active: bool = True,
    ) -> None:
        super().__init__()
        k, j, i = ((side - 1) // 2 for side in kernel)
        self.conv = nn.Conv3d(*channels, kernel, stride, padding=(k, j, i), bias=bias)
        self.norm = ExportedInstanceNorm(channels[1], eps=architecture.eps, affine=True)
        self.slope = architecture.slope if active else None

    def forward(self, maps: Tensor) -> Tensor:
        normed: Tensor = self.norm(self.conv(maps))
        return normed if self.slope is None else functional.leaky_relu(normed, self.slope)


class _Convolutions(nn.Module):
    """Convolutions one after the other; the first has the stride."""

    def __init__(
        self,
        architecture: NnunetArchitecture,
        number: int,
        channels: tuple[int, int],
        kernel: Axes,
        stride: Axes = ONES,
    ) -> None:
        super().__init__()
        inner, bias = (channels[1], channels[1]), architecture.bias
        self.convs = nn.Sequential(
            _ConvNorm(architecture, channels, kernel, stride, bias=bias),
            *(_ConvNorm(architecture, inner, kernel, bias=bias) for _ in range(number - 1)),
        )

    def forward(self, maps: Tensor) -> Tensor:
        after: Tensor = self.convs(maps)
        return after


class _ResidualBlock(nn.Module):
    """Two convolutions beside a skip, which is pooled and projected only where they change the map."""

    def __init__(
        self, architecture: NnunetArchitecture, channels: tuple[int, int], kernel: Axes, stride: Axes
    ) -> None:
        super().__init__()
        inner, bias = (channels[1], channels[1]), architecture.bias
        self.conv1 = _ConvNorm(architecture, channels, kernel, stride, bias=bias)
        self.conv2 = _ConvNorm(architecture, inner, kernel, bias=bias, active=False)
        skip: list[nn.Module] = [] if stride == ONES else [nn.AvgPool3d(stride, stride)]
        if channels[0] != channels[1]:
            skip.append(_ConvNorm(architecture, channels, ONES, bias=False, active=False))
        self.skip = nn.Sequential(*skip)
        self.slope = architecture.slope

    def forward(self, maps: Tensor) -> Tensor:
        return functional.leaky_relu(self.conv2(self.conv1(maps)) + self.skip(maps), self.slope)


class _ResidualBlocks(nn.Module):
    """Residual blocks one after the other; the first has the stride."""

    def __init__(
        self,
        architecture: NnunetArchitecture,
        number: int,
        channels: tuple[int, int],
        kernel: Axes,
        stride: Axes,
    ) -> None:
        super().__init__()
        inner = (channels[1], channels[1])
        self.blocks = nn.Sequential(
            _ResidualBlock(architecture, channels, kernel, stride),
            *(_ResidualBlock(architecture, inner, kernel, ONES) for _ in range(number - 1)),
        )

    def forward(self, maps: Tensor) -> Tensor:
        after: Tensor = self.blocks(maps)
        return after


class _PlainEncoder(nn.Module):
    """The way down by convolutions."""

    def __init__(self, architecture: NnunetArchitecture) -> None:
        super().__init__()
        stages = zip(
            architecture.encoder,
            pairwise((1, *architecture.features)),
            architecture.kernels,
            architecture.strides,
            strict=True,
        )
        self.stages = nn.Sequential(*(nn.Sequential(_Convolutions(architecture, *stage)) for stage in stages))

    def forward(self, window: Tensor) -> list[Tensor]:
        return _each_map(self.stages, window)


class _ResidualEncoder(nn.Module):
    """The way down by residual blocks, after one convolution."""

    def __init__(self, architecture: NnunetArchitecture) -> None:
        super().__init__()
        first, kernels = architecture.features[0], architecture.kernels
        stages = zip(
            architecture.encoder,
            pairwise((first, *architecture.features)),
            kernels,
            architecture.strides,
            strict=True,
        )
        self.stem = _Convolutions(architecture, 1, (1, first), kernels[0])
        self.stages = nn.Sequential(*(_ResidualBlocks(architecture, *stage) for stage in stages))

    def forward(self, window: Tensor) -> list[Tensor]:
        return _each_map(self.stages, self.stem(window))


class _Decoder(nn.Module):
    """The way up: a transposed convolution, then convolutions on it and the encoder's map, in this order."""

    def __init__(self, architecture: NnunetArchitecture) -> None:
        super().__init__()
        upwards = list(pairwise(reversed(architecture.features)))
        strides = architecture.strides[:0:-1]
        self.transpconvs = nn.ModuleList(
            nn.ConvTranspose3d(below, here, stride, stride, bias=architecture.bias)
            for (below, here), stride in zip(upwards, strides, strict=True)
        )
        self.stages = nn.ModuleList(
            _Convolutions(architecture, number, (2 * here, here), kernel)
            for number, (_, here), kernel in zip(
                architecture.decoder, upwards, architecture.kernels[-2::-1], strict=True
            )
        )

    def forward(self, maps: list[Tensor]) -> Tensor:
        *skips, after = maps
        for raised, stage, skip in zip(self.transpconvs, self.stages, reversed(skips), strict=True):
            after = stage(torch.cat((raised(after), skip), 1))
        return after


def _each_map(stages: nn.Sequential, window: Tensor) -> list[Tensor]:
    maps = [window]
    for stage in stages:
        maps.append(stage(maps[-1]))
    return maps[1:]
