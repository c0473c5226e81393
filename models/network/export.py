"""Trunks and heads as ONNX graphs, and the proof that an engine answers like torch."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    TRUNK_GLOBAL,
    TRUNK_INPUT,
    ModelContract,
)
from models.errors import InvalidRelease
from models.network.heads import Head
from models.network.members import with_spread
from models.network.trunk import Trunk, TrunkOutput
from models.windows import Predict, Prediction

OPSET = 17
"""The newest operator set that TorchScript's exporter writes, ONNX Runtime and OpenVINO read."""

FLIP_LIMIT = 0.001
"""Most of an organ's voxels, as a fraction, whose label may differ between torch and an engine."""

LOGIT_BUDGET = 0.01
"""Most that a logit may differ at any voxel, also of an organ that is nowhere: no probability then differs
by more than 0.0025, as served ones may (`models.compact`). float32 differs by some 1e-4, bf16 by some 0.5."""

SPREAD_BUDGET = 0.0025
"""Most that the members' deviation, which flags hang on, may differ: as much as a probability then may."""

FEATURE_BUDGET = 0.01
"""Most that the global feature may differ, as a fraction of its largest value: what is out of domain and how
text-driven heads are made hang on it."""


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


@dataclass(frozen=True)
class OrganParity:
    """How one organ's answer in an engine differs from torch.

    Parameters
    ----------
    organ
        Key in the catalogue.
    max_logit_difference
        Largest absolute difference of the logit over all voxels.
    max_spread_difference
        Of the members' deviation; 0 for a head without members.
    flipped, voxels
        Voxels whose label differs, and voxels of the organ in either answer.
    served_flipped, served_voxels
        The same of a volume of several windows, blended, rounded and packed as it is served.
    """

    organ: str
    max_logit_difference: float
    flipped: int
    voxels: int
    served_flipped: int = 0
    served_voxels: int = 0
    max_spread_difference: float = 0.0

    @property
    def flipped_fraction(self) -> float:
        """Share of the organ's voxels whose label differs; 0 for an organ that is nowhere."""
        return self.flipped / self.voxels if self.voxels else 0.0


def check_parity(
    predict: Predict, contract: ModelContract, engine: Predict, windows: Sequence[NDArray[np.float32]]
) -> tuple[OrganParity, ...]:
    """Compare an engine with torch on some windows, organ by organ.

    Parameters
    ----------
    predict
        The modules that were exported, in torch (`models.network.prediction.torch_predict`).
    contract
        Organs and thresholds.
    engine
        What is to be proven, e.g. `onnxruntime_engine` or the serving one.
    windows
        Scaled windows, float32 (1, 1, k, j, i).

    Returns
    -------
    tuple of OrganParity
        In the contract's order, over all windows together.

    Raises
    ------
    InvalidRelease
        If more than `FLIP_LIMIT` of any organ's voxels change their label, a logit of any head differs by
        more than `LOGIT_BUDGET`, its members' deviation by more than `SPREAD_BUDGET` or is missing, or the
        global feature by more than `FEATURE_BUDGET`.
    """
    pairs = [(predict(window), engine(window)) for window in windows]
    for ours, theirs in pairs:
        if set(ours.member_spread) != set(theirs.member_spread):
            raise InvalidRelease("the engine answers for members of other heads than torch")
        off = np.abs(ours.global_feature - theirs.global_feature).max()
        largest = np.abs(ours.global_feature).max()
        if not off <= FEATURE_BUDGET * largest:  # no number is over it too
            raise InvalidRelease(
                f"the global feature differs by {off:.2g} in the engine, of {largest:.2g} "
                f"(at most {FEATURE_BUDGET:.0%} may)"
            )
    parity = tuple(
        _compare(channel, organ, pairs, contract.thresholds[organ])
        for channel, organ in enumerate(contract.organs)
    )
    worst = max(parity, key=lambda one: one.flipped_fraction)
    if worst.flipped_fraction > FLIP_LIMIT:
        raise InvalidRelease(
            f"{worst.flipped} of {worst.voxels} voxels of {worst.organ} change their label in the engine "
            f"(at most {FLIP_LIMIT:.1%} may)"
        )
    for one in parity:
        for what, off, budget in (
            ("a logit", one.max_logit_difference, LOGIT_BUDGET),
            ("the members' deviation", one.max_spread_difference, SPREAD_BUDGET),
        ):
            if not off <= budget:
                raise InvalidRelease(
                    f"{what} of {one.organ} differs by {off:.2g} in the engine (at most {budget:g} may)"
                )
    return parity


def onnxruntime_engine(trunk: bytes, heads: Mapping[str, bytes]) -> Predict:
    """Return an engine that runs exported graphs in ONNX Runtime on the CPU; organs as the heads lie."""
    import onnxruntime  # a judge for proofs; a worker that only serves does without it

    trunk_session = onnxruntime.InferenceSession(trunk, providers=["CPUExecutionProvider"])
    sessions = [onnxruntime.InferenceSession(g, providers=["CPUExecutionProvider"]) for g in heads.values()]
    names = [output.name for output in trunk_session.get_outputs()]

    def answer(window: NDArray[np.float32]) -> Prediction:
        outputs = dict(zip(names, trunk_session.run(names, {TRUNK_INPUT: window}), strict=True))
        logits, spreads = [], {}
        for channel, session in enumerate(sessions):
            logit, *spread = session.run(None, {i.name: outputs[i.name] for i in session.get_inputs()})
            logits.append(logit[0, 0])
            if spread:
                spreads[channel] = spread[0][0, 0]
        return Prediction(np.stack(logits), outputs[TRUNK_GLOBAL][0], spreads)

    return answer


def _compare(
    channel: int, organ: str, pairs: Sequence[tuple[Prediction, Prediction]], threshold: float
) -> OrganParity:
    logit, other = (np.stack([pair[side].logits[channel] for pair in pairs]) for side in (0, 1))
    limit = np.log(threshold / (1 - threshold))
    mask, other_mask = logit >= limit, other >= limit
    spreads = [
        np.abs(ours.member_spread[channel] - theirs.member_spread[channel]).max()
        for ours, theirs in pairs
        if channel in ours.member_spread
    ]
    return OrganParity(
        organ,
        float(np.abs(logit - other).max()),
        int((mask != other_mask).sum()),
        int((mask | other_mask).sum()),
        max_spread_difference=float(np.max(spreads, initial=0.0)),
    )


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
