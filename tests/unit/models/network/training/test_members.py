from __future__ import annotations

import numpy as np
import pytest
import torch

from models.body import body_mask
from models.masks import bounding_box
from models.network.heads import HeadSpec, build_head
from models.network.members import first_member
from models.network.training.members import MemberSettings, train_members
from models.network.training.train import TrainingCase
from models.network.weights import head_to_bytes

SETTINGS = MemberSettings(members=3, steps=5, batch_voxels=512, window_voxels=256)
LONGER = MemberSettings(members=2, steps=60, batch_voxels=512, window_voxels=256, learning_rate=3e-2)


def case(seed: int) -> TrainingCase:
    random = np.random.default_rng(seed)
    _, j, i = np.indices((20, 28, 28))
    tube = (j - random.integers(8, 20)) ** 2 + (i - 14) ** 2 < 16
    hu = (-90 + 280 * tube + random.normal(0, 5, tube.shape)).astype(np.int16)
    truth = np.stack([np.zeros_like(tube), tube]).astype(np.uint8) * 255
    return TrainingCase(hu, truth, bounding_box(body_mask(hu)))


@pytest.fixture
def heads():
    return {organ: build_head(HeadSpec(5)).requires_grad_(False).eval() for organ in ("liver", "aorta")}


def trained(trunk, heads, contract, settings=SETTINGS):
    return train_members(trunk, heads, [case(n) for n in range(2)], contract, settings, lambda _: None)


def test_further_members_come_after_those_that_are_there_and_are_trained_alike_again(trunk, heads, contract):
    found = trained(trunk, heads, contract)
    for organ, head in found.items():
        assert head.spec.members == 3
        assert head_to_bytes(first_member(head)) == head_to_bytes(heads[organ])
        first, second, third = head.state_dict()["features.weight"].chunk(3)
        assert not torch.equal(second, third)
        assert not torch.equal(first, second)
    anew = trained(trunk, heads, contract)
    for organ, head in found.items():
        assert head_to_bytes(anew[organ]) == head_to_bytes(head)


def test_further_members_learn_the_organ(trunk, heads, contract):
    head = trained(trunk, heads, contract, LONGER)["aorta"]
    study = case(9)
    window = torch.from_numpy((study.hu[:16, :24, :24].astype(np.float32) + 175) / 425)[None, None]
    inside = torch.from_numpy(study.truth[1, :16, :24, :24] > 0)
    with torch.inference_mode():
        logits = head.members(trunk(window))[0]
    further = logits[1]
    assert further[inside].mean() > further[~inside].mean() + 1
