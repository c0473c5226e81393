"""Releases answered by ONNX Runtime in this process, on a GPU or a CPU, as a `Segmenter`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.errors import ServingRejected
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.inference.served_windows import serve_windows
from models.inference.windows import Predict
from models.network.export import Provider, onnxruntime_engine
from models.release import Release
from services.inference.port import check_volume
from services.releases.store import ReleaseStore

CPU: Provider = ("CPUExecutionProvider", {})
# As the server runs them (services/triton/config.py): cuDNN's own rule, and float32 means it.
CUDA: Provider = ("CUDAExecutionProvider", {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"})
TENSORRT: Provider = ("TensorrtExecutionProvider", {"trt_fp16_enable": "0"})


class OnnxSegmenter:
    """Answers for every release of a store.

    Parameters
    ----------
    store
        Holds their exports.
    provider
        What of ONNX Runtime computes.
    device
        Its name, for the serving profile.
    """

    def __init__(self, store: ReleaseStore, provider: Provider, device: str) -> None:
        self._store = store
        self._provider = provider
        self._profile = f"{provider[0].removesuffix('ExecutionProvider').lower()}/{device}/fp32/in-process"
        self._engines: dict[int, tuple[Release, Predict]] = {}

    def segment(
        self,
        hu: NDArray[np.int16] | NDArray[np.float32],
        release: int,
        sampled: bool = False,
        ct: Geometry | None = None,
    ) -> Segmentation:
        """See `services.inference.port.Segmenter`; features are not sampled, networks have no recipe."""
        check_volume(hu)
        if sampled or ct is not None:
            raise ServingRejected("This engine samples no features, and is asked about model grids.")
        known, predict = self.engine(release)
        return serve_windows(hu.astype(np.int16, copy=False), known.contract, predict, known.digest)

    def profile(self, release: int) -> str:
        """See `services.inference.port.Segmenter`."""
        return self._profile

    def processor_seconds(self) -> float | None:
        """See `services.inference.port.Segmenter`: nobody knows the GPU's."""
        return None

    def engine(self, number: int) -> tuple[Release, Predict]:
        """Return a release and its networks, opened once.

        Raises
        ------
        ServingUnavailable
            If ONNX Runtime has no such provider here.
        """
        if number not in self._engines:
            release = self._store.release(number)
            heads = {organ: self._store.export(release.heads[organ]) for organ in release.contract.organs}
            predict = onnxruntime_engine(self._store.export(release.trunk), heads, self._provider)
            self._engines[number] = release, predict
        return self._engines[number]


def machine(device: str) -> tuple[str, dict[str, object]]:
    """Return what computes here, in words, and the versions that matter."""
    import onnxruntime
    import torch

    versions = {
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "onnxruntime": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
    }
    if device == "cpu":
        return "cpu", versions
    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "", versions
