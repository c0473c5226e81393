"""What a graph costs is counted: by hand, by torch's own counter, and by a walk that is done another way."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch.utils.flop_counter import FlopCounterMode

from models.contract import TRUNK_FEATURES, TRUNK_INPUT, ModelContract
from models.errors import InvalidRelease
from models.network.export import export_head, export_trunk
from models.network.heads import HeadSpec, build_head
from models.network.trunk import TrunkOutput
from models.network.trunk_kinds import build_trunk
from services.inference.graph_cost import GraphCost, graph_cost, window_cost
from tests.support.tiny_networks import tiny_contract, tiny_head, tiny_trunk

X = (1, 4, 6, 8, 10)
ELEMENTS = 4 * 6 * 8 * 10
BYTES = 4 * ELEMENTS


def one(kind: str, out: tuple[int, ...], *weights: np.ndarray, inputs=(("x", X),), **attributes) -> bytes:
    """Return a graph of one operator on float32 inputs, then weights."""
    names = [f"w{n}" for n in range(len(weights))]
    node = helper.make_node(kind, [*(name for name, _ in inputs), *names], ["y"], **attributes)
    return graph([node], inputs, {"y": out}, dict(zip(names, weights, strict=True)))


def graph(nodes, inputs, outputs: dict, weights: dict) -> bytes:
    def value(name, shape):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    made = helper.make_graph(
        nodes,
        "one",
        [value(*pair) for pair in inputs],
        [value(*pair) for pair in outputs.items()],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString(deterministic=True)


def counted(onnx: bytes, **shapes: tuple[int, ...]) -> GraphCost:
    return graph_cost(onnx, shapes or {"x": X}, "a graph")


def weight(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


HALF = (1, 4, 3, 4, 5)
TWICE = (1, 4, 12, 16, 20)
SCALES = np.array([1, 1, 2, 2, 2], np.float32)


@pytest.mark.parametrize(
    ("onnx", "flops", "moved"),
    [
        # 7 maps of 6 x 8 x 10, each voxel a sum of 4 x 27 products
        (
            one("Conv", (1, 7, 6, 8, 10), weight(7, 4, 3, 3, 3), pads=[1] * 6),
            2 * 7 * 480 * 4 * 27,
            BYTES + 4 * 7 * 480 + 4 * 7 * 4 * 27,
        ),
        # strides 2: an eighth of the voxels
        (
            one("Conv", (1, 7, 3, 4, 5), weight(7, 4, 2, 2, 2), strides=[2] * 3),
            2 * 7 * 60 * 4 * 8,
            BYTES + 4 * 7 * 60 + 4 * 7 * 4 * 8,
        ),
        # two groups: each map sees 2 of the 4
        (
            one("Conv", (1, 6, 6, 8, 10), weight(6, 2, 1, 1, 1), group=2),
            2 * 6 * 480 * 2,
            BYTES + 4 * 6 * 480 + 4 * 12,
        ),
        # each of 4 x 480 elements is spread over 3 maps x 8
        (
            one("ConvTranspose", (1, 3, 12, 16, 20), weight(4, 3, 2, 2, 2), strides=[2] * 3),
            2 * ELEMENTS * 3 * 8,
            BYTES + 4 * 3 * 3840 + 4 * 4 * 3 * 8,
        ),
        (one("MatMul", (1, 4, 6, 8, 5), weight(10, 5)), 2 * 4 * 6 * 8 * 5 * 10, BYTES + 4 * 960 + 200),
        (one("Relu", X), ELEMENTS, 2 * BYTES),
        (one("Add", X, weight(1, 4, 1, 1, 1)), ELEMENTS, 2 * BYTES + 16),
        (one("Sigmoid", X), 4 * ELEMENTS, 2 * BYTES),
        (one("Softmax", X, axis=1), 5 * ELEMENTS, 2 * BYTES),
        (one("AveragePool", HALF, kernel_shape=[2] * 3, strides=[2] * 3), ELEMENTS, BYTES + 4 * 240),
        (one("MaxPool", (1, 4, 4, 6, 8), kernel_shape=[3] * 3), 27 * 768, BYTES + 4 * 768),
        (one("Transpose", (1, 6, 8, 10, 4), perm=[0, 2, 3, 4, 1]), 0, 2 * BYTES + 40),
        (one("Reshape", (4, 480), np.array([4, 480])), 0, 0),
        (
            one("Resize", TWICE, np.zeros(0, np.float32), SCALES, mode="linear",
                coordinate_transformation_mode="half_pixel"),
            3 * 7 * 8 * ELEMENTS,
            None,
        ),
    ],
    ids=lambda value: None if isinstance(value, int) or value is None else "",
)  # fmt: skip
def test_an_operator_costs_what_a_hand_reckons(onnx: bytes, flops: int, moved: int | None) -> None:
    cost = counted(onnx)
    assert cost.flops == flops
    assert moved is None or cost.moved_bytes == moved


def test_an_operator_without_a_formula_is_an_error_not_zero() -> None:
    with pytest.raises(InvalidRelease, match=r"a graph holds the operator CumSum, of which nobody knows"):
        counted(one("CumSum", X, np.array(1)))


def test_a_shape_that_stays_open_and_an_input_nobody_gives_are_errors() -> None:
    with pytest.raises(InvalidRelease, match="no fixed shape"):
        counted(one("NonZero", (5, 3)))
    with pytest.raises(InvalidRelease, match=r"asks for \['x'\], there are \['window'\]"):
        counted(one("Relu", X), window=X)
    with pytest.raises(InvalidRelease, match="cannot be read"):
        counted(b"no graph")


def test_what_is_alive_at_once_is_let_go_with_its_last_reader() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),  # the same bytes
        helper.make_node("Sigmoid", ["b"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("Exp", ["d"], ["e"]),
    ]
    flat = (4, 480)
    straight = graph(nodes, [("x", X)], {"e": flat}, {"flat": np.array(flat)})
    assert counted(straight).live_bytes == 2 * BYTES
    kept = [
        *nodes[:-1],
        helper.make_node("Add", ["d", "b"], ["e"]),
    ]  # a, by its other name, waits for the end
    assert counted(graph(kept, [("x", X)], {"e": flat}, {"flat": np.array(flat)})).live_bytes == 3 * BYTES
    answers = {"e": flat, "a": X, "c": flat}  # answers stay
    assert counted(graph(nodes, [("x", X)], answers, {"flat": np.array(flat)})).live_bytes == 4 * BYTES


@st.composite
def networks(draw) -> list[tuple[int, ...]]:
    """Draw operators, each by the values it adds up, of those that are there before it."""
    return [
        tuple(draw(st.lists(st.integers(0, n), min_size=1, max_size=2)))
        for n in range(draw(st.integers(1, 8)))
    ]


@settings(max_examples=40, deadline=None)
@given(networks())
def test_what_is_alive_is_what_a_look_at_every_step_finds(reads: list[tuple[int, ...]]) -> None:
    """Of equal maps: at a step stand those made before it that are read from now on, and its own."""
    last = len(reads)
    used, todo = set(), [last]
    while todo:  # an operator that nothing needs is not in the graph
        step = todo.pop()
        if step and step not in used:
            used.add(step)
            todo += reads[step - 1]
    nodes = [
        helper.make_node("Relu", [f"v{read[0]}"], [f"v{n}"])
        if len(read) == 1
        else helper.make_node("Add", [f"v{i}" for i in read], [f"v{n}"])
        for n, read in enumerate(reads, 1)
        if n in used
    ]
    cost = graph_cost(graph(nodes, [("v0", X)], {f"v{last}": X}, {}), {"v0": X}, "a graph")
    assert cost.flops == ELEMENTS * len(used)
    order = sorted(used)
    if all(len({r for r in reads[n - 1] if r}) <= 1 for n in order):  # then no other order is possible
        most = max(
            1 + len({m for m in order if m < n and any(m in reads[k - 1] for k in order if k >= n)})
            for n in order
        )
        assert cost.live_bytes == most * BYTES
    assert BYTES <= cost.live_bytes <= len(used) * BYTES


def contract_of(trunk, window: tuple[int, int, int]) -> ModelContract:
    return ModelContract(
        organs=("liver",),
        spacing_mm=(3.0, 3.0, 3.0),
        hu_window=(-200.0, 300.0),
        window_shape=window,
        overlap=0.5,
        thresholds={"liver": 0.5},
        feature_channels=trunk.feature_channels,
        coarse_channels=trunk.coarse_channels,
        global_channels=trunk.global_channels,
    )


def by_torch(work) -> int:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        work()
    return counter.get_total_flops()


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "unet", "widths": [4, 6, 8, 10], "features": 5},
        {"kind": "text_driven_unet", "width": 16},
        {"kind": "segresnet", "filters": 8, "blocks_down": [1, 1, 1, 1]},
    ],
    ids=lambda spec: spec["kind"],
)
def test_products_of_a_trunk_are_those_that_torch_counts(spec: dict) -> None:
    trunk = build_trunk(spec).eval()
    contract = contract_of(trunk, (16, 16, 16))
    window = (1, 1, *contract.window_shape)
    cost = graph_cost(export_trunk(trunk, contract), {TRUNK_INPUT: window}, "the trunk")
    assert cost.products == by_torch(lambda: trunk(torch.zeros(window)))
    assert cost.flops < 1.2 * cost.products
    assert cost.answers[TRUNK_FEATURES] == (1, trunk.feature_channels, 16, 16, 16)


@pytest.mark.parametrize(
    "spec",
    [
        HeadSpec(4),
        HeadSpec(4, members=3, neighbourhood=True),
        HeadSpec(4, coarse=((1, 6),), global_channels=6),
        HeadSpec(4, block=4),
        HeadSpec(4, form="linear", neighbourhood=True),
        HeadSpec(4, global_channels=6, form="text-driven", coarse=((1, 6),)),
    ],
    ids=str,
)
def test_products_of_a_head_are_those_that_torch_counts(spec: HeadSpec) -> None:
    contract, head = tiny_contract(("liver",)), build_head(spec).eval()
    given = TrunkOutput(torch.zeros(1, 4, 16, 16, 16), (torch.zeros(1, 6, 8, 8, 8),), torch.zeros(1, 6))
    shapes = {name: tuple(tensor.shape) for name, tensor in given.by_name().items()}
    cost = graph_cost(export_head(head, contract), shapes, "a head")
    assert cost.products == by_torch(lambda: head(given))


def test_a_window_is_the_trunk_and_every_head_on_what_it_gave() -> None:
    contract = tiny_contract(("liver", "spleen"))
    trunk, heads = tiny_trunk(contract, 0), [tiny_head(contract, 1, coarse=True), tiny_head(contract, 2)]
    voxels = 16**3
    maps = {TRUNK_FEATURES: (1, 4, 16, 16, 16), "coarse_1": (1, 6, 8, 8, 8), "global": (1, 6)}
    whole = window_cost(contract, trunk, dict(zip(contract.organs, heads, strict=True)))
    parts = [
        graph_cost(trunk, {TRUNK_INPUT: (1, 1, 16, 16, 16)}, "trunk"),
        *(graph_cost(head, maps, "head") for head in heads),
    ]
    assert whole.flops == sum(part.flops for part in parts)
    assert whole.moved_bytes == sum(part.moved_bytes for part in parts)
    # by hand: two convolutions with ReLU, a bias, a mean; products alone
    assert parts[0].products == 2 * 4 * voxels * 27 + 2 * 6 * 512 * 4 * 8
    assert parts[0].flops == parts[0].products + 2 * 4 * voxels + 6 * 512 + 6 * 512
    assert parts[2].flops == 2 * voxels * 4 * 27 + voxels
    given = 4 * (4 * voxels + 6 * 512 + 6)
    assert parts[0].answer_bytes == given
    # alive beside the second head: the window, what the trunk gave, the first head's logit and spread
    second = 4 * voxels + given + 2 * 4 * voxels + parts[2].live_bytes
    first = 4 * voxels + given + parts[1].live_bytes
    assert whole.live_bytes == max(first, second)


def test_another_process_counts_the_same() -> None:
    program = (
        "from tests.support.tiny_networks import *\n"
        "from services.inference.graph_cost import window_cost\n"
        "c = tiny_contract()\n"
        "heads = dict(zip(c.organs, [tiny_head(c, 1, True), tiny_head(c, 2)]))\n"
        "print(window_cost(c, tiny_trunk(c, 0), heads))"
    )
    found = {
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    }
    contract = tiny_contract()
    heads = [tiny_head(contract, 1, True), tiny_head(contract, 2)]
    assert found == {
        f"{window_cost(contract, tiny_trunk(contract, 0), dict(zip(contract.organs, heads, strict=True)))}\n"
    }
