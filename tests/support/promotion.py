"""A site with a frozen gate set and candidates of tiny networks, for the tests of gate and promotion."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flows.gate.gate_candidate import gate_candidate
from flows.progress import Progress, silent
from flows.serving.serve import write
from models.contract import ModelContract
from models.corrections.ledger import INDEPENDENT, HybridLabel, Provenance
from models.documents import to_json
from models.errors import InvalidRelease, ServingRejected, ServingUnavailable
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.masks import BoxedMask
from models.release import Release, sha256_hex
from models.series.acquisition import Acquisition
from models.tuning.document import Climb, TriedLevel, TuningReport
from models.volume import Volume
from services.cases.store import CaseContent, CaseStore
from services.inference.engine import InProcessSegmenter, OpenVinoEngine
from services.inference.port import Endpoint, Segmenter
from services.records.entries.cases import Case, Purpose
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import CandidateTuned
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.triton.repository import TritonRepository
from services.wiring import Services, triton_repository
from tests.support.tiny_networks import noisy_body, publish_tiny

THREADS = 2
SHAPE = (14, 16, 16)
GRID = Geometry(SHAPE, np.array([[0, 0, 3, -30], [0, 3, 0, -40], [3, 0, 0, 10], [0, 0, 0, 1.0]]))
"""A CT that lies on the model grid of the tiny contract already."""


_COMPILED: dict[str, OpenVinoEngine] = {}
"""By the digest of a version folder."""


class InProcessEndpoint(InProcessSegmenter):
    """Serves in this process what was loaded, as Triton does, and counts what it was asked."""

    url = "this process"

    def __init__(self, versions: Path, threads: int = THREADS) -> None:
        super().__init__(versions, threads)
        self.asked: list[int] = []
        self._loaded: set[int] = set()

    def share(self, other: InProcessEndpoint) -> None:
        """Take over what another has compiled; it is not loaded by that."""
        self._engines |= other._engines

    def ready(self, release: int) -> bool:
        return release in self._loaded

    def _engine(self, release: int) -> OpenVinoEngine:
        """Compile folders of the same bytes once: it takes longer than what is asked of them."""
        folder = self._versions / str(release)
        if release not in self._engines and folder.is_dir():
            content = [
                (p.relative_to(folder), p.read_bytes()) for p in sorted(folder.rglob("*")) if p.is_file()
            ]
            key = sha256_hex(repr((content, self._threads)).encode())
            if key not in _COMPILED:
                _COMPILED[key] = super()._engine(release)
            self._engines[release] = _COMPILED[key]
        return super()._engine(release)

    def load(self) -> None:
        failed = []
        for folder in self._versions.iterdir():
            if folder.name.isdigit() and int(folder.name) not in self._loaded:
                try:
                    self._engine(int(folder.name))
                    self._loaded.add(int(folder.name))
                except InvalidRelease as error:
                    failed.append(f"version {folder.name}: {error}")
        if failed:
            raise ServingRejected("; ".join(failed))

    def segment(
        self,
        hu: NDArray[np.int16] | NDArray[np.float32],
        release: int,
        sampled: bool = False,
        ct: Geometry | None = None,
    ) -> Segmentation:
        if not self.ready(release):
            raise ServingUnavailable(f"release {release} is not loaded")
        self.asked.append(release)
        return super().segment(hu, release, sampled, ct)


def in_process_site(
    home: Path, compiled: InProcessEndpoint | None = None
) -> tuple[Services, InProcessEndpoint]:
    """Return a site whose release 1 serves, in this process; what was compiled elsewhere is taken over."""
    settings = Settings(home=home)
    repository = triton_repository(settings)
    endpoint = InProcessEndpoint(repository.versions_folder)
    if compiled is not None:
        endpoint.share(compiled)
    store = ReleaseStore(settings.release_store)
    release = publish_tiny(store, 1, {"liver": 1, "spleen": 2})
    services = site_of(settings, store, repository, endpoint)
    write(release, services)
    endpoint.load()
    return services, endpoint


def site_of(
    settings: Settings, store: ReleaseStore, repository: TritonRepository, endpoint: Endpoint
) -> Services:
    """Return services round a store whose release 1 is made the incumbent."""
    records = open_records(settings.records_url)
    records.set_incumbent(1, approver="IT", reason="first release")
    return Services(
        settings=settings,
        releases=store,
        records=records,
        segmenter=endpoint,
        cases=CaseStore(settings.case_store),
        repository=repository,
        endpoints=(endpoint,),
    )


def add_candidate(
    services: Services, number: int, seeds: Mapping[str, int], tuned: tuple[str, ...] = ("spleen",), **learnt
) -> Release:
    """Publish a candidate that was tuned, with nothing learnt from the gate's patients."""
    candidate = publish_tiny(services.releases, number, dict(seeds), parent=1)
    record_candidate(services, candidate, tuned, **learnt)
    return candidate


