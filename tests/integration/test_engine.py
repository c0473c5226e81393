"""The OpenVINO engine: networks that do not fit the contract are named, never run."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from models.contract import HEAD_LOGIT, HEAD_SPREAD, TRUNK_GLOBAL, TRUNK_INPUT
from models.errors import InvalidRelease
from models.release import Release
from services.inference.engine import OpenVinoEngine
from tests.support.tiny_networks import tiny_contract, tiny_head, tiny_trunk

CONTRACT = tiny_contract()
RELEASE = Release(1, None, "t", {"liver": "l", "spleen": "s"}, CONTRACT)


def heads() -> dict[str, bytes]:
    return {"liver": tiny_head(CONTRACT, 1, coarse=True), "spleen": tiny_head(CONTRACT, 2)}


def test_the_engine_answers_as_onnx_runtime_does() -> None:
    window = np.random.default_rng(0).random((1, 1, 16, 16, 16), dtype=np.float32)
    trunk, head = tiny_trunk(CONTRACT, 0), heads()
    answer = OpenVinoEngine(RELEASE, trunk, head, threads=1).predict(window)
    logits, feature, members = answer.logits, answer.global_feature, answer.member_spread
    session = onnxruntime.InferenceSession(trunk)
    outputs = dict(
        zip([o.name for o in session.get_outputs()], session.run(None, {TRUNK_INPUT: window}), strict=True)
    )
    assert list(members) == [0]
    np.testing.assert_allclose(feature, outputs[TRUNK_GLOBAL][0], rtol=1e-5)
    for row, organ in zip(logits, CONTRACT.organs, strict=True):
        judge = onnxruntime.InferenceSession(head[organ])
        expected = judge.run([HEAD_LOGIT], {i.name: outputs[i.name] for i in judge.get_inputs()})[0][0, 0]
        np.testing.assert_allclose(row, expected, atol=1e-5)
    judge = onnxruntime.InferenceSession(head["liver"])
    expected = judge.run([HEAD_SPREAD], {i.name: outputs[i.name] for i in judge.get_inputs()})[0][0, 0]
    np.testing.assert_allclose(members[0], expected, atol=1e-6)


def test_a_network_that_is_no_onnx_is_named() -> None:
    with pytest.raises(InvalidRelease, match=r"head spleen .* cannot be compiled"):
        OpenVinoEngine(RELEASE, tiny_trunk(CONTRACT, 0), {**heads(), "spleen": b"junk"}, threads=1)


def test_a_convolutional_head_exported_for_another_window_is_compiled_for_the_contracts() -> None:
    other = tiny_head(tiny_contract(window=(24, 16, 16)), 2)
    engine = OpenVinoEngine(RELEASE, tiny_trunk(CONTRACT, 0), {**heads(), "spleen": other}, threads=1)
    assert engine.predict(np.zeros((1, 1, 16, 16, 16), np.float32))[0].shape == (2, 16, 16, 16)


def test_a_head_that_asks_for_what_the_trunk_does_not_give_is_refused() -> None:
    with pytest.raises(InvalidRelease, match="head liver asks for"):
        OpenVinoEngine(
            RELEASE, tiny_trunk(CONTRACT, 0), {**heads(), "liver": tiny_trunk(CONTRACT, 0)}, threads=1
        )


def test_a_missing_head_is_refused() -> None:
    with pytest.raises(InvalidRelease, match="exactly one head"):
        OpenVinoEngine(RELEASE, tiny_trunk(CONTRACT, 0), {"liver": heads()["liver"]}, threads=1)


def test_an_engine_that_gives_its_memory_back_gives_the_same_bits() -> None:
    windows = np.random.default_rng(4).random((2, 1, 1, 16, 16, 16), dtype=np.float32)
    plain, lean = (
        OpenVinoEngine(RELEASE, tiny_trunk(CONTRACT, 0), heads(), threads=2, lean=lean)
        for lean in (False, True)
    )
    for window in windows:
        one, other = plain.predict(window), lean.predict(window)
        assert one.logits.tobytes() == other.logits.tobytes()
        assert one.global_feature.tobytes() == other.global_feature.tobytes()
