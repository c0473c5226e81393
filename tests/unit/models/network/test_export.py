from __future__ import annotations

import io
import warnings
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from models.contract import HEAD_LOGIT, HEAD_SPREAD
from models.errors import InvalidRelease
from models.network.export import export_head, export_trunk, onnxruntime_engine
from models.network.heads import HeadSpec, build_head
from models.network.members import join_members, with_spread
from models.network.norm import InstanceNorm
from models.network.prediction import torch_predict
from models.proof.parity import check_parity
from tests.unit.models.network.conftest import EVERY_TAP


@pytest.fixture
def heads():
    return {"liver": build_head(EVERY_TAP).eval(), "aorta": build_head(HeadSpec(5)).eval()}


@pytest.fixture
def windows(contract):
    random = np.random.default_rng(0)
    return [random.random((1, 1, *contract.window_shape), dtype=np.float32) for _ in range(2)]


def test_an_engine_on_the_exports_answers_like_torch(trunk, heads, contract, windows):
    engine = onnxruntime_engine(
        export_trunk(trunk, contract), {organ: export_head(head, contract) for organ, head in heads.items()}
    )
    parity = check_parity(torch_predict(trunk, heads, contract), contract, engine, windows)
    assert [one.organ for one in parity] == ["liver", "aorta"]
    assert max(one.max_logit_difference for one in parity) < 1e-4


def test_labels_that_flip_are_refused(trunk, heads, contract, windows):
    predict = torch_predict(trunk, heads, contract)

    def other(window):
        answer = predict(window)
        return answer._replace(logits=-answer.logits)

    with pytest.raises(InvalidRelease, match="change their label"):
        check_parity(predict, contract, other, windows)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda a: a._replace(member_spread={0: a.member_spread[0] + 0.01}), "deviation of liver differs"),
        (lambda a: a._replace(member_spread={0: a.member_spread[0] * np.nan}), "deviation of liver differs"),
        (lambda a: a._replace(member_spread={}), "members of other heads"),
        (lambda a: a._replace(global_feature=a.global_feature * 1.02), "the global feature differs"),
    ],
)  # fmt: skip
def test_what_flags_hang_on_is_compared_too(trunk, contract, windows, wrong, says):
    heads = {"liver": build_head(HeadSpec(5, members=3)).eval(), "aorta": build_head(HeadSpec(5)).eval()}
    predict = torch_predict(trunk, heads, contract)
    assert check_parity(predict, contract, predict, windows)[0].max_spread_difference == 0
    with pytest.raises(InvalidRelease, match=says):
        check_parity(predict, contract, lambda window: wrong(predict(window)), windows)


@pytest.mark.parametrize("wrong", [0.02, float("nan")])
def test_a_head_whose_logits_differ_is_refused_though_its_organ_is_nowhere(
    trunk, heads, contract, windows, wrong
):
    predict = torch_predict(trunk, heads, contract)

    def absent(window):
        answer = predict(window)
        logits = answer.logits.copy()
        logits[1] = -abs(logits[1]) - 5
        return answer._replace(logits=logits)

    def engine(window):
        answer = absent(window)
        answer.logits[1, 2, 3, 4] += wrong
        return answer

    with pytest.raises(InvalidRelease, match="a logit of aorta differs"):
        check_parity(absent, contract, engine, windows)


def test_graphs_have_the_contracts_names_and_fixed_shapes(trunk, heads, contract):
    graph = onnx.load_from_string(export_trunk(trunk, contract)).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in (*graph.input, *graph.output)
    }
    assert shapes == {
        "window": [1, 1, 16, 24, 24],
        "features": [1, 5, 16, 24, 24],
        "coarse_1": [1, 6, 8, 12, 12],
        "coarse_2": [1, 8, 4, 6, 6],
        "coarse_3": [1, 10, 2, 3, 3],
        "global": [1, 14],
    }
    full = onnx.load_from_string(export_head(heads["liver"], contract)).graph
    plain = onnx.load_from_string(export_head(heads["aorta"], contract)).graph
    assert [i.name for i in full.input] == ["features", "coarse_1", "coarse_2", "coarse_3", "global"]
    assert [i.name for i in plain.input] == ["features"]
    assert [o.name for o in plain.output] == ["logit"]
    assert len(plain.node) < len(full.node)


def test_equal_modules_are_equal_bytes(trunk, full_head, contract):
    assert export_trunk(trunk, contract) == export_trunk(trunk, contract)
    assert export_head(full_head, contract) == export_head(full_head, contract)


def test_what_does_not_fit_the_contract_is_refused(trunk, full_head, contract):
    with pytest.raises(InvalidRelease, match="channels"):
        export_trunk(trunk, replace(contract, feature_channels=6))
    with pytest.raises(InvalidRelease, match="coarse_3"):
        export_head(full_head, replace(contract, coarse_channels=(6, 8)))
    with pytest.raises(InvalidRelease, match="does not fit"):
        export_head(full_head, replace(contract, feature_channels=6))


def test_an_exported_norm_is_as_exact_as_torch_on_a_window_of_full_size():
    """Summed up voxel by voxel, 400,000 values leave an error of 1e-3; the export must not."""
    torch.manual_seed(0)
    maps = torch.relu(torch.randn(1, 2, 48, 80, 104)) + torch.tensor([0.2, 5.0]).view(1, 2, 1, 1, 1)
    norm = InstanceNorm(2).eval()
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(norm, (maps,), buffer, input_names=["maps"], opset_version=17, dynamo=False)
    (answer,) = onnxruntime.InferenceSession(buffer.getvalue()).run(None, {"maps": maps.numpy()})
    with torch.inference_mode():
        exact = nn.InstanceNorm3d(2, affine=True).double()(maps.double()).numpy()
    assert np.abs(answer - exact).max() < 2e-5


def test_an_exported_head_with_members_says_how_far_they_disagree(trunk, contract, windows):
    head = join_members([build_head(EVERY_TAP) for _ in range(3)])
    graph = export_head(head, contract)
    assert [output.name for output in onnx.load_from_string(graph).graph.output] == [HEAD_LOGIT, HEAD_SPREAD]
    with torch.inference_mode():
        output = trunk(torch.from_numpy(windows[0]))
        logit, spread = with_spread(head.members(output))
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    given = {name: output.by_name()[name].numpy() for name in head.inputs}
    found = session.run([HEAD_LOGIT, HEAD_SPREAD], given)
    np.testing.assert_allclose(found[0], logit.numpy(), atol=1e-4)
    np.testing.assert_allclose(found[1], spread.numpy(), atol=1e-5)
    assert spread.max() > 0.01
