"""The parts that a release needs in the repository of a GPU server, beside its segmenter.

::

    organ_trunk_<digest>/{config.pbtxt, 1/model.onnx or 1/model.plan}
    organ_head_<digest>/{config.pbtxt, 1/model.onnx}
    organ_window_<n>/{config.pbtxt, 1/outputs.json}

Trunk and heads are named by their weights: what two releases share is there once and loaded once, and
an untouched head is the very model that answered before. A promotion brings in the heads it changed.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import openvino

from models.contract import HEAD_LOGIT, HEAD_SPREAD, ModelContract
from models.errors import InvalidRelease
from models.release import Release, sha256_hex
from services.inference.gpu_windows import DEVICE_PARAMETER, NAMED, OUTPUTS_FILE, TRUNK_MODEL, WINDOW_MODEL
from services.releases.store import ReleaseStore
from services.triton.config import (
    head_config,
    trunk_config,
    trunk_shapes,
    window_config,
    window_outputs,
)

CONFIG_FILE = "config.pbtxt"
HEAD_MODEL = "organ_head_{}"
PLAN_FILE = "model.plan"
NOTE_FILE = "engine.json"
"""Beside an engine: SHA-256 of the trunk, of its ONNX and of the engine itself, device, precision."""

Part = dict[str, bytes]
"""The files of one model, by path inside its folder."""


@dataclass(frozen=True)
class GpuTarget:
    """A GPU server for which repositories are written.

    Parameters
    ----------
    backend
        Runs the trunk: ``onnxruntime``, or ``tensorrt`` from an engine that was built for it.
    device
        GPU and server, as `services.inference.gpu_device` names them on the node.
    precision
        Of the trunk's engine, ``fp32`` or ``fp16``; ONNX Runtime runs fp32.
    engines
        Folder of engines, as `deploy.triton.build_engines` fills it.
    """

    backend: str
    device: str
    precision: str
    engines: Path

    @property
    def parameters(self) -> dict[str, str]:
        """What the segmenter's configuration says of it."""
        return {DEVICE_PARAMETER: self.device, "serving_profile": self.profile}

    @property
    def profile(self) -> str:
        """The serving profile: target, GPU, server, precision."""
        precision = self.precision if self.backend == "tensorrt" else "fp32"
        return f"{self.backend}/{self.device}/{precision}"

    def parts(self, release: Release, store: ReleaseStore) -> dict[str, Part]:
        """Return every model a release needs beside the segmenter, by name.

        Raises
        ------
        InvalidRelease
            If an export is missing or damaged, or the trunk has no engine for this GPU, or one that is
            damaged or was built of another export.
        """
        contract = release.contract
        trunk = model_name(TRUNK_MODEL, release.trunk)
        heads = {organ: model_name(HEAD_MODEL, release.heads[organ]) for organ in contract.organs}
        parts: dict[str, Part] = {trunk: self._trunk(trunk, release, store)}
        taps: dict[str, tuple[str, ...]] = {}
        members: list[str] = []
        core = openvino.Core()
        for organ, name in heads.items():
            onnx = store.export(release.heads[organ])
            inputs, outputs = _tensors(core, onnx, organ, contract)
            taps[organ] = tuple(inputs)
            members += [organ] if HEAD_SPREAD in outputs else []
            parts[name] = {CONFIG_FILE: head_config(name, inputs, outputs).encode(), "1/model.onnx": onnx}
        window = WINDOW_MODEL.format(release.number)
        answered = window_outputs(contract, members)
        config = window_config(window, contract, trunk, heads, taps, members)
        parts[window] = {CONFIG_FILE: config.encode(), f"1/{OUTPUTS_FILE}": json.dumps(answered).encode()}
        return parts

    def _trunk(self, name: str, release: Release, store: ReleaseStore) -> Part:
        onnx = store.export(release.trunk)
        config = {CONFIG_FILE: trunk_config(name, release.contract, self.backend).encode()}
        if self.backend != "tensorrt":
            return {**config, "1/model.onnx": onnx}
        folder = self.engines / release.trunk / f"{self.device}-{self.precision}"
        try:
            plan, note = (folder / PLAN_FILE).read_bytes(), json.loads((folder / NOTE_FILE).read_bytes())
            known = {"trunk": release.trunk, "device": self.device, "precision": self.precision}
            known |= {"onnx": sha256_hex(onnx), "plan": sha256_hex(plan)}
            if not note.items() >= known.items():
                raise ValueError("the engine is damaged, or of another export")
            return {**config, f"1/{PLAN_FILE}": plan}
        except (OSError, ValueError) as error:
            raise InvalidRelease(
                f"trunk {release.trunk[:NAMED]} has no {self.precision} engine for {self.device}: build it "
                "there (python3 -m deploy.triton.build_engines), or serve it with "
                f"ORGANLOOP_TRITON_TARGET=onnxruntime ({error})"
            ) from error


def model_name(pattern: str, digest: str) -> str:
    """Return the name of the model of some weights."""
    return pattern.format(digest[:NAMED])


def part_names(release: Release) -> tuple[str, ...]:
    """Return the names of all parts of a release."""
    heads = (model_name(HEAD_MODEL, digest) for digest in release.heads.values())
    return (model_name(TRUNK_MODEL, release.trunk), *heads, WINDOW_MODEL.format(release.number))


def is_part(name: str) -> bool:
    """Tell whether a model is a part that `GpuTarget.parts` names."""
    patterns = (TRUNK_MODEL, HEAD_MODEL, WINDOW_MODEL)
    return any(re.fullmatch(pattern.format("[0-9a-f]+"), name) for pattern in patterns)


def _tensors(
    core: openvino.Core, onnx: bytes, organ: str, contract: ModelContract
) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return names and shapes of a head's inputs and outputs."""
    given = (*trunk_shapes(contract), HEAD_LOGIT, HEAD_SPREAD)
    try:
        model = core.read_model(model=onnx, weights=b"")
        # A tensor may have names of inner nodes beside the one that the graph calls it.
        inputs, outputs = (
            {name: tuple(int(side) for side in port.shape) for port in ports for name in port.get_names()}
            for ports in (model.inputs, model.outputs)
        )
    except RuntimeError as error:
        raise InvalidRelease(f"head {organ} cannot be read: {error}") from error
    return ({n: inputs[n] for n in given if n in inputs}, {n: outputs[n] for n in given if n in outputs})
