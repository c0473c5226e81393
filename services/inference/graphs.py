"""What an engine does to a network's graph, and asks of it, before it compiles it."""

from __future__ import annotations

import math
from collections.abc import Collection

from openvino import Layout, Model, Node, opset13
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


def fold(model: Model) -> None:
    """Leave nothing in a network that only computes with shapes; changed in place."""
    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)


def only_convolved(model: Model) -> frozenset[str]:
    """Return the inputs that go into convolutions and nowhere else."""
    return frozenset(
        port.get_any_name()
        for port in model.inputs
        if all(target.get_node().get_type_name() == "Convolution" for target in port.get_target_inputs())
    )


def cut_to_slices(model: Model, name: str, depth: int) -> bool:
    """Let a network answer so many slices of a map at a time, where that changes no voxel's answer.

    Parameters
    ----------
    model
        Of fixed shapes, batch 1; changed in place.
    name
        Of the map, axes (batch, channel, k, j, i).
    depth
        Slices along k.

    Returns
    -------
    bool
        False, and nothing changed, unless the answer at a voxel depends on the map at that voxel alone:
        unless everything between them is a 1x1x1 convolution or a matrix of channels by channels, works on
        single elements, takes a mean over channels, or lays voxels out in a row and back.
    """
    folded = model.clone()
    fold(folded)
    grid: tuple[int, ...] = ()
    touched: set[str] = set()
    backs: set[str] = set()  # nodes that lay a row of voxels out as the grid, and name its sides
    for node in folded.get_ordered_ops():
        own = node.get_friendly_name()
        if node.get_type_name() == "Parameter":
            if name in node.output(0).get_names():
                touched.add(own)
                grid = tuple(node.output(0).shape)[2:]
            continue
        sources = [node.input_value(n).get_node() for n in range(node.get_input_size())]
        on = [source.get_friendly_name() in touched for source in sources]
        if not any(on):
            continue
        if not _stays_at_its_voxel(node, sources, on, grid):
            return False
        touched.add(own)
        if node.get_type_name() == "Reshape" and tuple(node.output(0).shape)[2:] == grid:
            backs.add(own)
    fixed = {port.get_any_name(): tuple(port.shape) for port in model.inputs}
    for node in model.get_ordered_ops():
        if node.get_friendly_name() in backs:
            channels = int(node.output(0).shape[1])
            sides = opset13.constant([1, channels, -1, *grid[1:]], dtype="int64")
            node.input(1).replace_source_output(sides.output(0))
    model.reshape(fixed | {name: (*fixed[name][:2], depth, *grid[1:])})
    return True


def _stays_at_its_voxel(node: Node, sources: list[Node], on: list[bool], grid: tuple[int, ...]) -> bool:
    """Tell it of one node; `on` says which of its sources come from the map."""
    kind, steps = node.get_type_name(), node.get_attributes()
    others = [source for source, comes in zip(sources, on, strict=True) if not comes]
    shapes = [tuple(other.output(0).shape) for other in others]
    mapped = [tuple(s.output(0).shape) for s, comes in zip(sources, on, strict=True) if comes]
    in_a_row = {len(shape) for shape in mapped} == {3}
    if not in_a_row and {shape[2:] for shape in mapped} != {grid}:
        return False
    if in_a_row and {shape[2] for shape in mapped} != {math.prod(grid)}:
        return False
    if kind == "Result":
        return not in_a_row
    if kind in _CONVOLUTIONS:
        plain = {*steps["strides"]} == {1} and not {*steps["pads_begin"], *steps["pads_end"]} - {0}
        return plain and on == [True, False] and math.prod(shapes[0][-3:]) == 1
    if kind == "MatMul":
        return in_a_row and on == [False, True] and not (steps["transpose_a"] or steps["transpose_b"])
    if kind in _EACH_ELEMENT:
        return all(math.prod(shape[-1:] if in_a_row else shape[-3:]) == 1 for shape in shapes)
    if kind == "Reshape":
        after = tuple(node.output(0).shape)
        laid_out = (math.prod(grid),) if not in_a_row else grid
        return on == [True, False] and after == (*mapped[0][:2], *laid_out)
    if kind == "ReduceMean" and steps["keep_dims"]:
        return others[0].get_type_name() == "Constant" and others[0].data.ravel().tolist() == [1]
    return False
