from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from models.errors import InvalidRelease
from models.network.norm import InstanceNorm
from models.network.trunk import _convolution
from models.network.trunk_kinds import OF_MONAI, build_trunk
from tests.conftest import ROOT
from tests.unit.models.network.conftest import SMALL


@pytest.mark.parametrize(
    ("spec", "side", "features", "coarse", "pooled"),
    [
        (SMALL, 16, 5, (6, 8, 10), 14),
        ({"kind": "unet"}, 16, 32, (32, 64, 128), 144),
        ({"kind": "swin_unetr", "feature_size": 12}, 64, 12, (12, 24, 48), 192),
    ],
)
def test_outputs_have_the_sizes_the_trunk_declares(spec, side, features, coarse, pooled):
    trunk = build_trunk(spec).eval()
    with torch.inference_mode():
        output = trunk(torch.rand(1, 1, side, side, side))
    assert (trunk.feature_channels, trunk.coarse_channels, trunk.global_channels) == (
        features,
        coarse,
        pooled,
    )
    assert output.features.shape == (1, features, side, side, side)
    assert [tuple(m.shape[1:]) for m in output.coarse] == [
        (channels, *[side >> level] * 3) for level, channels in enumerate(coarse, 1)
    ]
    assert output.global_feature.shape == (1, pooled)
    assert list(output.by_name()) == ["features", "coarse_1", "coarse_2", "coarse_3", "global"]


def test_a_trunk_is_built_again_from_its_spec():
    trunk = build_trunk(SMALL)
    again = build_trunk(trunk.spec)
    assert again.spec == trunk.spec
    assert {n: t.shape for n, t in again.state_dict().items()} == {
        n: t.shape for n, t in trunk.state_dict().items()
    }


@pytest.mark.parametrize("strides", [1, 2])
def test_a_convolution_block_is_monai_s_bit_for_bit(strides):
    from monai.networks.blocks import Convolution

    torch.manual_seed(3)
    ours = _convolution(2, 5, strides)
    torch.manual_seed(3)
    theirs = Convolution(3, 2, 5, strides=strides, adn_ordering="NA", act="relu", norm="instance")
    theirs.adn.N = InstanceNorm(5)  # MONAI's has no weights by default
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    maps = torch.rand(1, 2, 8, 10, 12)
    assert torch.equal(ours(maps), theirs(maps))


def test_who_works_with_our_own_trunk_does_not_pay_for_importing_monai():
    program = """
import sys
import services.releases.exporter
from models.network.trunk_kinds import build_trunk
build_trunk({"kind": "unet"})
assert "monai" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_each_kind_of_monai_has_a_trunk():
    from models.network.imported_trunks import IMPORTED_TRUNKS

    assert set(IMPORTED_TRUNKS) == OF_MONAI


def test_a_window_is_answered_alike_whatever_else_is_in_the_batch(trunk):
    windows = torch.rand(2, 1, 16, 16, 16)
    together, alone = trunk(windows), trunk(windows[1:])
    for a, b in zip(together.by_name().values(), alone.by_name().values(), strict=True):
        torch.testing.assert_close(a[1:], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec", [{}, {"kind": "resnet"}, {"kind": "unet", "depth": 3}])
def test_an_unknown_trunk_is_refused(spec):
    with pytest.raises(InvalidRelease):
        build_trunk(spec)


def test_the_quick_norm_equals_torch_forward_and_backward():
    quick, plain = InstanceNorm(3).double(), nn.InstanceNorm3d(3, affine=True).double()
    with torch.no_grad():
        quick.weight.copy_(torch.rand(3))
        quick.bias.copy_(torch.rand(3))
    plain.load_state_dict(quick.state_dict())
    maps = torch.randn(2, 3, 5, 6, 7).double() + 2
    upstream = torch.randn_like(maps)
    results = []
    for norm in (quick, plain):
        leaf = maps.clone().requires_grad_()
        normed = norm(leaf)
        normed.backward(upstream)
        results.append((normed, leaf.grad, norm.weight.grad, norm.bias.grad))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
