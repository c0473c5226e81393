"""What one pass through an exported graph costs, counted: the same figures on any machine, at any load.

A graph is read, given its fixed shapes, and what only computes with shapes is folded away; then its operators
are walked in order. Nothing is compiled and nothing is run. Of each operator three things are counted:

- *Floating point operations.* One multiplication and one addition are two, as `torch.utils.flop_counter` and
  most papers count. Sums, comparisons, roots and elementary functions (exp, erf, tanh) are one each, for each
  element. What an operator computes is defined in OpenVINO's operation specifications (opset 13).
- *Bytes moved.* Each operator reads what it is given once and writes what it makes once. An engine that fuses
  operators moves fewer, one whose cache is small more.
- *Bytes alive.* What an operator makes is alive until its last reader has run, and to the end if it is an
  answer. Beside each operator stand all that are alive then and what it makes; nothing is made in place.

Reshapes only name the same bytes anew: they are free. An operator without a formula is an error, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import openvino
from openvino import Model, Node, Output

from models.contract import TRUNK_INPUT, ModelContract
from models.errors import InvalidRelease
from services.inference.graphs import fold

Shape = tuple[int, ...]

NOTHING = frozenset({"Parameter", "Constant", "Result"})
"""What stands for a value that is there already."""

VIEWS = frozenset({"Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""What names the same bytes anew, by another shape or the same."""

MOVES = frozenset(
    {
        "Broadcast", "Concat", "Convert", "DepthToSpace", "Gather", "Pad", "Roll", "Slice", "SpaceToDepth",
        "Split", "StridedSlice", "Tile", "Transpose", "VariadicSplit",
    }
)  # fmt: skip
"""What only moves elements."""

PARTS = frozenset({"Gather", "Slice", "Split", "StridedSlice", "VariadicSplit"})
"""What reads no more of its first input than it gives."""

EACH_ELEMENT: Mapping[str, int] = {
    "Abs": 1, "Add": 1, "Clamp": 2, "Divide": 1, "Erf": 1, "Exp": 1, "LeakyRelu": 2, "Log": 1, "Maximum": 1,
    "Minimum": 1, "Multiply": 1, "Negative": 1, "PRelu": 2, "Power": 1, "Relu": 1, "Sqrt": 1, "Subtract": 1,
    "SquaredDifference": 2, "Tanh": 1,
    "Elu": 4,  # a comparison, exp, a subtraction, a product
    "Gelu": 5,  # x / 2 * (1 + erf(x / sqrt(2)))
    "Sigmoid": 4,  # 1 / (1 + exp(-x))
    "Swish": 5,  # x * sigmoid(x)
    "Softmax": 5,  # greatest, difference, exp, sum, quotient
    "MVN": 5,  # sum, difference, square, sum, quotient; the one root for each mean is left out
}  # fmt: skip
"""Operations for each element that is answered."""

REDUCTIONS = frozenset({"ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"})
"""One operation for each element that is read: of n elements n - 1 sums, and the division of a mean."""


@dataclass(frozen=True)
class GraphCost:
    """What one pass costs.

    Parameters
    ----------
    flops
        Floating point operations.
    products
        Those of convolutions and matrices alone, which `torch.utils.flop_counter` counts too.
    moved_bytes
        Read and written by all operators together, weights among them.
    live_bytes
        Most that stands at once of what operators make; neither inputs nor weights.
    answers
        Shape of each output, by name.
    answer_bytes
        Of all outputs together.
    """

    flops: int
    products: int
    moved_bytes: int
    live_bytes: int
    answers: Mapping[str, Shape]
    answer_bytes: int