def record_candidate(
    services: Services,
    candidate: Release,
    tuned: tuple[str, ...],
    patients: tuple[str, ...] = ("somebody else",),
    sites: tuple[str, ...] = ("B",),
    estimates: Mapping[str, float] | None = None,
) -> None:
    """Put a candidate on record, what it learnt from, and the DSC that tuning estimated by organ."""
    services.records.record_release(candidate.number, candidate.digest, ReleaseState.CANDIDATE)
    event = CandidateTuned(
        run=f"a run that made release {candidate.number}",
        release=candidate.number,
        organs=tuple(tuned),
        cases=(),
        patients=tuple(patients),
        sites=tuple(sites),
        report=TuningReport(
            levels=dict.fromkeys(estimates or (), "head"),
            ladders={
                organ: Climb("target-met", None, None, (TriedLevel("head", 1, None, dsc, None),))
                for organ, dsc in (estimates or {}).items()
            },
        ),
    )
    services.records.record(event, who="tune_heads")


def freeze_gate_set(
    services: Services, segmenter: Segmenter, count: int, spleen_truth: int, liver_truth: int = 1
) -> None:
    """Freeze patients of sites A and B in turn, whose true organs are what a loaded release answers."""
    for n in range(count):
        add_gate_case(services, segmenter, n, spleen_truth, liver_truth)
    services.records.freeze(Purpose.GATE)


def add_gate_case(
    services: Services,
    segmenter: Segmenter,
    n: int,
    spleen_truth: int,
    liver_truth: int = 1,
    stomach_truth: int | None = None,
) -> Case:
    """Take a patient of site A or B in turn into the gate set, told as in `freeze_gate_set`.

    Truth of the stomach is what a release answers that has it behind the other two; None: nobody drew it.
    """
    volume = Volume(noisy_body(SHAPE, seed=n), GRID)
    labels = {}
    truth = {"liver": liver_truth, "spleen": spleen_truth, "stomach": stomach_truth}
    for index, (organ, release) in enumerate(truth.items()):
        if release is None:
            continue
        mask = segmenter.segment(volume.hu, release).probability[index] >= np.float16(0.5)
        labels[organ] = HybridLabel(BoxedMask.of(mask), Provenance.READER)
    return services.cases.add(
        services.records,
        f"gate case {n}",
        f"gate patient {n}",
        Purpose.GATE,
        INDEPENDENT,
        CaseContent(volume, GRID, {}, labels),
        "AB"[n % 2],
        Acquisition(scanner=f"CT {n % 2}", kernel="B30f", thickness_mm=1.0 + 2 * (n % 2), contrast="stated"),
    )


def small_canary(contract: ModelContract) -> NDArray[np.int16]:
    """Return a canary that costs nothing."""
    return noisy_body((16, 20, 18), seed=99)


BETTER = {"liver": 1, "spleen": 3}
"""Seeds of the heads of a candidate whose spleens are better on the gate set below."""

Gated = tuple[Path, InProcessEndpoint]


def gated_site(home: Path, cases: int) -> Gated:
    """Make a site whose candidate, release 2, passed the gate; return its home, closed, and its server."""
    services, endpoint = in_process_site(home)
    candidate = add_candidate(services, 2, BETTER)
    write(candidate, services)
    endpoint.load()
    freeze_gate_set(services, endpoint, cases, spleen_truth=2)
    gate_candidate(2, services)
    services.records.close()
    return services.settings.home, endpoint


def copy_of(gated: Gated, home: Path) -> Services:
    """Return a copy of a gated site, where release 1 serves and release 2 is loaded."""
    made, endpoint = gated
    shutil.copytree(made, home)
    services, own = in_process_site(home, endpoint)
    own.load()
    return services


def gate_document(number: int, services: Services, progress: Progress = silent) -> dict[str, Any]:
    """Gate a candidate; return the JSON document."""
    document: dict[str, Any] = to_json(gate_candidate(number, services, progress))
    return document


def codes_of(report: Mapping[str, Any]) -> set[str]:
    """Return the codes of every reason of a JSON document of the gate."""
    reasons = [*report["reasons"], *(reason for organ in report["organs"] for reason in organ["reasons"])]
    return {reason["code"] for reason in reasons}
