"""A genuine network with all that is done round it, against what nnU-Net's own predictor said of a CT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.errors import Refused
from models.network.checkpoints.nnunet.reading import read_nnunet
from models.network.checkpoints.nnunet.release import Asked, take_apart
from models.nnunet.whole import evaluate
from tests.support.nnunet_references import AXES, answered, most_differing


def test_a_class_is_not_called_by_the_key_of_another_organ(genuine):
    network = read_nnunet(genuine / "plain")
    kept = take_apart(network, Asked("RAS"), ["liver", "-", "aorta"])
    assert kept.left_out == ("spleen",)
    with pytest.raises(Refused, match="liver is liver, not spleen") as refused:
        take_apart(network, Asked("RAS"), ["spleen", "liver", "aorta"])
    assert refused.value.code == "other-organ"
    assert refused.value.measured == {"organs": {"liver": "spleen", "spleen": "liver"}}


@pytest.mark.parametrize("kind", AXES)
def test_logits_and_labels_of_a_ct_are_those_of_the_genuine_predictor(kind, genuine, tmp_path):
    told = answered(genuine, kind, tmp_path)
    apart = take_apart(read_nnunet(genuine / kind), Asked(AXES[kind]))
    contract = apart.contract
    recipe = replace(contract.recipe, classes=("0", "1", "2", "3"))

    @torch.inference_mode()
    def network(window):
        return apart.trunk(torch.from_numpy(window)).frozen[0].numpy()

    spacing = recipe.along(contract.spacing_mm)
    found = evaluate(told.hu, told.geometry, recipe, spacing, contract.window_shape, network)
    with np.load(genuine / kind / "ct.npz") as recorded:
        logits = recorded["model_logits"]
    most = most_differing(genuine, kind)
    off = np.abs(found.logits.astype(np.float32) - logits)
    assert off.max() <= (0.02 if most else 0)
    labels = np.zeros(told.labels.shape, dtype=np.uint8)
    for number, mask in found.masks().items():
        labels[mask.dense()] = number
    assert np.count_nonzero(labels != told.labels) <= most


def test_what_becomes_of_a_voxel_claimed_twice_is_said_at_import(genuine):
    network = read_nnunet(genuine / "plain")
    kept = [take_apart(network, asked).contract for asked in (Asked("RAS"), Asked("RAS", conflicts="yield"))]
    assert [one.recipe.conflicts for one in kept] == ["overlap", "yield"]
    assert [one.to_json()["recipe"].get("conflicts") for one in kept] == [None, "yield"]
    regions = read_nnunet(genuine / "regions")
    organs = ["liver", "-", "-"]
    take_apart(regions, Asked("RAS"), organs)
    with pytest.raises(Refused) as refused:
        take_apart(regions, Asked("RAS", conflicts="yield"), organs)
    assert refused.value.code == "no-conflict"
