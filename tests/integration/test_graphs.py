"""Heads asked slice by slice: which may be, and that no bit depends on it."""

from __future__ import annotations

import numpy as np
import openvino
import pytest
import torch

from models.contract import TRUNK_FEATURES
from models.network.export import export_head
from models.network.heads import HeadSpec, build_head
from models.release import Release
from services.inference import networks
from services.inference.engine import OpenVinoEngine
from services.inference.graphs import cut_to_slices
from tests.support.tiny_networks import tiny_contract, tiny_trunk

CONTRACT = tiny_contract(organs=("liver", "spleen", "aorta", "stomach"))
RELEASE = Release(1, None, "t", dict.fromkeys(CONTRACT.organs, "h"), CONTRACT)
TEXT = HeadSpec(4, global_channels=6, form="text-driven")
SLICED = [
    HeadSpec(4),
    HeadSpec(4, members=3),
    HeadSpec(4, global_channels=6),
    HeadSpec(4, form="linear"),
    TEXT,
]
WHOLE = [
    HeadSpec(4, neighbourhood=True),
    HeadSpec(4, coarse=((1, 6),)),
    HeadSpec(4, block=4),
    HeadSpec(4, form="linear", neighbourhood=True),
    HeadSpec(4, global_channels=6, form="text-driven", coarse=((1, 6),)),
]


def exported(spec: HeadSpec) -> bytes:
    torch.manual_seed(3)
    head = build_head(spec)
    with torch.no_grad():
        for weight in head.parameters():
            weight.copy_(torch.randn(weight.shape) * 0.3)
    return export_head(head.eval(), CONTRACT)


@pytest.mark.parametrize("spec", SLICED + WHOLE, ids=str)
def test_only_a_head_that_looks_at_no_neighbour_is_asked_slice_by_slice(spec: HeadSpec) -> None:
    model = openvino.Core().read_model(model=exported(spec), weights=b"")
    assert cut_to_slices(model, TRUNK_FEATURES, 2) == (spec in SLICED)
    assert tuple(model.output(0).shape) == (1, 1, 2 if spec in SLICED else 16, 16, 16)


@pytest.mark.parametrize(
    "specs", [SLICED[1:], [WHOLE[0], TEXT, WHOLE[4], SLICED[1]]], ids=["sliced", "mixed"]
)
def test_slices_and_threads_change_no_bit(specs: list[HeadSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = tiny_trunk(CONTRACT, 0)
    heads = dict(zip(CONTRACT.organs, map(exported, specs), strict=True))
    window = np.random.default_rng(1).random((1, 1, 16, 16, 16), dtype=np.float32)
    answers = []
    for room, threads in ((1, 1), (1, 2), (2**30, 2)):
        monkeypatch.setattr(networks, "SLICE_BYTES", room)
        answers.append(OpenVinoEngine(RELEASE, trunk, heads, threads).predict(window))
    monkeypatch.setattr(networks, "cut_to_slices", lambda *_: False)
    answers.append(OpenVinoEngine(RELEASE, trunk, heads, 2).predict(window))
    assert np.ptp(answers[0].logits) > 0.1
    for answer in answers[1:]:
        assert answer.logits.tobytes() == answers[0].logits.tobytes()
        assert [s.tobytes() for s in answer.member_spread.values()] == [
            s.tobytes() for s in answers[0].member_spread.values()
        ]


def test_a_head_that_fails_in_mid_window_leaves_none_running_on_memory_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads = dict(zip(CONTRACT.organs, map(exported, SLICED[:4]), strict=True))
    engine = OpenVinoEngine(RELEASE, tiny_trunk(CONTRACT, 0), heads, threads=2)
    window = np.random.default_rng(1).random((1, 1, 16, 16, 16), dtype=np.float32)
    expected = engine.predict(window).logits.tobytes()
    start, wait, running = networks.HeadNetwork.start, networks.HeadNetwork.wait, set()

    def started(head, *given):
        if running:
            raise RuntimeError("no memory")
        start(head, *given)
        running.add(head)

    def waited(head):
        wait(head)
        running.discard(head)

    with monkeypatch.context() as patched:
        patched.setattr(networks.HeadNetwork, "start", started)
        patched.setattr(networks.HeadNetwork, "wait", waited)
        with pytest.raises(RuntimeError, match="no memory"):
            engine.predict(window)
    assert not running
    assert engine.predict(window).logits.tobytes() == expected
