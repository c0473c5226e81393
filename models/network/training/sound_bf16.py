"""bfloat16 where torch computes it rightly."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@contextlib.contextmanager
def sound_bf16(device: str) -> Iterator[None]:
    """Compute in bfloat16 as `torch.autocast` does, but for convolutions over two slices on a CPU.

    Parameters
    ----------
    device
        Kind of device, ``cpu`` or ``cuda``.

    Notes
    -----
    torch 2.13 on a CPU (oneDNN) reads memory that nobody wrote where it takes the gradient of a 3x3x3
    convolution's weights in bfloat16 and its map is two voxels deep along k: now and then a gradient of
    1e28 in the place of 1e-2, which clipping of the norm turns into a step in any direction. Other depths,
    widths, 1x1x1 and strided convolutions, and float32, are right. Such a map is small: it costs nothing.
    """
    with contextlib.ExitStack() as stack:
        if device == "cpu":
            stack.enter_context(_TwoSlicesInFloat32())
        stack.enter_context(torch.autocast(device, torch.bfloat16))
        yield


class _TwoSlicesInFloat32(TorchFunctionMode):
    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is functional.conv3d and args[0].shape[2] == 2 and args[1].shape[2] > 1:
            with torch.autocast("cpu", enabled=False):
                maps, weight, bias, *others = args
                return func(
                    maps.float(), weight.float(), None if bias is None else bias.float(), *others, **given
                )
        return func(*args, **given)
