"""A hospital whose archive is watched, and the worker that does what the watch starts."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from pydicom import dcmread

from flows.ingest_correction import ingest, memory_of
from flows.launching import INGEST, SEGMENT, RunState
from flows.segment_study import segment
from flows.watch_arrivals import watch
from models.errors import OrganloopError
from models.phantom import make_case
from services.dicom.phantom_series import write_phantom_series
from services.records.port import Arrival
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.archive import Archive
from tests.learning import ORGANS, SPACING, THREADS, Site

EXAMINED = date(2020, 1, 1)
"""StudyDate of the phantoms."""

SLICES = 20
"""Of a short phantom; so many are quick."""


def write_short_phantom(folder: Path) -> Path:
    """Write a phantom of site B with few slices; return its folder."""
    for path in write_phantom_series(make_case("B", 1, spacing_mm=SPACING), folder)[SLICES:]:
        path.unlink()
    return folder


@dataclass
class Worker:
    """Keeps what is launched until it is told to work, as Prefect keeps runs until a worker takes them."""

    services: Services
    runs: dict[str, tuple[str, str, bool]] = field(default_factory=dict)
    states: dict[str, RunState] = field(default_factory=dict)
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What the runs that ingested said, by SOP Instance UID."""

    def launch(self, deployment: str, source: str, key: str, *, urgent: bool) -> str:
        self.runs.setdefault(key, (deployment, source, urgent))
        return key

    def state(self, run: str) -> RunState:
        return self.states.get(run, RunState.GOING)

    def work(self) -> None:
        """Do what was launched and is not done yet."""
        for key, (deployment, source, _) in self.runs.items():
            if key not in self.states:
                self.states[key] = self._done(deployment, source)

    def _done(self, deployment: str, source: str) -> RunState:
        try:
            if deployment == SEGMENT:
                segment(source, None, self.services, organs=ORGANS)
            if deployment == INGEST:
                self.documents[source] = ingest(source, memory=memory_of(self.services.settings))
        except OrganloopError:
            return RunState.LOST
        return RunState.DONE

    def launched(self, deployment: str) -> list[str]:
        return [source for name, source, _ in self.runs.values() if name == deployment]


@dataclass
class Hospital:
    """One home and the archive it watches."""

    services: Services
    archive: Archive
    ct: Path
    worker: Worker
    today: date | None = None

    @property
    def study_uid(self) -> str:
        return str(dcmread(next(self.ct.iterdir()), stop_before_pixels=True).StudyInstanceUID)

    @property
    def arrival(self) -> Arrival:
        found = self.services.records.arrival(self.study_uid)
        assert found is not None
        return found

    def watch(self) -> dict[str, Any]:
        return watch(self.services, self.worker, self.today)

    def push(self, *files: Path) -> None:
        peer = ["-aec", self.archive.aet, "127.0.0.1", str(self.archive.dicom_port)]
        sent = [str(path) for path in files or sorted(self.ct.iterdir())]
        subprocess.run(["storescu", "-aet", "STORESCU", *peer, *sent], check=True, capture_output=True)

    def settle(self) -> dict[str, Any]:
        """Watch until the archive calls the study stable and it is looked at, at most 20 s."""
        end = time.monotonic() + 20
        while True:
            told = self.watch()
            if self.arrival.code not in ("arriving", "incomplete") or time.monotonic() > end:
                return told
            time.sleep(0.2)

    def ingested(self) -> str:
        """Watch until a SEG is handed over, at most 20 s, and take it in; return its SOP Instance UID."""
        before = self.worker.launched(INGEST)
        end = time.monotonic() + 20
        while self.worker.launched(INGEST) == before and time.monotonic() < end:
            self.watch()
            time.sleep(0.2)
        [uid] = self.worker.launched(INGEST)[len(before) :]
        self.worker.work()
        self.watch()
        return uid

    def segmented(self) -> None:
        self.settle()
        self.worker.work()
        self.watch()

    def results(self) -> list[str]:
        """Return the SOP Instance UIDs of SEGs and SRs by QIDO, each once as the archive holds them."""
        found = self.archive.ask(f"/dicom-web/studies/{self.study_uid}/instances")
        return sorted(
            one["00080018"]["Value"][0] for one in found if one["00080060"]["Value"][0] in ("SEG", "SR")
        )

    def recorded(self) -> list[dict[str, str]]:
        """Return the objects of each of the study's results on record, by kind."""
        events = self.services.records.events("result-recorded")
        return [one.payload["objects"] for one in events if one.payload["study_uid"] == self.study_uid]

    def of_record(self) -> list[str]:
        return sorted(uid for objects in self.recorded() for uid in objects.values())


def open_hospital(site: Site, archive: Archive, ct: Path, folder: Path) -> Hospital:
    """Return a hospital with a home of its own; what others left in the archive's feed is not its."""
    site.copy(folder)
    settings = Settings(home=folder / "home", threads=THREADS, orthanc_url=archive.url)
    services = connect_in_process(settings)
    services.records.take_in([], archive.ask("/changes?last")["Last"])
    return Hospital(services, archive, ct, Worker(services))
