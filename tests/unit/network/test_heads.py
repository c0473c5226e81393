from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.errors import InvalidRelease
from models.network.heads import HeadSpec, build_head, joint_logits, with_taps
from models.network.sampling import VoxelSample, gather_taps
from tests.unit.network.conftest import EVERY_TAP

PLAIN = HeadSpec(5)
TAPS = [
    {"neighbourhood": True},
    {"coarse": ((1, 6),)},
    {"coarse": ((1, 6), (2, 8), (3, 10))},
    {"global_channels": 14},
    {"neighbourhood": True, "coarse": ((3, 10),), "global_channels": 14},
]


@pytest.mark.parametrize("taps", TAPS)
def test_a_new_tap_changes_no_output_bit(output, taps):
    head = build_head(PLAIN)
    richer = with_taps(head, replace(PLAIN, **taps))
    assert torch.equal(richer(output), head(output))


def test_a_head_names_only_what_it_uses():
    assert build_head(PLAIN).inputs == ("features",)
    assert build_head(replace(PLAIN, coarse=((2, 8),), global_channels=14)).inputs == (
        "features",
        "coarse_2",
        "global",
    )


def test_an_absent_tap_costs_no_parameter():
    count = {spec: sum(p.numel() for p in build_head(spec).parameters()) for spec in (PLAIN, EVERY_TAP)}
    assert count[PLAIN] == 5 * 8 + 8 + 8 * 8 + 8 + 8 + 1
    assert count[EVERY_TAP] == count[PLAIN] + 5 * 8 * 27 + (6 + 8 + 10) * 8 + 14 * 8


def test_taps_cannot_be_taken_away(full_head):
    with pytest.raises(ValueError, match="does not contain"):
        with_taps(full_head, PLAIN)


def test_an_unknown_form_is_refused():
    with pytest.raises(InvalidRelease, match="no head of form"):
        build_head(replace(PLAIN, form="oracle"))


def test_single_voxels_are_answered_as_the_whole_window(full_head, output, contract):
    index = np.array([0, 1, 23, 24, 575, 576, 5000, 16 * 24 * 24 - 1])  # corners, edges, inside
    taps = gather_taps(output, EVERY_TAP, VoxelSample(index, np.ones(len(index), np.float32)))
    expected = full_head(output).flatten()[index]
    torch.testing.assert_close(full_head.on_voxels(taps), expected, rtol=1e-4, atol=1e-5)


def test_a_tap_that_is_not_given_is_an_error(full_head, output):
    taps = gather_taps(output, PLAIN, VoxelSample(np.array([7]), np.ones(1, np.float32)))
    with pytest.raises((ValueError, KeyError)):
        full_head.on_voxels(taps)


def test_heads_run_together_answer_and_learn_as_alone(output):
    heads = [build_head(PLAIN) for _ in range(3)]
    together = joint_logits(heads, output.features)
    for n, head in enumerate(heads):
        torch.testing.assert_close(together[0, :, n], head(output).flatten(), rtol=1e-4, atol=1e-5)
    together[..., 1].sum().backward()
    gradients = [sum(float(p.grad.abs().sum()) for p in head.parameters()) for head in heads]
    assert gradients[0] == gradients[2] == 0
    assert gradients[1] > 0


def test_heads_share_no_tensor():
    heads = [build_head(EVERY_TAP) for _ in range(2)]
    places = [{p.data_ptr() for p in head.parameters()} for head in heads]
    assert not places[0] & places[1]