def window_cost(contract: ModelContract, trunk: bytes, heads: Mapping[str, bytes]) -> GraphCost:
    """Count one window: the trunk, then one head after another on what the trunk gave.

    Parameters
    ----------
    contract
        Gives the window's shape.
    trunk, heads
        Exported graphs; by organ, in the contract's order, the heads that run.

    Returns
    -------
    GraphCost
        Alive are the window, what the trunk gave, the answers of the heads before, and what a graph makes.

    Raises
    ------
    InvalidRelease
        As `graph_cost`.
    """
    window = (1, 1, *contract.window_shape)
    first = graph_cost(trunk, {TRUNK_INPUT: window}, "the trunk")
    flops, products, moved, answered = first.flops, first.products, first.moved_bytes, 0
    given = 4 * math.prod(window)  # float32
    most = given + first.live_bytes
    for organ, head in heads.items():
        cost = graph_cost(head, first.answers, f"the head of {organ}")
        most = max(most, given + first.answer_bytes + answered + cost.live_bytes)
        answered += cost.answer_bytes
        flops, products, moved = flops + cost.flops, products + cost.products, moved + cost.moved_bytes
    return GraphCost(flops, products, moved, most, first.answers, first.answer_bytes + answered)


def graph_cost(onnx: bytes, shapes: Mapping[str, Shape], name: str) -> GraphCost:
    """Count one pass through a graph.

    Parameters
    ----------
    onnx
        The graph, as it is exported.
    shapes
        Of its inputs, by name; further ones are left alone.
    name
        Of the graph, for messages.

    Raises
    ------
    InvalidRelease
        If it cannot be read, a shape stays open, or an operator has no formula.
    """
    try:
        model = openvino.Core().read_model(model=onnx, weights=b"")
        asked = [port.get_any_name() for port in model.inputs]
        unknown = [port for port in asked if port not in shapes]
        if unknown:
            raise InvalidRelease(f"{name} asks for {unknown}, there are {sorted(shapes)}")
        model.reshape({port: shapes[port] for port in asked})
        fold(model)
    except RuntimeError as error:
        raise InvalidRelease(f"{name} cannot be read: {error}") from error
    return _walked(model, name)


def _walked(model: Model, name: str) -> GraphCost:
    nodes = list(model.get_ordered_ops())
    flops = products = moved = 0
    for node in nodes:
        if any(port.get_partial_shape().is_dynamic for port in node.outputs()):
            raise InvalidRelease(f"{name}: what {node.get_type_name()} gives has no fixed shape")
        counted = _flops(node, name)
        flops += counted
        products += counted if node.get_type_name() in PRODUCTS else 0
        moved += _moved(node)
    answers = {port.get_any_name(): _shape(port) for port in model.outputs}
    held = sum(map(_bytes, model.outputs))
    return GraphCost(flops, products, moved, _most_alive(nodes), answers, held)


def _flops(node: Node, name: str) -> int:
    kind = node.get_type_name()
    if kind in NOTHING | VIEWS | MOVES:
        return 0
    if kind in EACH_ELEMENT:
        return EACH_ELEMENT[kind] * _elements(node.output(0))
    if kind in REDUCTIONS:
        return _elements(node.input_value(0))
    formula = PRODUCTS.get(kind) or OTHERS.get(kind)
    if formula is None:
        raise InvalidRelease(f"{name} holds the operator {kind}, of which nobody knows what it costs")
    return formula(node)


def _convolution(node: Node) -> int:
    """Each answer is a sum of products over a kernel; weights (out, in, *kernel)."""
    return 2 * _elements(node.output(0)) * math.prod(_shape(node.input_value(1))[1:])


def _group_convolution(node: Node) -> int:
    """Weights (group, out, in, *kernel)."""
    return 2 * _elements(node.output(0)) * math.prod(_shape(node.input_value(1))[2:])


def _transposed(node: Node) -> int:
    """Each element that is read is spread over a kernel; weights (in, out, *kernel)."""
    return 2 * _elements(node.input_value(0)) * math.prod(_shape(node.input_value(1))[1:])


def _group_transposed(node: Node) -> int:
    """Weights (group, in, out, *kernel)."""
    return 2 * _elements(node.input_value(0)) * math.prod(_shape(node.input_value(1))[2:])


