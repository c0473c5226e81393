"""One release on a GPU, asked window by window from inside Triton.

Runs in the Python backend of a GPU server and imports nothing that is not there: numpy and `models`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract import (
    HEAD_LOGIT,
    HEAD_SPREAD,
    TRUNK_COARSE,
    TRUNK_FEATURES,
    TRUNK_GLOBAL,
    TRUNK_INPUT,
)
from models.errors import ServingUnavailable
from models.inference.windows import Prediction
from models.release import Release

WINDOW_MODEL = "organ_window_{}"
"""The ensemble of a release: its trunk, then its heads."""

TRUNK_MODEL = "organ_trunk_{}"
"""A trunk, by the first `NAMED` digits of its weights' SHA-256."""

NAMED = 16
"""Hexadecimal digits of a digest in a model's name."""

DEVICE_PARAMETER = "device"
"""In the segmenter's configuration, only for a GPU server: which it must be."""

OUTPUTS_FILE = "outputs.json"
"""In the ensemble's version folder: names of its outputs."""


class TritonWindows:
    """The networks of one release, which this server runs in models of their own.

    Parameters
    ----------
    release
        Its number names the ensemble, its digest goes with every answer.
    outputs
        Names of the ensemble's outputs.
    profile
        In which the parts answer.
    server
        Triton's ``triton_python_backend_utils``.

    Notes
    -----
    Whether the ensemble is loaded is not asked here: a starting server loads ensembles last, and may crash
    when it is asked meanwhile. `services.triton.client.TritonSegmenter.ready` asks for both.
    """

    def __init__(self, release: Release, outputs: list[str], profile: str, server: Any) -> None:
        self.contract = release.contract
        self.release_digest = release.digest
        self.profile = profile
        self.tuned = frozenset(release.contract.organs)
        self._outputs = outputs
        self._server = server
        self._model = WINDOW_MODEL.format(release.number)
        self._trunk = TRUNK_MODEL.format(release.trunk[:NAMED])
        self._window: NDArray[np.float32] | None = None

    @classmethod
    def open(cls, folder: Path, profile: str, server: Any) -> TritonWindows:
        """Read the release of a version folder, and its ensemble's outputs."""
        release = Release.from_bytes((folder / "release.json").read_bytes())
        window = folder.parent.with_name(WINDOW_MODEL.format(release.number))
        outputs = json.loads((window / "1" / OUTPUTS_FILE).read_bytes())
        return cls(release, outputs, profile, server)

    def predict(self, window: NDArray[np.float32]) -> Prediction:
        """Run the networks on one window; as `services.inference.engine.OpenVinoEngine.predict`.

        Raises
        ------
        ServingUnavailable
            If the parts do not answer.
        """
        organs = self.contract.organs
        self._window = np.ascontiguousarray(window)
        tensors = self._ask(self._model, self._outputs)
        logits = np.stack([tensors[f"{HEAD_LOGIT}_{organ}"][0, 0] for organ in organs])
        spreads = {
            channel: tensors[f"{HEAD_SPREAD}_{organ}"][0, 0]
            for channel, organ in enumerate(organs)
            if f"{HEAD_SPREAD}_{organ}" in tensors
        }
        return Prediction(logits, tensors[TRUNK_GLOBAL][0].copy(), spreads)

    def maps(self) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Return what the trunk gives for the window last predicted; as the engine of the target `python`.

        The trunk runs a second time: features leave the GPU only where they are kept.

        Raises
        ------
        ServingUnavailable
            If the trunk does not answer.
        """
        coarse = [TRUNK_COARSE.format(level) for level in range(1, len(self.contract.coarse_channels) + 1)]
        tensors = self._ask(self._trunk, [TRUNK_FEATURES, *coarse])
        return tensors[TRUNK_FEATURES][0], [tensors[name][0] for name in coarse]

    def _ask(self, model: str, outputs: list[str]) -> Mapping[str, NDArray[np.float32]]:
        """Ask a model of this server about the window at hand."""
        server = self._server
        request = server.InferenceRequest(
            model_name=model,
            model_version=1,
            requested_output_names=outputs,
            inputs=[server.Tensor(TRUNK_INPUT, self._window)],
            # The windows are blended, and features sampled, on the CPU.
            preferred_memory=server.PreferredMemory(server.TRITONSERVER_MEMORY_CPU),
        )
        answer = request.exec()
        if answer.has_error():
            raise ServingUnavailable(f"{model}: {answer.error().message()}")
        return {tensor.name(): tensor.as_numpy() for tensor in answer.output_tensors()}
