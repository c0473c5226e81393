"""Networks compiled by OpenVINO, and maps that pass from the trunk to the heads without a copy.

Between trunk and heads a map lies with its channels last, as convolutions compute it. A head that answers
every voxel from that voxel's features alone is asked slice by slice: what it computes on the way stays in
the processor's cache, and heads run beside each other, one on each thread. No bit depends on any of this.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray
from openvino import Tensor

from models.contract import (
    HEAD_LOGIT,
    HEAD_SPREAD,
    TRUNK_FEATURES,
    TRUNK_FROZEN,
    TRUNK_GLOBAL,
    TRUNK_INPUT,
)
from models.errors import InvalidRelease
from services.inference.graphs import channels_last, cut_to_slices, only_convolved

SLICE_BYTES = 2**20
"""Features that a head is asked about at a time; they and what it makes of them stay in a core's cache."""

Shape = tuple[int, ...]


class Compiler:
    """OpenVINO on this processor, with the settings of one engine."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._core = openvino.Core()
        self._settings = dict(settings)

    def has(self, capability: str) -> bool:
        """Tell whether this processor computes in, for instance, ``BF16``."""
        return capability in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def read(self, onnx: bytes) -> openvino.Model:
        """Return a graph."""
        return self._core.read_model(model=onnx, weights=b"")

    def compile(self, model: openvino.Model, alone: bool = False) -> openvino.CompiledModel:
        """Return a graph of fixed shapes, ready to run; alone: on one thread, beside others."""
        threads = {"INFERENCE_NUM_THREADS": 1} if alone else {}
        return self._core.compile_model(model, "CPU", self._settings | threads)


class TrunkNetwork:
    """The trunk, for one window shape.

    Parameters
    ----------
    compiler
        Makes it.
    onnx
        Its graph.
    window
        Voxels of a window along (k, j, i).

    Raises
    ------
    InvalidRelease
        If it cannot be compiled, or does not give what every trunk does.
    """

    def __init__(self, compiler: Compiler, onnx: bytes, window: Shape) -> None:
        with _named("trunk", onnx):
            model = compiler.read(onnx)
            model.reshape({port.get_any_name(): (1, 1, *window) for port in model.inputs})
            self.shapes: dict[str, Shape] = {o.get_any_name(): tuple(o.shape) for o in model.outputs}
            if not {TRUNK_FEATURES, TRUNK_GLOBAL} <= self.shapes.keys():
                raise InvalidRelease(
                    f"the trunk gives {sorted(self.shapes)}, not {TRUNK_FEATURES} and {TRUNK_GLOBAL}"
                )
            self._last = [n for n, shape in self.shapes.items() if len(shape) == 5 and n != TRUNK_FROZEN]
            self._request = compiler.compile(channels_last(model, outputs=self._last)).create_infer_request()
        self._plain: dict[str, Tensor] = {}

    def infer(self, window: NDArray[np.float32]) -> None:
        """Run on one window, (1, 1, k, j, i); what it gives holds until the next one."""
        self._plain.clear()
        self._window = np.ascontiguousarray(window)  # the request reads it, and does not keep it alive
        self._request.set_tensor(TRUNK_INPUT, Tensor(self._window, shared_memory=True))
        self._request.start_async()  # the plain call would copy what it gives
        self._request.wait()

    def given(self, name: str, last: bool) -> Tensor:
        """Return what it gave; a map with its channels last, or in plain order by one copy a window."""
        tensor = self._request.get_tensor(name)
        if last or name not in self._last:
            return tensor
        if name not in self._plain:
            self._plain[name] = Tensor(np.ascontiguousarray(np.moveaxis(tensor.data, -1, 1)))
        return self._plain[name]

    def map(self, name: str) -> NDArray[np.float32]:
        """Return a map: a view with axes (channel, k, j, i), that holds until the next window."""
        given = self._request.get_tensor(name).data[0]
        return np.moveaxis(given, -1, 0) if name in self._last else given


class HeadNetwork:
    """One head, for what one trunk gives.

    Parameters
    ----------
    compiler
        Makes it.
    name
        Of the organ, for messages.
    onnx
        Its graph.
    shapes
        Of what the trunk gives, by name.
    lean
        Whether a head that is asked about whole windows gives its memory back after each.

    Raises
    ------
    InvalidRelease
        If it cannot be compiled, asks for what the trunk does not give, or answers in another shape.
    """

    def __init__(
        self, compiler: Compiler, name: str, onnx: bytes, shapes: Mapping[str, Shape], lean: bool
    ) -> None:
        with _named(f"head {name}", onnx):
            model = compiler.read(onnx)
            self._inputs = [port.get_any_name() for port in model.inputs]
            unknown = [port for port in self._inputs if port not in shapes]
            if unknown:
                raise InvalidRelease(f"head {name} asks for {unknown}, the trunk gives {sorted(shapes)}")
            model.reshape({port: shapes[port] for port in self._inputs})
            _, channels, *window = shapes[TRUNK_FEATURES]
            for output in model.outputs:
                if tuple(output.shape) != (1, 1, *window):
                    raise InvalidRelease(f"head {name} gives {output.shape}, not {[1, 1, *window]}")
            self.has_members = any(HEAD_SPREAD in output.get_names() for output in model.outputs)
            self._last = only_convolved(model)
            self.depth = slice_depth((channels, *window))
            self.sliced = cut_to_slices(model, TRUNK_FEATURES, self.depth)
            if self.sliced:
                self._last |= {TRUNK_FEATURES}  # slices lie together only so
            else:
                self.depth = window[0]
            self._network = compiler.compile(channels_last(model, inputs=self._last), alone=self.sliced)
            self._request = self._network.create_infer_request()
            self._lean = lean and not self.sliced
            if self._lean:
                self._request.infer()  # only what has run can give its memory back
                self._network.release_memory()

    def start(
        self, trunk: TrunkNetwork, first: int, logit: NDArray[np.float32], spread: NDArray[np.float32] | None
    ) -> None:
        """Begin to answer the `depth` slices from the first on, into the window's (k, j, i) arrays."""
        part = slice(first, first + self.depth)
        for name in self._inputs:
            tensor = trunk.given(name, last=name in self._last)
            if self.sliced and name == TRUNK_FEATURES:
                tensor = Tensor(tensor.data[:, part], shared_memory=True)
            self._request.set_tensor(name, tensor)
        for name, whole in ((HEAD_LOGIT, logit), (HEAD_SPREAD, spread)):
            if whole is not None:
                self._request.set_tensor(name, Tensor(whole[None, None, part], shared_memory=True))
        self._request.start_async()

    def wait(self) -> None:
        """Return when the slices are answered."""
        self._request.wait()
        if self._lean:
            self._network.release_memory()


def slice_depth(features: Shape) -> int:
    """Return how many slices at a time fit a cache; features (channel, k, j, i), a divisor of k."""
    channels, depth, *plane = features
    fitting = max(1, SLICE_BYTES // (4 * channels * math.prod(plane)))
    return max(n for n in range(1, depth + 1) if depth % n == 0 and n <= fitting)


@contextlib.contextmanager
def _named(name: str, onnx: bytes) -> Iterator[None]:
    """Say of a network that cannot be compiled which one it is."""
    try:
        yield
    except RuntimeError as error:
        digest = hashlib.sha256(onnx).hexdigest()[:12]
        raise InvalidRelease(f"{name} ({digest}) cannot be compiled: {error}") from error