def _matrices(node: Node) -> int:
    """Each answer is a sum of products over the axis that both share."""
    first = _shape(node.input_value(0))
    shared = first[-2] if node.get_attributes()["transpose_a"] and len(first) > 1 else first[-1]
    return 2 * _elements(node.output(0)) * shared


def _pooled(node: Node) -> int:
    """One operation for each element under a kernel, as of a reduction; padding counts."""
    return _elements(node.output(0)) * math.prod(node.get_attributes()["kernel"])


def _interpolated(node: Node) -> int:
    """Between two neighbours, difference, product and sum; over d axes 2^d - 1 times. The nearest is free."""
    mode = node.get_attributes()["mode"]
    before, after = _shape(node.input_value(0)), _shape(node.output(0))
    if mode == "nearest":
        return 0
    if mode not in ("linear", "linear_onnx"):
        raise InvalidRelease(f"nobody knows what an interpolation of mode {mode} costs")
    axes = sum(n != m for n, m in zip(before, after, strict=True))
    return 3 * (2**axes - 1) * _elements(node.output(0))


def _normalised(node: Node) -> int:
    """As MVN, and for each element a product and a sum."""
    return 7 * _elements(node.output(0))


PRODUCTS: Mapping[str, Callable[[Node], int]] = {
    "Convolution": _convolution,
    "GroupConvolution": _group_convolution,
    "ConvolutionBackpropData": _transposed,
    "GroupConvolutionBackpropData": _group_transposed,
    "MatMul": _matrices,
}
OTHERS: Mapping[str, Callable[[Node], int]] = {
    "AvgPool": _pooled,
    "MaxPool": _pooled,
    "Interpolate": _interpolated,
    "GroupNormalization": _normalised,
}


def _moved(node: Node) -> int:
    kind = node.get_type_name()
    if kind in NOTHING | VIEWS:
        return 0
    written = sum(map(_bytes, _made(node)))
    read = [_bytes(node.input_value(n)) for n in range(node.get_input_size())]
    if kind in PARTS:
        read[0] = min(read[0], written)
    return written + sum(read)


def _most_alive(nodes: list[Node]) -> int:
    """Walk the operators in order; a value is let go when its last reader has run."""
    owner: dict[tuple[str, int], tuple[str, int]] = {}  # of a value, the value whose bytes it names
    size: dict[tuple[str, int], int] = {}
    last: dict[tuple[str, int], int] = {}
    made: list[list[tuple[str, int]]] = []
    for step, node in enumerate(nodes):
        kind = node.get_type_name()
        sources = [owner[_value(node.input_value(n))] for n in range(node.get_input_size())]
        for source in sources:
            last[source] = len(nodes) if kind == "Result" else max(step, last.get(source, 0))
        made.append([])
        for port in _made(node):
            value = _value(port)
            owner[value] = sources[0] if kind in VIEWS else value
            if kind not in NOTHING | VIEWS:
                size[value] = _bytes(port)
                last[value] = step
                made[-1].append(value)
    let_go: dict[int, int] = {}
    for value, held in size.items():
        let_go[last[value]] = let_go.get(last[value], 0) + held
    alive = most = 0
    for step, values in enumerate(made):
        alive += sum(size[value] for value in values)
        most = max(most, alive)
        alive -= let_go.get(step, 0)
    return most


def _made(node: Node) -> list[Output]:
    """Return what an operator makes for somebody; some can give more than anyone asks for."""
    return [port for port in node.outputs() if port.get_target_inputs()]


def _value(port: Output) -> tuple[str, int]:
    return port.get_node().get_name(), port.get_index()


def _shape(port: Output) -> Shape:
    return tuple(int(n) for n in port.get_shape())


def _elements(port: Output) -> int:
    return math.prod(_shape(port))


def _bytes(port: Output) -> int:
    return -(-_elements(port) * port.get_element_type().bitwidth // 8)
