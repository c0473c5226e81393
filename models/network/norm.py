"""Instance normalisation that is quick on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

ROWS = 16384
"""Voxels handled at a time: a block of every channel then stays in the second-level cache."""


class _BlockedInstanceNorm(torch.autograd.Function):
    """Instance norm over channels-last rows, block by block.

    PyTorch's own backward walks channels-last maps with a stride: at 331,000 voxels of 32 channels it
    takes ten times as long as the convolution beside it. Sums are float32, whatever the input.
    """

    @staticmethod
    def forward(ctx: Any, maps: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        batch, channels = maps.shape[:2]
        rows = maps.permute(0, 2, 3, 4, 1).reshape(batch, -1, channels)
        total = torch.zeros(batch, 1, channels)
        squares = torch.zeros(batch, 1, channels)
        for block in rows.split(ROWS, 1):
            values = block.float()
            total += values.sum(1, True)
            squares += (values * values).sum(1, True)
        mean = total / rows.shape[1]
        inverse = ((squares / rows.shape[1] - mean * mean).clamp_min(0) + eps).rsqrt()
        scale = weight * inverse
        shift = bias - mean * scale
        normed = torch.empty_like(rows)
        for block, out in zip(rows.split(ROWS, 1), normed.split(ROWS, 1), strict=True):
            out.copy_(torch.addcmul(shift, block.float(), scale))
        ctx.save_for_backward(rows, mean, inverse, scale)
        return normed.view(batch, *maps.shape[2:], channels).permute(0, 4, 1, 2, 3)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        (gradient,) = gradients
        rows, mean, inverse, scale = ctx.saved_tensors
        batch, voxels, channels = rows.shape
        downstream = gradient.permute(0, 2, 3, 4, 1).reshape(batch, voxels, channels)
        of_bias = torch.zeros(batch, 1, channels)
        of_weight = torch.zeros(batch, 1, channels)
        for block, down in zip(rows.split(ROWS, 1), downstream.split(ROWS, 1), strict=True):
            values = down.float()
            of_bias += values.sum(1, True)
            of_weight += (values * block.float()).sum(1, True)
        of_weight = (of_weight - of_bias * mean) * inverse
        slope = -scale * inverse * of_weight / voxels
        offset = -scale * of_bias / voxels - slope * mean
        upstream = torch.empty_like(rows)
        for block, down, out in zip(
            rows.split(ROWS, 1), downstream.split(ROWS, 1), upstream.split(ROWS, 1), strict=True
        ):
            out.copy_(torch.addcmul(offset, down.float(), scale).addcmul_(block.float(), slope))
        shaped = upstream.view(batch, *gradient.shape[2:], channels).permute(0, 4, 1, 2, 3)
        return shaped, of_weight.sum((0, 1)), of_bias.sum((0, 1)), None


def window_mean(maps: Tensor) -> Tensor:
    """Return the mean of each channel over a window, one axis after the other.

    Engines add up the voxels of a window one by one in float32: over 400,000 of them the mean is off
    by 1e-4 of its size, which ten layers turn into 0.03 of a logit. Pools of a hundred are exact to
    rounding, and no engine fuses them back.

    Parameters
    ----------
    maps
        Axes (batch, channel, k, j, i).

    Returns
    -------
    Tensor
        Axes (batch, channel, 1, 1, 1).
    """
    k, j, i = (int(side) for side in maps.shape[2:])
    rows = functional.avg_pool3d(maps, (1, 1, i))
    planes = functional.avg_pool3d(rows, (1, j, 1))
    return functional.avg_pool3d(planes, (k, 1, 1))


class ExportedInstanceNorm(nn.InstanceNorm3d):
    """`torch.nn.InstanceNorm3d`, affine or not, that exports with sums that stay exact in any engine.

    Axes (batch, channel, k, j, i).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each channel of each window to mean 0 and variance 1, then scale and shift."""
        if not torch.onnx.is_in_onnx_export():
            return super().forward(maps)
        centred = maps - window_mean(maps)
        scale = torch.rsqrt(window_mean(centred * centred) + self.eps)
        if not self.affine:
            return centred * scale
        return centred * (scale * self.weight.view(1, -1, 1, 1, 1)) + self.bias.view(1, -1, 1, 1, 1)


class InstanceNorm(ExportedInstanceNorm):
    """`torch.nn.InstanceNorm3d`, affine: one window's output never depends on another in the batch.

    The same numbers as the parent to rounding, computed faster on a CPU.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, affine=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each channel of each window to mean 0 and variance 1, then scale and shift."""
        if maps.device.type == "cpu" and not torch.onnx.is_in_onnx_export():
            return _BlockedInstanceNorm.apply(maps, self.weight, self.bias, self.eps)
        return super().forward(maps)


class ExportedGroupNorm(nn.GroupNorm):
    """`torch.nn.GroupNorm` that exports with sums that stay exact in any engine.

    Axes (batch, channel, k, j, i).
    """

    def forward(self, maps: Tensor) -> Tensor:
        """Normalise each group of channels of each window to mean 0 and variance 1, then scale and shift."""
        if not torch.onnx.is_in_onnx_export():
            return super().forward(maps)
        centred = maps - self._group_mean(maps)
        scale = torch.rsqrt(self._group_mean(centred * centred) + self.eps) * self.weight.view(1, -1, 1, 1, 1)
        return centred * scale + self.bias.view(1, -1, 1, 1, 1)

    def _group_mean(self, maps: Tensor) -> Tensor:
        """Return each group's mean, repeated for its channels; axes (batch, channel, 1, 1, 1)."""
        batch, channels = (int(n) for n in maps.shape[:2])
        grouped = window_mean(maps).reshape(batch, self.num_groups, channels // self.num_groups)
        mean = grouped.mean(2, keepdim=True).expand_as(grouped)
        return mean.reshape(batch, channels, 1, 1, 1)
