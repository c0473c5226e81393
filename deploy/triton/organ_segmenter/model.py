"""Triton's Python model: one version is one release, one volume in, per-organ results out.

Copied into every version folder. It holds no logic of its own: the engine (`services.inference.engine`,
on a GPU server `services.inference.gpu_windows`) and what is done round it (`services.inference.segmenting`)
are found on the server's PYTHONPATH.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils
from numpy.typing import NDArray

from models.contract import (
    AFFINE_INPUT,
    DISAGREEMENT_OUTPUT,
    FRACTIONS_INPUT,
    GLOBAL_FEATURE_OUTPUT,
    GRID_OUTPUT,
    MASK_OUTPUTS,
    MEMBER_DISAGREEMENT_OUTPUT,
    MEMBER_ORGAN_OUTPUT,
    PROBABILITY_OUTPUT,
    RELEASE_DIGEST_OUTPUT,
    SAMPLE_OUTPUTS,
    VOLUME_INPUT,
    WINDOW_ORIGIN_OUTPUT,
)
from models.errors import OrganloopError, ServingUnavailable
from models.geometry import Geometry
from models.inference.compact import DISAGREEMENT_RANGE, pack
from models.inference.drawn_masks import pack_masks
from services.inference.gpu_device import gpu_device
from services.inference.gpu_windows import DEVICE_PARAMETER, TritonWindows
from services.inference.segmenting import segment


class TritonPythonModel:
    """The name and the three methods Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Load the release of this version folder, in the profile the model's configuration claims."""
        if int(np.__version__.split(".")[0]) > 1:
            raise RuntimeError(f"numpy {np.__version__}: this server would return empty outputs; use 1.26")
        parameters = json.loads(args["model_config"])["parameters"]
        folder = Path(args["model_repository"]) / args["model_version"]
        self._engine = _open(folder, {key: value["string_value"] for key, value in parameters.items()})

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer each request by itself; an error of one is no error of the others."""
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        def before_window() -> None:
            if request.is_cancelled():  # nobody waits any more: leave the cores to others
                raise InterruptedError("the client has gone")

        sampled = SAMPLE_OUTPUTS[0] in request.requested_output_names()
        given = {name: _given(request, name) for name in (VOLUME_INPUT, FRACTIONS_INPUT, AFFINE_INPUT)}
        volumes = [hu for hu in (given[VOLUME_INPUT], given[FRACTIONS_INPUT]) if hu is not None]
        if len(volumes) != 1:
            return _error(f"{len(volumes)} volumes in one request, not one", pb_utils.TritonError.INVALID_ARG)
        hu, affine = volumes[0], given[AFFINE_INPUT]
        try:
            ct = None if affine is None else Geometry(hu.shape, affine)
            result = segment(self._engine, hu, sampled, ct, before_window)
        except ValueError as error:
            return _error(str(error), pb_utils.TritonError.INVALID_ARG)
        except ServingUnavailable as error:  # on a GPU: out of memory, or a model is just loaded anew
            return _error(str(error), pb_utils.TritonError.UNAVAILABLE)
        except OrganloopError as error:
            return _error(str(error), pb_utils.TritonError.INTERNAL)
        except InterruptedError as error:
            return _error(str(error), pb_utils.TritonError.CANCELLED)
        outputs = {
            **pack(result.probability, 1.0).tensors(PROBABILITY_OUTPUT),
            **pack(result.disagreement, DISAGREEMENT_RANGE).tensors(DISAGREEMENT_OUTPUT),
            GLOBAL_FEATURE_OUTPUT: result.global_feature,
            WINDOW_ORIGIN_OUTPUT: result.window_origin,
            RELEASE_DIGEST_OUTPUT: np.frombuffer(bytes.fromhex(self._engine.release_digest), np.uint8),
        }
        if result.member_disagreement:  # where no head has members there is nothing to say
            outputs[MEMBER_ORGAN_OUTPUT] = np.array(list(result.member_disagreement), np.int32)
            members = list(result.member_disagreement.values())
            outputs |= pack(members, DISAGREEMENT_RANGE).tensors(MEMBER_DISAGREEMENT_OUTPUT)
        if result.samples is not None:
            samples = result.samples
            arrays = (samples.window, samples.index, samples.weight, samples.taps)
            outputs |= dict(zip(SAMPLE_OUTPUTS, arrays, strict=True))
        if result.drawn is not None:
            drawn = result.drawn
            outputs[GRID_OUTPUT] = np.vstack([drawn.geometry.affine, [*drawn.geometry.shape, 0]])
            masks = (*pack_masks(drawn.on_ct), *pack_masks(drawn.on_grid))
            outputs |= dict(zip(MASK_OUTPUTS, masks, strict=True))
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


def _open(folder: Path, claimed: dict[str, str]) -> Any:
    """Return the release's engine: in this process, or on the GPU in models of their own."""
    profile = claimed["serving_profile"]
    if DEVICE_PARAMETER in claimed:
        found, wanted = gpu_device(), claimed[DEVICE_PARAMETER]
        if found == wanted:
            return TritonWindows.open(folder, profile, pb_utils)
    else:
        from services.inference.engine import OpenVinoEngine  # a GPU server has no OpenVINO

        engine = OpenVinoEngine.open(folder, int(claimed["threads"]), lean=True)
        found, wanted = engine.profile, profile
        if found == wanted:
            return engine
    raise RuntimeError(f"this server answers in {found}, the repository says {wanted}")


def _given(request: Any, name: str) -> NDArray[Any] | None:
    tensor = pb_utils.get_input_tensor_by_name(request, name)
    return None if tensor is None else tensor.as_numpy()


def _error(sentence: str, code: int) -> Any:
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(sentence, code))
