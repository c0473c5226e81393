"""The site on which a GPU is tried: phantoms, a reader who corrects some, a gate set of others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.demo.simulated_reader import save_like_ohif
from deploy.preparation import STARTER
from flows.cases.keep import add_case
from flows.corrections.ingest import ingest, memory_of
from flows.progress import Progress
from flows.segmentation.segment import segment
from models.corrections.ledger import INDEPENDENT
from models.organs import organ
from models.phantom.case import make_case
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import write_phantom_series, write_truth
from services.dicom.ct.series import read_series
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.releases.exporter import export_release
from services.settings import Settings
from services.wiring import Services, connect_in_process

READER_CORRECTS = ("stomach", "aorta", "postcava", "gallbladder")
SAVED_AT = datetime(2026, 1, 5, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Extent:
    """How much is done.

    Parameters
    ----------
    corrected, gate
        Phantoms of site B that the reader corrects, and that the gate looks at.
    steps
        Of each head's tuning.
    """

    corrected: int
    gate: int
    steps: int


WHOLE = Extent(corrected=8, gate=8, steps=200)
SMALL = Extent(corrected=3, gate=1, steps=4)
"""Tuning wants three studies of an organ."""


def open_site(home: Path, extent: Extent, threads: int, progress: Progress) -> Services:
    """Make a site in an empty home: the shipped release, corrections of it, a frozen gate set."""
    services = connect_in_process(Settings(home=home, threads=threads, audit_share=0))
    number = services.releases.import_from(STARTER)[0]
    release = services.releases.release(number)
    progress(f"release {number} is exported and proven on the CPU")
    export_release(release, services.releases, threads=threads)
    services.repository.write_version(release, services.releases)
    services.records.record_release(number, release.digest, ReleaseState.PROMOTED)
    services.records.set_incumbent(number, approver="gpu proof", reason="the first release of this home")
    for seed in range(extent.corrected):
        progress(f"phantom {seed + 1} of {extent.corrected}: segmented on the CPU, corrected, taken in")
        _correct(home / "studies" / f"corrected-{seed}", 770_000 + seed, services)
    for seed in range(extent.gate):
        progress(f"gate case {seed + 1} of {extent.gate}")
        ct, truth = _written(home / "studies" / f"gate-{seed}", 780_000 + seed)
        add_case(ct, truth, Purpose.GATE, INDEPENDENT, services)
    services.records.freeze(Purpose.GATE)
    return services


def _written(folder: Path, seed: int) -> tuple[Path, Path]:
    case = make_case("B", seed)
    write_phantom_series(case, folder / "ct")
    write_truth(case, folder / "truth.npz")
    return folder / "ct", folder / "truth.npz"


def _correct(folder: Path, seed: int, services: Services) -> None:
    ct, _ = _written(folder, seed)
    segment(ct, folder / "result", services)
    truth = make_case("B", seed).truth
    painted = {organ(key).label: truth[key] for key in READER_CORRECTS}
    sent = folder / "result" / "organ-seg.dcm"
    series = load(choose_series(read_series(ct)))
    saved = folder / "saved.dcm"
    saved.write_bytes(save_like_ohif(sent.read_bytes(), series, painted, written_at=SAVED_AT))
    ingest(saved, ct, sent, memory_of(services.settings))
