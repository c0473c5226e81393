"""A `Segmenter` that asks Triton, over gRPC."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import (
    InferenceServerClient,
    InferenceServerClientPlugin,
    InferInput,
    InferRequestedOutput,
    InferResult,
)
from tritonclient.utils import InferenceServerException

from models.contract import AFFINE_INPUT, FRACTIONS_INPUT, MESSAGE_BYTES, SEGMENTER, VOLUME_INPUT
from models.errors import ServingFailed, ServingRejected, ServingTimedOut, ServingUnavailable
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from services.inference.gpu_windows import DEVICE_PARAMETER, WINDOW_MODEL
from services.inference.port import check_volume
from services.inference.processor_time import session_seconds
from services.triton.answers import requested_outputs, segmentation_in
from services.triton.shared_memory import is_local, shared

UNCOMPRESSED = 1
"""gRPC's set of algorithms that holds none but identity."""

READY_SECONDS = 5.0
"""Longest wait for a readiness: on a node that died nobody refuses, and all who ask would hang."""

KEY_HEADER = "triton-grpc-protocol-{}"
"""Under which a key is sent, by the name it has in the server's flags (`deploy.triton.command`)."""

_LOCKED = "This protocol is restricted"
"""How Triton begins its answer to one without the key, which it calls UNAVAILABLE."""

_UNAVAILABLE = ("UNAVAILABLE", "NOT_FOUND", "CANCELLED", "ABORTED")

_log = logging.getLogger(__name__)

T = TypeVar("T")


