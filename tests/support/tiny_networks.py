"""Trunks and heads of a few hundred weights, as ONNX under the contract's names: quick to compile."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.calibration import Calibration
from models.contract import (
    HEAD_LOGIT,
    HEAD_SPREAD,
    TRUNK_COARSE,
    TRUNK_FEATURES,
    TRUNK_GLOBAL,
    TRUNK_INPUT,
    ModelContract,
)
from models.release import Release, sha256_hex
from services.releases.store import ReleaseStore

OPSET = 17
IR_VERSION = 9
COARSE = TRUNK_COARSE.format(1)


def tiny_contract(
    organs: tuple[str, ...] = ("liver", "spleen"),
    window: tuple[int, int, int] = (16, 16, 16),
    spacing_mm: tuple[float, float, float] = (3.0, 3.0, 3.0),
) -> ModelContract:
    """Return a contract with 4 features and one coarser map of 6 channels."""
    return ModelContract(
        organs=organs,
        spacing_mm=spacing_mm,
        hu_window=(-200.0, 300.0),
        window_shape=window,
        overlap=0.5,
        thresholds=dict.fromkeys(organs, 0.5),
        feature_channels=4,
        coarse_channels=(6,),
        global_channels=6,
    )


def tiny_trunk(contract: ModelContract, seed: int) -> bytes:
    """Return a trunk: two convolutions, the second at half resolution, and its average."""
    rng = np.random.default_rng(seed)
    k, j, i = contract.window_shape
    weights = {
        "w1": rng.normal(0, 0.5, (4, 1, 3, 3, 3)),
        "b1": rng.normal(0, 0.1, 4),
        "w2": rng.normal(0, 0.3, (6, 4, 2, 2, 2)),
        "shape": np.array([1, 6]),
    }
    nodes = [
        helper.make_node("Conv", [TRUNK_INPUT, "w1", "b1"], ["c1"], pads=[1] * 6),
        helper.make_node("Relu", ["c1"], [TRUNK_FEATURES]),
        helper.make_node("Conv", [TRUNK_FEATURES, "w2"], ["c2"], strides=[2, 2, 2]),
        helper.make_node("Relu", ["c2"], [COARSE]),
        helper.make_node("GlobalAveragePool", [COARSE], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "shape"], [TRUNK_GLOBAL]),
    ]
    return _graph(
        nodes,
        {TRUNK_INPUT: (1, 1, k, j, i)},
        {
            TRUNK_FEATURES: (1, 4, k, j, i),
            COARSE: (1, 6, k // 2, j // 2, i // 2),
            TRUNK_GLOBAL: (1, 6),
        },
        weights,
    )


def tiny_head(contract: ModelContract, seed: int, coarse: bool = False) -> bytes:
    """Return a head on the features; on the coarser map too where asked, which then has two members.

    The two are its logit with the coarser map and without: half their distance is their deviation.
    """
    rng = np.random.default_rng(seed)
    k, j, i = contract.window_shape
    inputs: dict[str, tuple[int, ...]] = {TRUNK_FEATURES: (1, 4, k, j, i)}
    outputs: dict[str, tuple[int, ...]] = {HEAD_LOGIT: (1, 1, k, j, i)}
    weights = {"w": rng.normal(0, 0.6, (1, 4, 3, 3, 3)), "b": rng.normal(0, 0.3, 1)}
    nodes = [helper.make_node("Conv", [TRUNK_FEATURES, "w", "b"], ["fine"], pads=[1] * 6)]
    if coarse:
        inputs[COARSE] = (1, 6, k // 2, j // 2, i // 2)
        weights["up"] = rng.normal(0, 0.4, (6, 1, 2, 2, 2))
        nodes.append(helper.make_node("ConvTranspose", [COARSE, "up"], ["raised"], strides=[2, 2, 2]))
        nodes.append(helper.make_node("Add", ["fine", "raised"], [HEAD_LOGIT]))
        outputs[HEAD_SPREAD] = outputs[HEAD_LOGIT]
        weights["half"] = np.array([0.5])
        nodes += [
            helper.make_node("Sigmoid", ["fine"], ["without"]),
            helper.make_node("Sigmoid", [HEAD_LOGIT], ["with"]),
            helper.make_node("Sub", ["with", "without"], ["apart"]),
            helper.make_node("Abs", ["apart"], ["distance"]),
            helper.make_node("Mul", ["distance", "half"], [HEAD_SPREAD]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["fine"], [HEAD_LOGIT]))
    return _graph(nodes, inputs, outputs, weights)


def publish_tiny(
    store: ReleaseStore,
    number: int,
    seeds: dict[str, int],
    parent: int | None = None,
    trunk_seed: int = 0,
    contract: ModelContract | None = None,
    calibration: Calibration | None = None,
) -> Release:
    """Publish a release whose heads differ by their seeds; bytes of weights are made up from the seed."""
    contract = contract or tiny_contract(tuple(seeds))
    trunk = store.add_trunk(b"trunk %d" % trunk_seed)
    store.add_export(trunk, tiny_trunk(contract, trunk_seed))
    heads = {}
    for organ, seed in seeds.items():
        heads[organ] = store.add_head(f"{organ} {seed}".encode())
        store.add_export(heads[organ], tiny_head(contract, seed, coarse=organ == "liver"))
    release = Release(
        number=number, parent=parent, trunk=trunk, heads=heads, contract=contract, calibration=calibration
    )
    store.publish(release)
    assert trunk == sha256_hex(b"trunk %d" % trunk_seed)
    return release


def noisy_body(shape: tuple[int, int, int] = (24, 30, 28), seed: int = 7) -> NDArray[np.int16]:
    """Return a volume of soft tissue with noise in air, Hounsfield units, axes (k, j, i)."""
    rng = np.random.default_rng(seed)
    hu = np.full(shape, -1000, dtype=np.int16)
    inner = tuple(slice(2, n - 2) for n in shape)
    hu[inner] = rng.normal(50, 60, hu[inner].shape).clip(-150, 280).astype(np.int16)
    return hu


def _graph(
    nodes: list,
    inputs: dict[str, tuple[int, ...]],
    outputs: dict[str, tuple[int, ...]],
    weights: dict[str, NDArray],
) -> bytes:
    def value(name: str, shape: tuple[int, ...]) -> object:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))

    tensors = [
        numpy_helper.from_array(a if a.dtype.kind == "i" else a.astype(np.float32), name)
        for name, a in weights.items()
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [value(*pair) for pair in inputs.items()],
        [value(*pair) for pair in outputs.items()],
        tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    return model.SerializeToString(deterministic=True)
