"""A small site whose first release is a network that nnU-Net planned, and a reader who corrects it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from deploy.demo.simulated_reader import save_like_ohif
from flows.corrections.ingest import ingest, memory_of
from flows.corrections.report import Ingested, NotTaken
from flows.segmentation.segment import segment
from flows.serving.serve import write
from flows.training.import_checkpoint import make_first
from flows.training.import_nnunet import Reference, keep_nnunet
from models.geometry import Geometry
from models.network.checkpoints.nnunet.release import Asked
from models.organs import organ
from models.phantom.case import PhantomCase, make_case
from models.tuning.settings import Level, TuningSettings
from models.volume import Volume
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series
from services.dicom.ct.series import read_series
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.support.learning import SAVED_AT
from tests.support.nnunet import unpacked

SPACING = (9.0, 6.0, 6.0)
"""Voxels of the CTs, (k, j, i) millimetres: neither the network's nor as coarse along k as to be nearest."""

THREADS = 2
TUNING = TuningSettings(Level.HEAD, steps=80, batch_voxels=1024, window_voxels=256)


def part(site: str, seed: int, key: str) -> PhantomCase:
    """Return the part of a phantom round an organ, 24 voxels a side and 8 slices."""
    case = make_case(site, seed, spacing_mm=SPACING)
    mask = case.truth[key]
    centre = [int(np.median(axis)) for axis in np.nonzero(mask)]
    sides = (8, 24, 24)
    first = [
        min(max(c - side // 2, 0), n - side) for c, side, n in zip(centre, sides, mask.shape, strict=True)
    ]
    box = tuple(slice(a, a + side) for a, side in zip(first, sides, strict=True))
    affine = np.array(case.volume.geometry.affine)
    affine[:3, 3] = case.volume.geometry.to_lps(first)
    volume = Volume(np.ascontiguousarray(case.volume.hu[box]), Geometry(sides, affine))
    truth = {name: found[box] for name, found in case.truth.items()}
    return replace(case, volume=volume, truth=truth)


@dataclass(frozen=True)
class NnunetSite:
    """A home whose release 1 serves in this process; `key` is the organ that is corrected."""

    services: Services
    folder: Path
    key: str
    draw: Callable[[int], PhantomCase]

    def case(self, seed: int) -> PhantomCase:
        """Return a patient's CT with its truth."""
        return self.draw(seed)

    def study(self, seed: int) -> tuple[Path, Path]:
        """Write a CT and segment it; return its folder and the organ SEG."""
        ct, out = self.folder / f"ct-{seed}", self.folder / f"result-{seed}"
        write_phantom_series(self.case(seed), ct)
        segment(ct, out, self.services, now=lambda: SAVED_AT)
        return ct, out / "organ-seg.dcm"

    def correct(self, seed: int) -> Ingested | NotTaken:
        """Paint the truth of the organ over what was served, save it as OHIF does, and take it in."""
        ct, sent = self.study(seed)
        series = load(read_series(ct)[0])
        painted = {organ(self.key).label: self.case(seed).truth[self.key]}
        saved = self.folder / f"saved-{seed}.dcm"
        saved.write_bytes(save_like_ohif(sent.read_bytes(), series, painted, written_at=SAVED_AT))
        return ingest(saved, ct, sent, memory_of(self.services.settings))


def open_nnunet_site(
    folder: Path, kind: str, axes: str, key: str, organs: Sequence[str] | None = None
) -> NnunetSite:
    """Import a network of ``tests/fixtures/nnunet`` without its mirroring, and let it serve."""
    path = unpacked(folder / "results") / kind
    return open_site(folder, path, Asked(axes=axes, mirrored=False), key, partial(part, "B", key=key), organs)


def open_site(
    folder: Path,
    network: Path,
    asked: Asked,
    key: str,
    draw: Callable[[int], PhantomCase],
    organs: Sequence[str] | None = None,
    reference: Reference | None = None,
) -> NnunetSite:
    """Import a network and let it serve patients that are drawn by their seeds."""
    services = connect_in_process(Settings(home=folder / "home", threads=THREADS))
    document = keep_nnunet(
        network,
        services.releases,
        services.records,
        THREADS,
        asked,
        licence="Apache-2.0",
        origin="made for tests",
        organs=organs,
        reference=reference,
    )
    make_first(document.release, services.releases, services.records, "Dr. No", "a first release")
    write(services.releases.release(document.release), services)
    return NnunetSite(services, folder, key, draw)
