"""A `Segmenter` that asks Triton, over gRPC."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferenceServerClient, InferInput, InferResult
from tritonclient.utils import InferenceServerException

from models.contract import (
    DISAGREEMENT_OUTPUT,
    GLOBAL_FEATURE_OUTPUT,
    MEMBER_DISAGREEMENT_OUTPUT,
    MEMBER_ORGAN_OUTPUT,
    PROBABILITY_OUTPUT,
    RELEASE_DIGEST_OUTPUT,
    SEGMENTER,
    VOLUME_INPUT,
    WINDOW_ORIGIN_OUTPUT,
)
from models.errors import Refused, ServingFailed, ServingRejected, ServingTimedOut, ServingUnavailable
from models.segmentation import Segmentation
from services.inference.port import check_volume, refusal_in
from services.inference.triton_windows import DEVICE_PARAMETER, WINDOW_MODEL

MESSAGE_BYTES = 2**31 - 1
"""The largest message Triton's gRPC takes; a thorax and abdomen at 2 mm is a tenth of it."""

_UNAVAILABLE = ("UNAVAILABLE", "NOT_FOUND", "CANCELLED", "ABORTED")

_log = logging.getLogger(__name__)

T = TypeVar("T")


class TritonSegmenter:
    """A client of one Triton.

    Parameters
    ----------
    url
        gRPC address, ``host:port``.
    deadline_seconds
        Longest wait for an answer, all attempts together.
    attempts
        How often a request is tried while no server answers; a timeout or a rejection is never repeated.
    pause_seconds
        Wait before the second attempt; doubled before each further one.
    """

    def __init__(
        self, url: str, deadline_seconds: float = 120.0, attempts: int = 3, pause_seconds: float = 0.5
    ) -> None:
        self.url = url
        self._deadline = deadline_seconds
        self._attempts = attempts
        self._pause = pause_seconds
        options = [
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0),  # images never take a way round through a proxy
        ]
        self._client = InferenceServerClient(url, channel_args=options)

    def segment(self, hu: NDArray[np.int16], release: int) -> Segmentation:
        """See `services.inference.port.Segmenter`."""
        check_volume(hu)
        volume = InferInput(VOLUME_INPUT, list(hu.shape), "INT16")
        volume.set_data_from_numpy(np.ascontiguousarray(hu))

        def infer(timeout: float) -> InferResult:
            return self._client.infer(SEGMENTER, [volume], str(release), client_timeout=timeout)

        return _segmentation(self._ask(f"release {release}", infer), hu.shape)

    def profile(self, release: int) -> str:
        """See `services.inference.port.Segmenter`."""

        def config(timeout: float) -> str:
            answer = self._client.get_model_config(SEGMENTER, str(release), client_timeout=timeout)
            return str(answer.config.parameters["serving_profile"].string_value)

        return self._ask(f"release {release}", config)

    def ready(self, release: int) -> bool:
        """Tell whether a release can be asked, by Triton's version-ready answer.

        Never the server's own readiness: that is false while anything loads and after any failed load.
        Triton goes on calling a version ready whose process was killed: only an answer proves one.

        Raises
        ------
        ServingUnavailable, ServingTimedOut
            If the server does not answer.
        """

        def ready(timeout: float) -> bool:
            if not self._client.is_model_ready(SEGMENTER, str(release), client_timeout=timeout):
                return False
            config = self._client.get_model_config(SEGMENTER, str(release), client_timeout=timeout).config
            window = WINDOW_MODEL.format(release)  # on a GPU server: with the trunk and heads it needs
            on_gpu = DEVICE_PARAMETER in config.parameters
            return not on_gpu or bool(self._client.is_model_ready(window, client_timeout=timeout))

        return self._ask("readiness", ready)

    def load(self) -> None:
        """Load every version in the repository that is not loaded; those that serve go on serving.

        On a GPU server a version's trunk and heads are models of their own, and come first.

        Raises
        ------
        ServingRejected
            If a version cannot be loaded; the others still are.
        ServingUnavailable, ServingTimedOut
            If the server does not answer.
        """
        failed = None
        for name in (*self._parts_not_loaded(), SEGMENTER):
            try:
                self._ask("loading", lambda timeout, name=name: self._load(name, timeout))
            except ServingRejected as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _load(self, name: str, timeout: float) -> None:
        self._client.load_model(name, client_timeout=timeout)

    def _parts_not_loaded(self) -> list[str]:
        """Return the ensembles in the repository that are not loaded; loading one loads what it needs."""
        index = self._ask(
            "index", lambda timeout: self._client.get_model_repository_index(client_timeout=timeout)
        )
        prefix = WINDOW_MODEL.format("")
        return sorted(
            entry.name for entry in index.models if entry.name.startswith(prefix) and entry.state != "READY"
        )

    def unload(self) -> None:
        """Unload all versions.

        Raises
        ------
        ServingUnavailable, ServingTimedOut, ServingRejected
            If the server does not answer, or will not.
        """
        self._ask("unloading", lambda timeout: self._client.unload_model(SEGMENTER, client_timeout=timeout))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, what: str, call: Callable[[float], T]) -> T:
        """Call with what is left of the deadline; repeat while no server answers."""
        end = time.monotonic() + self._deadline
        pause = self._pause
        for attempt in range(1, self._attempts + 1):
            try:
                return call(max(end - time.monotonic(), 0.001))
            except InferenceServerException as error:
                failure = self._failure(what, error)
                last = attempt == self._attempts or time.monotonic() + pause >= end
                if last or "UNAVAILABLE" not in str(error.status()):
                    raise failure from error
                _log.warning("attempt %d of %d: %s", attempt, self._attempts, failure)
            time.sleep(pause)
            pause *= 2
        raise ServingUnavailable(f"{self.url}: {what}: no attempt was allowed")

    def _failure(self, what: str, error: InferenceServerException) -> ServingFailed | Refused:
        """Say in one sentence what went wrong, as the error a caller can act on."""
        status = str(error.status() or "").removeprefix("StatusCode.")
        message = str(error.message() or "").partition("\n\nAt:")[0].strip()  # no traceback of the server's
        refusal = refusal_in(message)
        if refusal is not None:
            return refusal
        if status == "DEADLINE_EXCEEDED":
            return ServingTimedOut(f"Triton at {self.url}, {what}: no answer in {self._deadline:g} s")
        sentence = f"Triton at {self.url}, {what}: {message} ({status})"
        # Triton does not notice that a version's process was killed, calls it ready, and says INTERNAL.
        if status in _UNAVAILABLE or message.startswith("Stub process"):
            return ServingUnavailable(sentence)
        return ServingRejected(sentence)


