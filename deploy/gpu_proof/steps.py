"""The steps of the first run on a GPU, each a line that says what was measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np

from deploy.gpu_proof.engines import CPU, CUDA, TENSORRT, OnnxSegmenter, machine
from deploy.triton.build_engines import TRTEXEC, build_engines
from flows.gate.gate_candidate import gate_candidate
from flows.progress import Progress
from flows.serving.proof import prove_served
from flows.tuning.tune import tune
from models.errors import OrganloopError, ServingUnavailable
from models.network.export import Provider
from models.proof.served_parity import check_served, parity_volume, parity_windows
from models.release import Release
from models.tuning.settings import TuningSettings
from services.inference.engine import OpenVinoEngine
from services.inference.port import Segmenter
from services.releases.exporter import export_release
from services.triton.client import TritonSegmenter
from services.triton.gpu_target import GpuTarget
from services.triton.repository import TritonRepository
from services.wiring import SEGMENTER_MODEL, Services

DEADLINE_SECONDS = 180.0


class Outcome(StrEnum):
    """What became of a step."""

    PASSED = "passed"
    FAILED = "failed"
    LEFT_OUT = "left out"


class LeftOut(Exception):
    """A step cannot be tried here; the message says what it needs."""


@dataclass(frozen=True)
class Line:
    """One step, as the table shows it; `seconds` of wall time."""

    step: str
    device: str
    seconds: float
    measured: str
    outcome: Outcome


@dataclass(frozen=True)
class Server:
    """A Triton with the backends of a GPU server.

    Parameters
    ----------
    device
        What `services.inference.gpu_device` calls it.
    serve
        Serves the repository in a folder; gives the gRPC address.
    """

    device: str
    serve: Callable[[Path], AbstractContextManager[str]]


FindServer = Callable[[], Server]
"""Raises `LeftOut` where there is none."""


def prove(
    services: Services,
    device: str,
    tuning: TuningSettings,
    find_server: FindServer,
    progress: Progress,
    trtexec: Path = Path(TRTEXEC),
) -> Iterator[Line]:
    """Yield the steps as they end; what depends on one that failed is left out.

    Parameters
    ----------
    services
        Of a site in this process (`deploy.gpu_proof.site`): corrections to learn from, a frozen gate set.
    device
        ``cuda`` or ``cpu``.
    tuning
        How heads are tuned, but for the device.
    find_server
        The Triton that serves.
    progress
        Told each step, and what the steps tell.
    trtexec
        TensorRT's program.
    """
    with ExitStack() as running:
        tuned = replace(tuning, device=device)
        trial = _Trial(services, device, tuned, find_server, progress, trtexec, running)
        for name, step in (
            ("machine", trial.machine),
            ("tune", trial.tune),
            ("export", trial.export),
            ("parity, ONNX Runtime", trial.parity_onnxruntime),
            ("parity, TensorRT", trial.parity_tensorrt),
            ("serve, onnxruntime", lambda: trial.serve("onnxruntime")),
            ("serve, tensorrt", lambda: trial.serve("tensorrt")),
            ("gate", trial.gate),
        ):
            progress(f"step: {name}")
            begin = time.perf_counter()
            try:
                outcome, measured = Outcome.PASSED, step()
            except LeftOut as reason:
                outcome, measured = Outcome.LEFT_OUT, str(reason)
            except Exception as error:  # whatever a driver or a library throws, it is what was measured
                outcome, measured = Outcome.FAILED, f"{type(error).__name__}: {error}".splitlines()[0]
            yield Line(name, device, time.perf_counter() - begin, measured, outcome)


@dataclass
class _Trial:
    """What one step leaves for the next."""

    services: Services
    device: str
    tuning: TuningSettings
    find_server: FindServer
    progress: Progress
    trtexec: Path
    running: ExitStack
    computes: bool = False
    candidate: Release | None = None
    segmenter: Segmenter | None = None

    def machine(self) -> str:
        name, versions = machine(self.device)
        known = ", ".join(f"{what} {version}" for what, version in versions.items() if version)
        if not name:
            raise ServingUnavailable(f"torch sees no GPU ({known}): install its CUDA build and a driver")
        self.computes = True
        return f"{name}: {known}"

    def tune(self) -> str:
        if not self.computes:
            raise LeftOut("needs a machine that computes on it")
        document = tune(self.services, settings=self.tuning, progress=self.progress)
        number = document.release
        if number is None or document.device != self.device:
            why = ", ".join(sorted(set(document.left_out.values())))
            raise OrganloopError(f"release {number} was tuned on {document.device}: {why}")
        store = self.services.releases
        candidate, parent = store.release(number), store.release(document.parent)
        others = [organ for organ in parent.heads if organ not in document.organs]
        changed = [organ for organ in others if parent.heads[organ] != candidate.heads[organ]]
        if changed or parent.trunk != candidate.trunk:
            raise OrganloopError(f"other bytes than the incumbent's: {changed}")
        self.candidate = candidate
        return f"{len(document.organs)} heads in {self.tuning.steps} steps, {len(others)} heads as they were"

    def export(self) -> str:
        parity = export_release(self._release, self.services.releases, threads=self._threads)
        return (
            f"OpenVINO to torch: logits differ by at most {max(p.max_logit_difference for p in parity):.1e}"
        )

    def parity_onnxruntime(self) -> str:
        return self._parity(CUDA if self.device == "cuda" else CPU)

    def parity_tensorrt(self) -> str:
        if self.device == "cpu":
            raise LeftOut("needs a GPU")
        try:
            return self._parity(TENSORRT)
        except ServingUnavailable as error:
            raise LeftOut(str(error)) from error

    def serve(self, backend: str) -> str:
        """Serve both releases by Triton, and compare what it answers with the engine proven at export."""
        release, store = self._release, self.services.releases
        server = self.find_server()
        engines = self.services.settings.home / "gpu" / "engines"
        if backend == "tensorrt":
            if not self.trtexec.exists():
                raise LeftOut(f"needs {self.trtexec}, which NVIDIA's image has")
            build_engines(store, engines, "fp32", str(self.trtexec))
        folder = self.services.settings.home / "gpu" / backend
        target = GpuTarget(backend, server.device, "fp32", engines)
        repository = TritonRepository(folder, SEGMENTER_MODEL, self._threads, target)
        for number in (release.parent, release.number):
            repository.write_version(store.release(number or 0), store)
        url = self.running.enter_context(server.serve(folder))
        client = TritonSegmenter(url, DEADLINE_SECONDS)
        self.running.callback(client.close)
        client.load()
        prove_served(
            release,
            client,
            repository,
            self.services.releases,
            self.services.settings.threads,
            self.services.records,
            self.progress,
        )
        begin = time.perf_counter()
        client.segment(parity_volume(release.contract), release.number)
        seconds = time.perf_counter() - begin
        self.segmenter = self.segmenter or client
        return f"{client.profile(release.number)}: as proven at export; two windows in {seconds:.2f} s"

    def gate(self) -> str:
        release, segmenter = self._release, self.segmenter
        if segmenter is None:
            raise LeftOut("needs an answer that passed")
        asked = replace(self.services, segmenter=segmenter, endpoints=())
        document = gate_candidate(release.number, asked, self.progress)
        profile = segmenter.profile(release.number)
        if document.profile != profile:
            raise OrganloopError(f"decided on answers in {document.profile}, not in {profile}")
        reasons = (
            ", ".join(dict.fromkeys(reason.code for reason in document.all_reasons)) or "no reason against it"
        )
        return f"{document.decision} ({reasons}) on answers in {profile}"

    def _parity(self, provider: Provider) -> str:
        release, store, contract = self._release, self.services.releases, self._release.contract
        segmenter = OnnxSegmenter(store, provider, self.device)
        _, predict = segmenter.engine(release.number)
        heads = {organ: store.export(digest) for organ, digest in release.heads.items()}
        engine = OpenVinoEngine(release, store.export(release.trunk), heads, self._threads)
        off, seconds = 0.0, []
        for window in parity_windows(contract):
            predict(window)
            begin = time.perf_counter()
            answer = predict(window)
            seconds.append(time.perf_counter() - begin)
            off = max(off, float(np.abs(np.subtract(answer.logits, engine.predict(window).logits)).max()))
        hu, profile = parity_volume(contract), segmenter.profile(release.number)
        labels = check_served(contract, engine.segment(hu), segmenter.segment(hu, release.number), profile)
        flipped, voxels = (sum(column) for column in zip(*labels, strict=True))
        self.segmenter = self.segmenter or segmenter
        return (
            f"logits within {off:.1e} of OpenVINO's, {flipped} of {voxels} labels differ; "
            f"{min(seconds):.3f} s a window"
        )

    @property
    def _release(self) -> Release:
        if self.candidate is None:
            raise LeftOut("needs a candidate")
        return self.candidate

    @property
    def _threads(self) -> int:
        return self.services.settings.threads
