from __future__ import annotations

import json

import pytest
import safetensors.torch
import torch

from models.errors import InvalidRelease
from models.network.weights import head_from_bytes, head_to_bytes, trunk_from_bytes, trunk_to_bytes
from tests.unit.models.network.conftest import EVERY_TAP


def test_a_head_comes_back_bit_for_bit(full_head):
    again = head_from_bytes(head_to_bytes(full_head))
    assert again.spec == EVERY_TAP
    for name, tensor in full_head.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor)


def test_a_trunk_read_back_writes_the_same_bytes(trunk):
    content = trunk_to_bytes(trunk)
    again = trunk_from_bytes(content)
    assert trunk_to_bytes(again) == content
    assert not any(p.requires_grad for p in again.parameters())
    for name, tensor in trunk.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=1e-3, atol=1e-6)


def test_equal_weights_are_equal_bytes(full_head):
    assert len({head_to_bytes(full_head) for _ in range(5)}) == 1


def _changed(content: bytes, change) -> bytes:
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return safetensors.torch.save(change(safetensors.torch.load(content)), header["__metadata__"])


@pytest.mark.parametrize(
    "change",
    [
        lambda t: {k: v for k, v in t.items() if k != "logit.bias"},
        lambda t: {**t, "stranger": torch.zeros(1)},
        lambda t: {**t, "logit.bias": torch.zeros(2)},
        lambda t: {**t, "logit.bias": torch.full((1,), float("nan"))},
    ],
    ids=["missing", "unknown", "shape", "nan"],
)
def test_a_wrong_tensor_is_refused(full_head, change):
    with pytest.raises(InvalidRelease):
        head_from_bytes(_changed(head_to_bytes(full_head), change))


@pytest.mark.parametrize("content", [b"", b"text", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_what_is_no_weights_file_is_refused(content):
    with pytest.raises(InvalidRelease):
        trunk_from_bytes(content)


def test_a_cut_file_and_a_head_for_a_trunk_are_refused(full_head):
    content = head_to_bytes(full_head)
    with pytest.raises(InvalidRelease):
        head_from_bytes(content[:-1])
    with pytest.raises(InvalidRelease, match="organloop-head-1"):
        trunk_from_bytes(content)