class Transport(StrEnum):
    """How volumes reach the server. Answers are compact, and come by gRPC: compressed, but on one host."""

    AUTO = "auto"
    """Shared memory where the address is this host's loopback and the server sees it, else compressed."""
    SHARED_MEMORY = "shared-memory"
    COMPRESSED = "compressed"
    PLAIN = "plain"


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
    transport
        How volumes reach the server.
    pid
        Of the server, the leader of its session, if it runs on this machine and is known.
    keys
        What is sent with every request, by name: ``serving``, by which volumes are answered, and ``release``,
        by which releases are loaded.
    """

    def __init__(
        self,
        url: str,
        deadline_seconds: float = 120.0,
        attempts: int = 3,
        pause_seconds: float = 0.5,
        transport: Transport = Transport.AUTO,
        pid: int | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._pid = pid
        self._transport = transport
        self._tries_memory = transport is Transport.AUTO and is_local(url)
        self._compresses = transport is Transport.COMPRESSED or (
            transport is Transport.AUTO and not is_local(url)
        )
        self._deadline = deadline_seconds
        self._attempts = attempts
        self._pause = pause_seconds
        options = [
            ("grpc.max_send_message_length", MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MESSAGE_BYTES),
            ("grpc.enable_http_proxy", 0),  # images never take a way round through a proxy
        ]
        if not self._compresses:  # the server compresses for everyone who can take it
            options.append(("grpc.compression_enabled_algorithms_bitset", UNCOMPRESSED))
        self._client = InferenceServerClient(url, channel_args=options)
        if keys:
            self._client.register_plugin(_Keys(keys))

    def segment(
        self,
        hu: NDArray[np.int16] | NDArray[np.float32],
        release: int,
        sampled: bool = False,
        ct: Geometry | None = None,
    ) -> Segmentation:
        """See `services.inference.port.Segmenter`."""
        check_volume(hu, ct)
        whole, voxels = hu.dtype == np.int16, np.ascontiguousarray(hu)
        outputs = [InferRequestedOutput(name) for name in requested_outputs(sampled)]

        def infer(timeout: float) -> InferResult:
            name, kind = (VOLUME_INPUT, "INT16") if whole else (FRACTIONS_INPUT, "FP32")
            volume, inputs = InferInput(name, list(hu.shape), kind), []
            if ct is not None:
                inputs.append(InferInput(AFFINE_INPUT, [4, 4], "FP64"))
                inputs[0].set_data_from_numpy(np.ascontiguousarray(ct.affine))
            end = time.monotonic() + timeout
            with contextlib.ExitStack() as until_answered:
                compression = self._hand_over(voxels, volume, timeout, until_answered)
                return self._client.infer(
                    SEGMENTER,
                    [volume, *inputs],
                    str(release),
                    outputs,
                    client_timeout=max(end - time.monotonic(), 0.001),
                    compression_algorithm=compression,
                )

        answer = self._ask(f"release {release}", infer)
        return segmentation_in(answer.as_numpy, hu.shape, sampled)

    def _hand_over(
        self, hu: NDArray[Any], volume: InferInput, timeout: float, stack: contextlib.ExitStack
    ) -> str | None:
        """Put the volume into a request, or into memory that the server shares; how to compress."""
        if self._transport is Transport.SHARED_MEMORY or self._tries_memory:
            try:
                region = stack.enter_context(shared(hu, self._client, timeout))
                volume.set_shared_memory(region, hu.nbytes)
                return None
            except (OSError, InferenceServerException) as error:
                if isinstance(error, InferenceServerException) and _unanswered(error):
                    raise
                if self._transport is Transport.SHARED_MEMORY:
                    raise ServingRejected(
                        f"{self.url} shares no memory with this process: {error}"
                    ) from error
                _log.warning("%s shares no memory with this process, volumes go by gRPC: %s", self.url, error)
                self._tries_memory = False
        volume.set_data_from_numpy(hu)
        return "gzip" if self._compresses else None

    def processor_seconds(self) -> float | None:
        """See `services.inference.port.Segmenter`; of a server on another machine nobody knows."""
        return None if self._pid is None else session_seconds(self._pid)

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

        return self._ask("readiness", ready, READY_SECONDS)

    def lives(self) -> bool:
        """Tell whether the server answers that it is alive, which it does once its first loads have ended."""
        try:
            return self._ask(
                "life", lambda timeout: bool(self._client.is_server_live(client_timeout=timeout))
            )
        except ServingFailed:
            return False

    def load(self) -> None:
        """Load every version in the repository that is not loaded; those that serve go on serving.

        On a GPU server a version's trunk and heads are models of their own, and come first: all of them,
        for one that is loaded may have been replaced since. What has not changed Triton leaves alone.

        Raises
        ------
        ServingRejected
            If a version cannot be loaded; the others still are.
        ServingUnavailable, ServingTimedOut
            If the server does not answer.
        """
        failed = None
        for name in (*self._parts(), SEGMENTER):
            try:
                self._ask("loading", partial(self._load, name))
            except ServingRejected as error:
                failed = failed or error
        if failed is not None:
            raise failed

    def _load(self, name: str, timeout: float) -> None:
        self._client.load_model(name, client_timeout=timeout)

    def _parts(self) -> list[str]:
        """Return the ensembles in the repository; loading one loads what it needs."""
        index = self._ask(
            "index", lambda timeout: self._client.get_model_repository_index(client_timeout=timeout)
        )
        prefix = WINDOW_MODEL.format("")
        return sorted({entry.name for entry in index.models if entry.name.startswith(prefix)})

    def server_version(self) -> str:
        """Return the version of Triton itself, e.g. ``2.51.0``.

        Raises
        ------
        ServingFailed
            As `segment`.
        """

        def told(timeout: float) -> str:
            return str(self._client.get_server_metadata(client_timeout=timeout).version)

        return self._ask("the server's version", told)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _ask(self, what: str, call: Callable[[float], T], longest: float = math.inf) -> T:
        """Call with what is left of the deadline; repeat while no server answers."""
        seconds = min(self._deadline, longest)
        end = time.monotonic() + seconds
        pause = self._pause
        for attempt in range(1, self._attempts + 1):
            try:
                return call(max(end - time.monotonic(), 0.001))
            except InferenceServerException as error:
                failure = self._failure(what, error, seconds)
                last = attempt == self._attempts or time.monotonic() + pause >= end
                if last or "UNAVAILABLE" not in str(error.status()) or _locked(error):
                    raise failure from error
                _log.warning("attempt %d of %d: %s", attempt, self._attempts, failure)
            time.sleep(pause)
            pause *= 2
        raise ServingUnavailable(f"{self.url}: {what}: no attempt was allowed")

    def _failure(self, what: str, error: InferenceServerException, seconds: float) -> ServingFailed:
        """Say in one sentence what went wrong, as the error a caller can act on."""
        status = str(error.status() or "").removeprefix("StatusCode.")
        message = str(error.message() or "").partition("\n\nAt:")[0].strip()  # no traceback of the server's
        if _locked(error):
            name = "release" if message.endswith("release'") else "serving"
            return ServingRejected(
                f"Triton at {self.url}, {what}: it asks for a key that this process does not have; "
                f"set ORGANLOOP_TRITON_{name.upper()}_KEY to the server's"
            )
        if status == "DEADLINE_EXCEEDED":
            return ServingTimedOut(f"Triton at {self.url}, {what}: no answer in {seconds:g} s")
        sentence = f"Triton at {self.url}, {what}: {message} ({status})"
        # Triton does not notice that a version's process was killed, calls it ready, and says INTERNAL.
        if status in _UNAVAILABLE or message.startswith("Stub process"):
            return ServingUnavailable(sentence)
        return ServingRejected(sentence)


class _Keys(InferenceServerClientPlugin):
    """Sends the keys with every request."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._headers = {KEY_HEADER.format(name): key for name, key in keys.items()}

    def __call__(self, request: Any) -> None:
        request.headers.update(self._headers)


def _locked(error: InferenceServerException) -> bool:
    return str(error.message() or "").startswith(_LOCKED)


def _unanswered(error: InferenceServerException) -> bool:
    """Tell whether there was no answer at all, or none in time."""
    return any(status in str(error.status()) for status in (*_UNAVAILABLE, "DEADLINE_EXCEEDED"))
