"""OpenVINO in this process: one compiled network for the trunk and one for each head.

This module runs in two places, in the project's environment and in the embedded Triton's, and imports
nothing that only one of them has: numpy, openvino and `models`.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import openvino
from numpy.typing import NDArray

from models.contract import TRUNK_COARSE, TRUNK_FEATURES, TRUNK_FROZEN, TRUNK_GLOBAL
from models.errors import InvalidRelease, ServingUnavailable
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.inference.windows import Prediction, WindowLogits
from models.release import Release, sha256_hex
from services.inference.networks import Compiler, HeadNetwork, TrunkNetwork
from services.inference.port import check_volume
from services.inference.segmenting import segment

RELEASE_FILE = "release.json"
TRUNK_FILE = "trunk.onnx"
HEAD_FILE = "heads/{}.onnx"
EXPORTS_FILE = "exports.json"
"""SHA-256 of each network of a version, by its path in the folder; an older program wrote none."""

LEAN_BYTES = 2**30
"""Heads hold at most this much for the trunk's features, unless told otherwise."""

Precision = Literal["f32", "bf16"]
"""What the engine computes in; bf16 only on processors that multiply it."""


def serving_profile(threads: int, precision: Precision = "f32") -> str:
    """Return the profile of this engine: target, engine and version, device, precision, threads."""
    version = openvino.__version__.split("-")[0]
    return f"python/openvino-{version}/cpu/{precision}/{threads}-threads"


class OpenVinoEngine:
    """The networks of one release, compiled for one window shape.

    Trunk and heads are compiled apart, so that a head's answer depends on its own bytes and on the
    trunk's answer and on nothing else: what another head becomes cannot change one bit of it.

    Parameters
    ----------
    release
        Its contract gives the shapes the networks must have, its digest goes with every answer.
    trunk
        ONNX of the trunk.
    heads
        ONNX of each head, by organ key, exactly the contract's organs.
    threads
        Threads of the engine; other numbers give other last bits.
    lean
        Whether a head that is asked about whole windows, because it looks at neighbours, gives its memory
        back after each; otherwise it holds room for the trunk's features, 50 MB in the starter. Cheap only
        where the allocator uses huge pages (``GLIBC_TUNABLES=glibc.malloc.hugetlb=1``); the bits are the
        same. None: where all heads together would hold more than `LEAN_BYTES`. Other heads are asked slice
        by slice and hold little.
    precision
        What it computes in.

    Raises
    ------
    InvalidRelease
        If a network cannot be read or does not fit the contract.
    """

    def __init__(
        self,
        release: Release,
        trunk: bytes,
        heads: Mapping[str, bytes],
        threads: int,
        lean: bool | None = None,
        precision: Precision = "f32",
    ) -> None:
        contract = release.contract
        if set(heads) != set(contract.organs):
            raise InvalidRelease("an engine needs exactly one head per organ of the contract")
        self.contract = contract
        self.release_digest = release.digest
        self.profile = serving_profile(threads, precision)
        room = 4 * contract.feature_channels * math.prod(contract.window_shape) * len(contract.organs)
        compiler = Compiler(
            {
                "INFERENCE_PRECISION_HINT": precision,  # unasked, bf16 would be chosen where the CPU has it
                "EXECUTION_MODE_HINT": "ACCURACY" if precision == "f32" else "PERFORMANCE",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
                "ENABLE_CPU_PINNING": False,  # two releases are served beside each other on the same cores
            }
        )
        if precision == "bf16" and not compiler.has("BF16"):
            raise InvalidRelease("this processor does not compute in bf16")
        self._threads = threads
        self._trunk = TrunkNetwork(compiler, trunk, contract.window_shape)
        lean = room > LEAN_BYTES if lean is None else lean
        if (contract.recipe is None) == (TRUNK_FROZEN in self._trunk.shapes):
            raise InvalidRelease("trunk and contract disagree on whether the network has logits of its own")
        self.tuned = frozenset(release.running_heads)
        self._heads = [
            (channel, HeadNetwork(compiler, organ, heads[organ], self._trunk.shapes, lean))
            for channel, organ in enumerate(contract.organs)
            if organ in self.tuned
        ]

    @classmethod
    def open(
        cls, folder: Path, threads: int, lean: bool | None = None, precision: Precision = "f32"
    ) -> OpenVinoEngine:
        """Load the networks of a version folder: release.json, exports.json, trunk.onnx, heads/<organ>.onnx.

        Raises
        ------
        InvalidRelease
            If a file is missing, cannot be read or is not what was written, or does not fit the contract.
        """
        try:
            release = Release.from_bytes((folder / RELEASE_FILE).read_bytes())
            known = _written(folder)
            trunk = _network(folder, TRUNK_FILE, known)
            heads = {o: _network(folder, HEAD_FILE.format(o), known) for o in release.contract.organs}
        except OSError as error:
            raise InvalidRelease(f"version folder {folder.name} is incomplete: {error.strerror}") from error
        return cls(release, trunk, heads, threads, lean, precision)

    def predict(self, window: NDArray[np.float32]) -> Prediction:
        """Run the networks on one window.

        Parameters
        ----------
        window
            (1, 1, k, j, i) float32, scaled to 0..1.

        Returns
        -------
        Prediction
            Organs in the contract's order.
        """
        trunk, shape = self._trunk, window.shape[2:]
        trunk.infer(window)
        frozen, logits = self._logits(shape)
        spreads = {
            channel: np.empty(shape, dtype=np.float32) for channel, head in self._heads if head.has_members
        }
        running: deque[HeadNetwork] = deque()
        try:
            for first in range(shape[0]):  # slice by slice, so that heads find the features in the cache
                for channel, head in self._heads:
                    if first % head.depth:
                        continue
                    while running and (len(running) == self._threads or head in running or not head.sliced):
                        running.popleft().wait()
                    head.start(trunk, first, logits[channel], spreads.get(channel))
                    running.append(head)
                    if not head.sliced:
                        running.popleft().wait()  # it has all threads
            while running:
                running.popleft().wait()
        finally:
            for head in running:  # one failed: the others still read and write what would be given back
                with contextlib.suppress(RuntimeError):
                    head.wait()
        feature = trunk.given(TRUNK_GLOBAL, last=True).data[0].copy()
        return Prediction(logits, feature, spreads, frozen)

    def _logits(self, window: Sequence[int]) -> tuple[NDArray[np.float32] | None, WindowLogits]:
        """Return the logits of a network with a recipe, and arrays for those of all organs.

        Heads that nobody tuned answer with the network's own, to the bit: theirs are in it already, and are
        not copied, for all classes of a window take hundreds of megabytes.
        """
        recipe = self.contract.recipe
        if recipe is None:
            return None, np.empty((len(self._heads), *window), dtype=np.float32)
        frozen = np.array(self._trunk.map(TRUNK_FROZEN))
        logits = [frozen[number] for number in recipe.organs]
        for channel, _ in self._heads:
            logits[channel] = np.empty(window, dtype=np.float32)
        return frozen, logits

    def maps(self) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """Return what the trunk gave for the window last predicted, until the next one; `windows.Maps`."""
        coarse = [TRUNK_COARSE.format(level) for level in range(1, len(self.contract.coarse_channels) + 1)]
        return self._trunk.map(TRUNK_FEATURES), [self._trunk.map(name) for name in coarse]

    def segment(
        self,
        hu: NDArray[np.int16] | NDArray[np.float32],
        sampled: bool = False,
        ct: Geometry | None = None,
    ) -> Segmentation:
        """Segment a volume; as `services.inference.segmenting.segment`."""
        return segment(self, hu, sampled, ct)


