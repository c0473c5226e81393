"""Weights are taken whatever wraps their names; what is not the network of the plans is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.errors import Refused
from models.network.checkpoints.nnunet.reading import read_nnunet
from models.network.checkpoints.nnunet.weights import read_weights
from tests.support.nnunet import KINDS, changed_copy, saved_values

State = dict[str, Tensor]
CONV = "encoder.stages.0.0.convs.0.conv.weight"
ALIASES = (
    "encoder.stages.0.0.convs.0.all_modules.0.weight",
    "decoder.encoder.stages.0.0.convs.0.conv.weight",
    "decoder.encoder.stages.0.0.convs.0.all_modules.0.weight",
)


def with_weights(change: Callable[[State], Any]) -> Callable[[dict[str, Any]], None]:
    def changed(values: dict[str, Any]) -> None:
        values["network_weights"] = change(dict(values["network_weights"]))

    return changed


@pytest.mark.parametrize("kind", KINDS)
def test_each_tensor_is_taken_under_one_of_its_names(kind: str, genuine: Path) -> None:
    state, network = saved_values(genuine / kind)["network_weights"], read_nnunet(genuine / kind)
    own = network.trunk.state_dict()
    tensors = read_weights(state)
    assert len(tensors) < 0.4 * len(state)
    assert len(tensors) == len(own) + 2 + network.source.left_out
    assert all(torch.equal(own[name], state[name]) for name in own)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_a_wrapper_before_the_names_makes_no_difference(prefix: str, genuine: Path) -> None:
    state = saved_values(genuine / "plain")["network_weights"]
    plain, wrapped = read_weights(state), read_weights({f"{prefix}{name}": state[name] for name in state})
    assert wrapped.keys() == plain.keys()
    assert all(torch.equal(wrapped[name], plain[name]) for name in plain)


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("change", [lambda t: t + 1e-6, lambda t: t[:, :, 1:], lambda t: -0.0 * t])
def test_names_of_one_tensor_that_differ_are_refused(alias, change, genuine, tmp_path):
    folder = changed_copy(
        genuine / "plain",
        tmp_path / "copy",
        with_weights(lambda state: state | {alias: change(state[alias]).clone()}),
    )
    with pytest.raises(Refused, match=r"encoder\.stages\.0\.0\.convs\.0\.conv\.weight") as refusal:
        read_nnunet(folder)
    assert refusal.value.code == "contradictory-checkpoint"


def without(state: State, *names: str) -> State:
    return {name: tensor for name, tensor in state.items() if name not in names}


def everywhere(state: State, change: Callable[[Tensor], Tensor]) -> State:
    return state | {name: change(state[CONV]) for name in (CONV, *ALIASES)}


LAST = "decoder.seg_layers.1.weight"


@pytest.mark.parametrize(
    ("change", "code", "told"),
    [
        (lambda s: without(s, CONV, *ALIASES), "checkpoint-mismatch", CONV),
        (lambda s: without(s, LAST), "checkpoint-mismatch", LAST),
        (
            lambda s: s | {"decoder.seg_layers.2.weight": s[LAST].clone()},
            "checkpoint-mismatch",
            "seg_layers.2",
        ),
        (lambda s: s | {"stranger": torch.zeros(1)}, "checkpoint-mismatch", "stranger"),
        (lambda s: s | {LAST: s[LAST][:3].clone()}, "checkpoint-mismatch", "(3, 4, 1, 1, 1)"),
        (lambda s: everywhere(s, lambda t: t[..., :1].clone()), "checkpoint-mismatch", "(4, 1, 3, 3, 1)"),
        (lambda s: everywhere(s, lambda t: t.double()), "bad-weights", "float64"),
        (lambda s: {n: t.half() for n, t in s.items()}, "bad-weights", "float16"),
        (lambda s: everywhere(s, lambda t: t * float("inf")), "bad-weights", CONV),
        (lambda s: s | {LAST: s[LAST] * float("nan")}, "bad-weights", LAST),
        (lambda s: s | {LAST: torch.zeros(1).expand(s[LAST].shape)}, "unreadable-checkpoint", LAST),
        (lambda s: s | {LAST: s[LAST].to_sparse()}, "unreadable-checkpoint", LAST),
        (lambda s: s | {LAST: 3}, "unreadable-checkpoint", "weights"),
        (lambda s: {}, "unreadable-checkpoint", "weights"),
        (lambda s: [1], "unreadable-checkpoint", "weights"),
    ],
)
def test_what_is_not_the_network_of_the_plans_is_refused_by_name(change, code, told, genuine, tmp_path):
    folder = changed_copy(genuine / "plain", tmp_path / "copy", with_weights(change))
    with pytest.raises(Refused) as refusal:
        read_nnunet(folder)
    assert refusal.value.code == code
    assert told in refusal.value.detail


def test_labels_of_another_number_than_the_rows_are_refused(genuine: Path, tmp_path: Path) -> None:
    folder = changed_copy(
        genuine / "plain", tmp_path / "copy", dataset=lambda said: said["labels"].update(pancreas=4)
    )
    with pytest.raises(Refused, match=r"seg_layers\.1\.weight is \(4, 4, 1, 1, 1\), not \(5, 4") as refusal:
        read_nnunet(folder)
    assert refusal.value.code == "checkpoint-mismatch"


def test_outputs_of_coarser_stages_may_be_missing(genuine: Path, tmp_path: Path) -> None:
    coarser = ("decoder.seg_layers.0.weight", "decoder.seg_layers.0.bias")
    folder = changed_copy(
        genuine / "plain", tmp_path / "copy", with_weights(lambda state: without(state, *coarser))
    )
    assert read_nnunet(folder).source.left_out == 0
