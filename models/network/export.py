"""Trunks and heads as ONNX graphs; that an engine answers like torch, `models.proof.parity` proves."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.contract import (
    HEAD_LOGIT,
    HEAD_SPREAD,
    TRUNK_COARSE,
    TRUNK_FEATURES,
    TRUNK_FROZEN,
    TRUNK_GLOBAL,
    TRUNK_INPUT,
    ModelContract,
)
from models.errors import InvalidRelease, ServingUnavailable
from models.inference.windows import Predict, Prediction
from models.network.heads import Head
from models.network.members import with_spread
from models.network.trunk import Trunk, TrunkOutput

OPSET = 17
Provider = tuple[str, dict[str, str]]
"""Of ONNX Runtime: the name of what computes, and its options."""
"""The newest operator set that TorchScript's exporter writes, ONNX Runtime and OpenVINO read."""


def export_trunk(trunk: Trunk, contract: ModelContract) -> bytes:
    """Return the trunk as ONNX: one window in, every output of `TrunkOutput` out, all of fixed shape.

    Equal trunks and contracts give equal bytes.

    Raises
    ------
    InvalidRelease
        If trunk and contract disagree on a channel count.
    """
    sizes = (trunk.feature_channels, trunk.coarse_channels, trunk.global_channels)
    expected = (contract.feature_channels, tuple(contract.coarse_channels), contract.global_channels)
    if sizes != expected:
        raise InvalidRelease(f"the trunk gives channels {sizes}, the contract says {expected}")
    window = torch.zeros(1, 1, *contract.window_shape)
    names = [TRUNK_FEATURES, *_coarse_names(contract), TRUNK_GLOBAL]
    names += [TRUNK_FROZEN] if contract.recipe is not None else []
    return _to_onnx(_TrunkGraph(trunk), (window,), [TRUNK_INPUT], names)


def export_head(head: Head, contract: ModelContract) -> bytes:
    """Return a head as ONNX of its own: the trunk outputs it uses in, `HEAD_LOGIT` out.

    A head with members gives `HEAD_SPREAD` as well.

    Raises
    ------
    InvalidRelease
        If the head taps something the contract's trunk does not give.
    """
    blank = _blank_output(contract).by_name()
    unknown = [name for name in head.inputs if name not in blank]
    if unknown:
        raise InvalidRelease(f"the head wants {unknown}, the trunk gives {list(blank)}")
    outputs = [HEAD_LOGIT] if head.spec.members == 1 else [HEAD_LOGIT, HEAD_SPREAD]
    try:
        return _to_onnx(
            _HeadGraph(head, contract), tuple(blank[n] for n in head.inputs), list(head.inputs), outputs
        )
    except RuntimeError as error:
        raise InvalidRelease(f"the head does not fit the contract's trunk: {error}") from error


def onnxruntime_engine(
    trunk: bytes, heads: Mapping[str, bytes], provider: Provider = ("CPUExecutionProvider", {})
) -> Predict:
    """Return an engine that runs exported graphs in ONNX Runtime; organs as the heads lie.

    Parameters
    ----------
    trunk, heads
        ONNX graphs; the heads by organ.
    provider
        ONNX Runtime's name of what computes, and its options.

    Raises
    ------
    ServingUnavailable
        If that provider cannot be had here: ONNX Runtime by itself would take the CPU.
    """
    import onnxruntime  # a judge for proofs; a worker that only serves does without it

    def session(graph: bytes) -> onnxruntime.InferenceSession:
        if provider[0] in onnxruntime.get_available_providers():
            opened = onnxruntime.InferenceSession(graph, providers=[provider])
            if opened.get_providers()[0] == provider[0]:
                opened.disable_fallback()
                return opened
        raise ServingUnavailable(f"ONNX Runtime {onnxruntime.__version__} has no {provider[0]} here")

    trunk_session, sessions = session(trunk), [session(graph) for graph in heads.values()]
    names = [output.name for output in trunk_session.get_outputs()]

    def answer(window: NDArray[np.float32]) -> Prediction:
        outputs = dict(zip(names, trunk_session.run(names, {TRUNK_INPUT: window}), strict=True))
        logits, spreads = [], {}
        for channel, head in enumerate(sessions):
            logit, *spread = head.run(None, {i.name: outputs[i.name] for i in head.get_inputs()})
            logits.append(logit[0, 0])
            if spread:
                spreads[channel] = spread[0][0, 0]
        return Prediction(np.stack(logits), outputs[TRUNK_GLOBAL][0], spreads)

    return answer


class _TrunkGraph(nn.Module):
    """A trunk that answers with a tuple, as the exporter wants it."""

    def __init__(self, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk

    def forward(self, window: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.trunk(window).by_name().values())


class _HeadGraph(nn.Module):
    """A head that takes the tensors it uses by position; what it does not use is not in the graph."""

    def __init__(self, head: Head, contract: ModelContract) -> None:
        super().__init__()
        self.head = head
        self.blank = _blank_output(contract)
        self.coarse = _coarse_names(contract)

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        given = {**self.blank.by_name(), **dict(zip(self.head.inputs, tensors, strict=True))}
        output = TrunkOutput(
            given[TRUNK_FEATURES], tuple(given[name] for name in self.coarse), given[TRUNK_GLOBAL]
        )
        if self.head.spec.members > 1:
            return with_spread(self.head.members(output))
        logit: Tensor = self.head(output)
        return logit


def _coarse_names(contract: ModelContract) -> list[str]:
    return [TRUNK_COARSE.format(level) for level in range(1, len(contract.coarse_channels) + 1)]


def _blank_output(contract: ModelContract) -> TrunkOutput:
    """Zeros in the shapes the contract's trunk gives for one window."""
    k, j, i = contract.window_shape
    coarse = tuple(
        torch.zeros(1, channels, k >> level, j >> level, i >> level)
        for level, channels in enumerate(contract.coarse_channels, 1)
    )
    features = torch.zeros(1, contract.feature_channels, k, j, i)
    return TrunkOutput(features, coarse, torch.zeros(1, contract.global_channels))


def _to_onnx(module: nn.Module, inputs: tuple[Tensor, ...], names: list[str], outputs: list[str]) -> bytes:
    buffer: Any = io.BytesIO()
    module.eval()
    with warnings.catch_warnings():
        # The tracer warns of every Python number it fixes; shapes are meant to be fixed here.
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        # Instance norm has no running statistics, so it takes them from the window in any mode.
        warnings.filterwarnings("ignore", "ONNX export mode is set to TrainingMode.EVAL", UserWarning)
        warnings.filterwarnings("ignore", "Constant folding - Only steps=1", UserWarning)  # a block's padding
        torch.onnx.export(
            module, inputs, buffer, input_names=names, output_names=outputs,
            opset_version=OPSET, dynamo=False, do_constant_folding=False,  # folding loses equal constants
        )  # fmt: skip
    model = onnx.load_from_string(buffer.getvalue())
    for node in model.graph.node:
        node.ClearField("doc_string")  # holds paths of source files
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))