def _written(folder: Path) -> dict[str, str] | None:
    """Return what a version's networks were when they were written; None where an older program wrote it."""
    try:
        return dict(json.loads((folder / EXPORTS_FILE).read_bytes()))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as error:
        raise InvalidRelease(f"{EXPORTS_FILE} of version {folder.name} is damaged: {error}") from error


def _network(folder: Path, name: str, known: Mapping[str, str] | None) -> bytes:
    """Return a network; one flipped bit would be another organ under the release's name."""
    content = (folder / name).read_bytes()
    if known is not None and known.get(name) != sha256_hex(content):
        raise InvalidRelease(f"{name} of version {folder.name} is damaged: it is not what was written")
    return content


class InProcessSegmenter:
    """A `Segmenter` without a server, for tests and for tuning: same files, same engine, same bits.

    Parameters
    ----------
    versions
        Folder of version folders, one per release: what Triton calls a model.
    threads
        Threads of the engine.
    """

    def __init__(self, versions: Path, threads: int) -> None:
        self._versions = versions
        self._threads = threads
        self._engines: dict[int, OpenVinoEngine] = {}
        self._lock = threading.Lock()  # an engine's requests hold one window at a time

    def segment(
        self,
        hu: NDArray[np.int16] | NDArray[np.float32],
        release: int,
        sampled: bool = False,
        ct: Geometry | None = None,
    ) -> Segmentation:
        """See `services.inference.port.Segmenter`."""
        check_volume(hu, ct)
        with self._lock:
            return self._engine(release).segment(hu, sampled, ct)

    def profile(self, release: int) -> str:
        """See `services.inference.port.Segmenter`."""
        with self._lock:
            return self._engine(release).profile

    def processor_seconds(self) -> float:
        """See `services.inference.port.Segmenter`; it is this process that answers."""
        return time.process_time()

    def _engine(self, release: int) -> OpenVinoEngine:
        if release not in self._engines:
            folder = self._versions / str(release)
            if not folder.is_dir():
                raise ServingUnavailable(f"release {release} is not loaded: no folder of that version")
            self._engines[release] = OpenVinoEngine.open(folder, self._threads)
        return self._engines[release]
