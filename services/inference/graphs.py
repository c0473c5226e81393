"""What an engine does to a network's graph, and asks of it, before it compiles it."""

from __future__ import annotations

import math
from collections.abc import Collection

from openvino import Layout, Model, Node
from openvino.passes import ConstantFolding, Manager
from openvino.preprocess import PrePostProcessor

_EACH_ELEMENT = {"Relu", "Sigmoid", "Sqrt", "Add", "Subtract", "Multiply", "Divide"}
_CONVOLUTIONS = {"Convolution", "GroupConvolution"}


def channels_last(model: Model, inputs: Collection[str] = (), outputs: Collection[str] = ()) -> Model:
    """Return a network some of whose maps are given, or answered, as (batch, k, j, i, channel).

    Convolutions compute them so: where both sides do, no map is turned round between two networks. What is
    computed stays the same, to the bit.
    """
    process = PrePostProcessor(model)
    sides = [(process.input, port, inputs) for port in model.inputs]
    sides += [(process.output, port, outputs) for port in model.outputs]
    for side, port, wanted in sides:
        name = port.get_any_name()
        if name in wanted:
            side(name).model().set_layout(Layout("NCDHW"))
            side(name).tensor().set_layout(Layout("NDHWC"))
    return process.build()


def only_convolved(model: Model) -> frozenset[str]:
    """Return the inputs that go into convolutions and nowhere else."""
    return frozenset(
        port.get_any_name()
        for port in model.inputs
        if all(target.get_node().get_type_name() == "Convolution" for target in port.get_target_inputs())
    )


def answers_voxel_by_voxel(model: Model, name: str) -> bool:
    """Tell whether a network's answer at a voxel depends on one of its maps at that voxel alone.

    Parameters
    ----------
    model
        Of fixed shapes.
    name
        Of the map, axes (batch, channel, k, j, i).

    Returns
    -------
    bool
        True where everything between the map and the answers is a 1x1x1 convolution, works on single
        elements, or takes a mean over channels. Of anything else nothing is claimed.
    """
    folded = model.clone()
    manager = Manager()
    manager.register_pass(ConstantFolding())  # leaves nothing that only computes with shapes
    manager.run_passes(folded)
    touched: set[str] = set()
    for node in folded.get_ordered_ops():
        own = node.get_friendly_name()
        if node.get_type_name() == "Parameter" and name in node.output(0).get_names():
            touched.add(own)
            continue
        sources = [node.input_value(n).get_node() for n in range(node.get_input_size())]
        others = [source for source in sources if source.get_friendly_name() not in touched]
        if len(others) == len(sources):
            continue
        if not _stays_at_its_voxel(node, others):
            return False
        touched.add(own)
    return bool(touched)


def _stays_at_its_voxel(node: Node, others: list[Node]) -> bool:
    """Tell it of one node, whose other operands do not come from the map."""
    kind = node.get_type_name()
    shapes = [tuple(other.output(0).shape) for other in others]
    if kind == "Result":
        return True
    if kind in _CONVOLUTIONS:
        steps = node.get_attributes()
        plain = {*steps["strides"]} == {1} and not {*steps["pads_begin"], *steps["pads_end"]} - {0}
        return plain and len(shapes) == 1 and math.prod(shapes[0][-3:]) == 1
    if kind in _EACH_ELEMENT:
        return all(math.prod(shape[-3:]) == 1 for shape in shapes)
    if kind == "ReduceMean" and node.get_attributes()["keep_dims"]:
        (axes,) = others
        return axes.get_type_name() == "Constant" and axes.data.ravel().tolist() == [1]
    return False
