from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.errors import InvalidRelease
from models.network.heads import HeadSpec, build_head, joint_logits, with_taps
from models.network.members import first_member, join_members, with_spread
from models.network.training.sampling import VoxelSample, gather_taps
from models.network.voxel_taps import VoxelTaps
from tests.unit.models.network.conftest import EVERY_TAP

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


def test_a_head_of_one_member_is_written_as_before_there_were_more():
    assert "members" not in PLAIN.to_json()
    more = replace(PLAIN, members=3)
    assert HeadSpec.from_json(more.to_json()) == more


@pytest.mark.parametrize("members", [2, 3])
def test_members_side_by_side_answer_as_each_alone(output, members):
    heads = [build_head(EVERY_TAP).eval() for _ in range(members)]
    joined = join_members(heads)
    alone = torch.cat([head(output) for head in heads], 1)
    torch.testing.assert_close(joined.members(output), alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(joined(output), alone.mean(1, keepdim=True), rtol=1e-4, atol=1e-5)
    logit, spread = with_spread(alone)
    torch.testing.assert_close(logit, joined(output), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(spread[:, 0], torch.sigmoid(alone).std(1, correction=0))


def test_joined_heads_keep_their_members_in_order(output):
    heads = [build_head(PLAIN) for _ in range(3)]
    together = join_members([join_members(heads[:2]), heads[2]])
    assert together.spec == replace(PLAIN, members=3)
    for name, tensor in join_members(heads).state_dict().items():
        assert torch.equal(tensor, together.state_dict()[name])


def test_single_voxels_are_answered_member_by_member_as_the_whole_window(output):
    joined = join_members([build_head(EVERY_TAP) for _ in range(3)])
    index = np.array([0, 24, 5000])
    taps = gather_taps(output, EVERY_TAP, VoxelSample(index, np.ones(3, np.float32)))
    expected = joined.members(output)[0].flatten(1)[:, index].T
    torch.testing.assert_close(joined.members_on_voxels(taps), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(joined.on_voxels(taps), expected.mean(1), rtol=1e-4, atol=1e-5)


def test_a_new_tap_of_all_members_changes_no_output_bit(output):
    joined = join_members([build_head(PLAIN) for _ in range(3)])
    richer = with_taps(joined, replace(joined.spec, neighbourhood=True, coarse=((1, 6),)))
    assert torch.equal(richer.members(output), joined.members(output))


def test_a_member_learns_nothing_from_anothers_logit(output):
    joined = join_members([build_head(PLAIN) for _ in range(2)]).requires_grad_(True)
    joined.members(output)[:, 1].sum().backward()
    for name, parameter in joined.named_parameters():
        first, second = parameter.grad.chunk(2)
        assert not first.any(), name
        assert second.any(), name


@pytest.mark.parametrize("form", ["text-driven", "linear"])
def test_forms_that_are_imported_have_one_member(form):
    with pytest.raises(InvalidRelease, match="cannot have 2 members"):
        build_head(replace(PLAIN, form=form, global_channels=14, members=2))


def test_heads_of_different_taps_are_no_members_of_one():
    with pytest.raises(InvalidRelease, match="heads of 2 kinds"):
        join_members([build_head(PLAIN), build_head(EVERY_TAP)])


def test_the_first_member_is_found_again_in_a_joined_head(output):
    heads = [build_head(EVERY_TAP) for _ in range(3)]
    alone = first_member(join_members(heads))
    assert alone.spec == EVERY_TAP
    assert torch.equal(alone(output), heads[0](output))


@pytest.mark.parametrize("form", ["text-driven", "convolutional"])
def test_weights_made_once_a_window_learn_what_weights_made_for_every_voxel_learn(form):
    head = build_head(replace(PLAIN, form=form, global_channels=14))
    window = torch.tensor([0, 0, 1, 2, 2, 2])
    context, features = torch.rand(3, 14), torch.rand(6, 5)
    shared = VoxelTaps(features, None, {}, context, window)
    apart = VoxelTaps(features, None, {}, context[window], torch.arange(6))
    found = []
    for taps in (shared, apart):
        head.zero_grad()
        logits = head.on_voxels(taps)
        (logits * torch.arange(6)).sum().backward()
        found.append((logits, *[parameter.grad.clone() for parameter in head.parameters()]))
    for one, other in zip(*found, strict=True):
        assert torch.allclose(one, other, rtol=1e-5, atol=1e-6)
