"""bfloat16 on a CPU: a map of two slices gives the gradient that float32 gives, every time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from models.network.training.sound_bf16 import sound_bf16


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 8, 8), (4, 8, 8)])
def test_weights_of_a_convolution_over_two_slices_have_the_gradient_of_float32(
    shape: tuple[int, int, int], channels_last: bool
) -> None:
    torch.manual_seed(0)
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    maps = torch.randn(1, 24, *shape).to(memory_format=layout)
    convolution = nn.Conv3d(24, 24, 3, padding=1).to(memory_format=layout)  # type: ignore[call-overload]

    def gradient() -> torch.Tensor:
        convolution.zero_grad()
        convolution(maps).float().square().mean().backward()
        assert convolution.weight.grad is not None
        return convolution.weight.grad.clone()

    expected = gradient()
    for _ in range(40):
        # What is freed here is what a careless kernel reads.
        del [torch.full((size,), 1e30) for size in (1000, 20_000, 70_000, 300_000)][:]
        with sound_bf16("cpu"):
            found = gradient()
        torch.testing.assert_close(found, expected, rtol=0.05, atol=0.02 * float(expected.abs().max()))


def test_elsewhere_it_is_bfloat16() -> None:
    convolution = nn.Conv3d(2, 2, 3, padding=1)
    with sound_bf16("cpu"):
        assert convolution(torch.zeros(1, 2, 4, 4, 4)).dtype == torch.bfloat16
        assert convolution(torch.zeros(1, 2, 2, 4, 4)).dtype == torch.float32
        assert nn.Conv3d(2, 2, 1)(torch.zeros(1, 2, 2, 4, 4)).dtype == torch.bfloat16
