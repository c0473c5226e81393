"""A public checkpoint imported, served by a real Triton, and compared with its published formula."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from flows.training.import_checkpoint import keep_checkpoint
from models.documents import to_json
from models.inference.windows import scale_hu
from models.network.checkpoints import importing as checkpoint_import
from models.network.export import onnxruntime_engine
from services.inference.engine import OpenVinoEngine
from services.settings import Settings
from services.triton.client import TritonSegmenter
from services.wiring import Services, connect_in_process
from tests.support import published
from tests.support.serving import THREADS, server_at, thrown_away
from tests.support.waiting import GUARD_SECONDS

SMALL = (32, 32, 32)


@dataclass(frozen=True)
class Figures:
    """How an imported network differs from its published formula on one window.

    Logits: in the engine at export (against torch), and against the formula, of the engine and of ONNX
    Runtime on the same files (what a GPU server runs), with the formula's range and spread. Probabilities:
    as Triton served them, rounded where no mask depends on it (`models.inference.compact`); flipped are
    voxels on the other side of the threshold whose logit is not within 0.002 of it, which is what float16 can
    tell apart.
    """

    classes: int
    at_export: float
    engine_to_formula: float
    onnxruntime_to_formula: float
    low: float
    high: float
    spread: float
    served_to_formula: float
    flipped: int
    served_as_in_process: bool
    served_seconds: float


def saved(folder: Path, state: published.State) -> Path:
    """Save weights as the published files are."""
    torch.save(published.published_file(state), folder / "file.pth")
    return folder / "file.pth"


@dataclass(frozen=True)
class Imported:
    """A home into which a small text-driven network was imported: its weights, and the verb's document."""

    home: Path
    state: published.State
    document: dict[str, Any]


def imported_at(folder: Path) -> Imported:
    """Import a network of a sixteenth of the published weights, for windows of 32 voxels, into a home."""
    state = published.unet_state(16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_import, "WINDOW", SMALL)
        home = connect_in_process(Settings(home=folder / "home"))
        document = to_json(
            keep_checkpoint(saved(folder, state), home.releases, home.records, home.settings.threads)
        )
    return Imported(folder / "home", state, document)


def served_figures(
    state: published.State,
    document: dict[str, Any],
    window: tuple[int, int, int],
    services: Services,
) -> Figures:
    """Serve one window of what was imported, and compare."""
    release = services.releases.release(document["release"])
    # Body to its faces, so that one window covers it.
    hu = np.random.default_rng(3).integers(-200, 300, window).astype(np.int16)
    version = services.repository.write_version(release, services.releases)
    with thrown_away(server_at(services.settings.home / "triton")) as process:
        client = TritonSegmenter(process.url, deadline_seconds=GUARD_SECONDS)
        began = time.monotonic()
        served = client.segment(hu, release.number)
        seconds = time.monotonic() - began
        client.close()
    served.require(release)
    engine = OpenVinoEngine.open(version, THREADS)
    scaled = scale_hu(hu, release.contract.hu_window)[None, None]
    logits = engine.predict(scaled).logits
    store = services.releases
    heads = {organ: store.export(release.heads[organ]) for organ in release.contract.organs}
    other = onnxruntime_engine(store.export(release.trunk), heads)(scaled).logits
    expected = formula(state, hu)
    probability = 1 / (1 + np.exp(-expected.astype(np.float64)))
    return Figures(
        classes=len(logits),
        at_export=max(one["max_logit_difference"] for one in document["parity"].values()),
        engine_to_formula=float(np.abs(logits - expected).max()),
        onnxruntime_to_formula=max(
            float(np.abs(one - wanted).max()) for one, wanted in zip(other, expected, strict=True)
        ),
        low=float(expected.min()),
        high=float(expected.max()),
        spread=float(expected.std()),
        served_to_formula=float(np.abs(served.probability - probability).max()),
        flipped=int((((served.probability >= 0.5) != (expected >= 0)) & (np.abs(expected) > 2e-3)).sum()),
        served_as_in_process=np.array_equal(served.probability, engine.segment(hu).probability),
        served_seconds=seconds,
    )


def formula(state: published.State, hu: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return the published formula's logits of one window, axes (class, k, j, i)."""
    scaled = scale_hu(hu, (-175.0, 250.0))
    ras = torch.from_numpy(np.ascontiguousarray(scaled.transpose(2, 1, 0)[::-1, ::-1]))
    with torch.inference_mode():
        answer = published.logits(state, ras).numpy()
    return np.ascontiguousarray(answer[:, ::-1, ::-1].transpose(0, 3, 2, 1))
