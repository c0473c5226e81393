"""A small site: a home with a network of a few hundred weights, phantoms, and a reader who corrects."""

from __future__ import annotations

import atexit
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from deploy.demo.simulated_reader import save_like_ohif
from flows.corrections.ingest import ingest, memory_of
from flows.corrections.report import Ingested, NotTaken
from flows.segmentation.segment import segment
from flows.serving.serve import write
from flows.speech.speech import speak
from flows.tuning.tune import tune
from models.calibration import Calibration, DomainReference, OrganCalibration
from models.contract import ModelContract
from models.documents import to_json
from models.network.heads import HeadSpec, build_head
from models.network.trunk_kinds import build_trunk
from models.network.weights import head_to_bytes, trunk_from_bytes, trunk_to_bytes
from models.organs import organ
from models.phantom.case import make_case
from models.release import Release, sha256_hex
from models.tuning.settings import Level, TuningSettings
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.inference.engine import InProcessSegmenter, serving_profile
from services.releases.exporter import export_release
from services.settings import Settings
from services.wiring import Services, connect_in_process

ORGANS = ("liver", "stomach", "aorta")
SPACING = (10.0, 8.0, 8.0)
"""Voxels of the phantoms, (k, j, i) millimetres."""

SEEDS = (1, 2, 3)
"""Phantoms in which a reader painted stomach and aorta."""

TUNING = TuningSettings(Level.NEIGHBOURHOOD, steps=4, batch_voxels=512, window_voxels=128)
"""As quick as it can be: what a head learns is measured elsewhere."""

THREADS = 2
DOMAIN = DomainReference((0.0,) * 14, ((1.0,) + (0.0,) * 13,), (1.0,), 1.0, 1e9)
"""Everything is in domain."""

SAVED_AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def small_release(spacing_mm: float = 14.0) -> tuple[bytes, dict[str, bytes], Release]:
    """Return trunk, heads and release 1 of a network that was never trained."""
    torch.manual_seed(0)
    trunk_file = trunk_to_bytes(build_trunk({"kind": "unet", "widths": [4, 6, 8, 10], "features": 5}))
    trunk = trunk_from_bytes(trunk_file)
    contract = ModelContract(
        organs=ORGANS,
        spacing_mm=(spacing_mm,) * 3,
        hu_window=(-175.0, 250.0),
        window_shape=(16, 24, 32),
        overlap=0.25,
        thresholds=dict.fromkeys(ORGANS, 0.5),
        feature_channels=trunk.feature_channels,
        coarse_channels=trunk.coarse_channels,
        global_channels=trunk.global_channels,
        trunk=dict(trunk.spec),
    )
    heads = {key: head_to_bytes(build_head(HeadSpec(trunk.feature_channels))) for key in ORGANS}
    digests = {key: sha256_hex(content) for key, content in heads.items()}
    calibration = Calibration(
        serving_profile(THREADS), dict.fromkeys(ORGANS, OrganCalibration(0.1, 0.9, 20)), DOMAIN
    )
    return trunk_file, heads, Release(1, None, sha256_hex(trunk_file), digests, contract, calibration)


@dataclass(frozen=True)
class Site:
    """A home whose release 1 serves in this process."""

    services: Services
    folder: Path

    def copy(self, folder: Path, **other: Any) -> Site:
        """Return the same site with a home of its own, and other settings; what is compiled is shared."""
        shutil.copytree(self.services.settings.home, folder / "home")
        services = connect_in_process(Settings(home=folder / "home", threads=THREADS, **other))
        ours, its = self.services.segmenter, services.segmenter
        if isinstance(ours, InProcessSegmenter) and isinstance(its, InProcessSegmenter):
            its._engines |= ours._engines
        return Site(services, self.folder)

    def study(self, seed: int) -> tuple[Path, Path]:
        """Write a phantom of site B and segment it; return the CT's folder and the organ SEG."""
        ct, out = self.folder / f"ct-{seed}", self.folder / f"result-{seed}"
        write_phantom_series(make_case("B", seed, spacing_mm=SPACING), ct)
        segment(ct, out, self.services, organs=ORGANS, now=lambda: SAVED_AT)
        return ct, out / "organ-seg.dcm"

    def correct(self, seed: int, *organs: str) -> Ingested | NotTaken:
        """Paint the truth of some organs over what was served, save it as OHIF does, and take it in."""
        ct, sent = self.study(seed)
        truth = make_case("B", seed, spacing_mm=SPACING).truth
        painted = {organ(key).label: truth[key] for key in organs}
        series = load(read_series(ct)[0])
        saved = self.folder / f"saved-{seed}.dcm"
        saved.write_bytes(save_like_ohif(sent.read_bytes(), series, painted, written_at=SAVED_AT))
        return ingest(saved, ct, sent, memory_of(self.services.settings))


def open_site(folder: Path, spacing_mm: float = 14.0) -> Site:
    """Return a site in a folder, with release 1 as the incumbent."""
    return replace(_first_site(spacing_mm).copy(folder), folder=folder)


@cache
def _first_site(spacing_mm: float) -> Site:
    """Return a site that is copied only: it takes seconds to export a release."""
    kept = TemporaryDirectory(prefix="site-")
    atexit.register(kept.cleanup)
    folder = Path(kept.name)
    services = connect_in_process(Settings(home=folder / "home", threads=THREADS))
    trunk, heads, release = small_release(spacing_mm)
    services.releases.add_trunk(trunk)
    for content in heads.values():
        services.releases.add_head(content)
    export_release(release, services.releases, threads=THREADS)
    services.releases.publish(release)
    write(release, services)
    services.records.set_incumbent(1, approver="test", reason="first")
    speak("test", "results go to the archive, unless a test is about silence", services.records)
    services.segmenter.profile(1)  # compiled
    return Site(services, folder)


def tune_document(*asked: Any, **how: Any) -> dict[str, Any]:
    """Tune; return the JSON document."""
    document: dict[str, Any] = to_json(tune(*asked, **how))
    return document