def _segmentation(result: InferResult, shape: tuple[int, ...]) -> Segmentation:
    """Check an answer against the question; a server with numpy 2 answers with empty tensors."""
    tensors = {}
    for name, dtype in (
        (PROBABILITY_OUTPUT, np.float16),
        (DISAGREEMENT_OUTPUT, np.float16),
        (GLOBAL_FEATURE_OUTPUT, np.float32),
        (WINDOW_ORIGIN_OUTPUT, np.int32),
        (RELEASE_DIGEST_OUTPUT, np.uint8),
    ):
        array = result.as_numpy(name)
        if array is None or array.size == 0 or array.dtype != dtype:
            raise ServingRejected(f"the server's answer has an empty or mistyped {name}")
        tensors[name] = array
    probability, disagreement = tensors[PROBABILITY_OUTPUT], tensors[DISAGREEMENT_OUTPUT]
    feature, origin = tensors[GLOBAL_FEATURE_OUTPUT], tensors[WINDOW_ORIGIN_OUTPUT]
    if probability.shape[1:] != shape or disagreement.shape != probability.shape:
        raise ServingRejected(f"the volume is {shape}, the server answered {probability.shape}")
    if feature.ndim != 2 or origin.shape != (len(feature), 3):
        raise ServingRejected(f"the server answered {feature.shape} features for {origin.shape} windows")
    digest = tensors[RELEASE_DIGEST_OUTPUT].tobytes().hex()
    return Segmentation(
        probability, disagreement, feature, origin, digest, _members(result, probability.shape)
    )


def _members(result: InferResult, shape: tuple[int, ...]) -> dict[int, NDArray[np.float16]]:
    """Return the members' disagreement by channel; empty where no head has members."""
    channels, spreads = result.as_numpy(MEMBER_ORGAN_OUTPUT), result.as_numpy(MEMBER_DISAGREEMENT_OUTPUT)
    if channels is None and spreads is None:
        return {}
    if (
        channels is None
        or spreads is None
        or (channels.dtype, spreads.dtype) != (np.int32, np.float16)
        or spreads.shape != (len(channels), *shape[1:])
        or not set(channels.tolist()) <= set(range(shape[0]))
    ):
        raise ServingRejected("the server's answer says of its members what does not fit its organs")
    return dict(zip(channels.tolist(), spreads, strict=True))
