"""A hospital whose archive is watched, and the worker that does what the watch starts."""

from __future__ import annotations

import dataclasses
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from pydicom import dcmread

from flows.arrivals.query import retrieve
from flows.arrivals.rules import LONGEST_PAUSE
from flows.arrivals.watch import UNFINISHED, look, submit, take_in
from flows.corrections.ingest import ingest, memory_of
from flows.corrections.report import Ingested, NotTaken
from flows.launching import INGEST, SEGMENT, Launcher, RunState
from flows.segmentation.segment import segment
from models.errors import OrganloopError
from models.phantom.case import make_case
from models.uids import StudyUid
from services.dicom.ct.phantom_series import write_phantom_series
from services.pacs.port import ArchivedStudy
from services.records.entries.arrivals import Arrival
from services.wiring import Services
from tests.support.archive import Archive
from tests.support.learning import ORGANS, SPACING, Site
from tests.support.log import lines

EXAMINED = date(2020, 1, 1)
"""StudyDate of the phantoms."""

PATIENCE_SECONDS = 60.0
"""Longest wait for the archive; only a test that fails takes it."""

SLICES = 20
"""Of a short phantom; so many are quick."""


def write_short_phantom(folder: Path) -> Path:
    """Write a phantom of site B with few slices; return its folder."""
    for path in write_phantom_series(make_case("B", 1, spacing_mm=SPACING), folder)[SLICES:]:
        path.unlink()
    return folder


def watch(services: Services, launcher: Launcher, today: date | None = None) -> dict[str, Any]:
    """Do once all that the loop does; the pauses before what was cut short are over."""
    day = today or date.today()
    came = take_in(services.feed, services.records, day, services.settings.watch_from)
    changed, unanswered = look(services, launcher)
    later = datetime.now(UTC) + LONGEST_PAUSE
    started, held = submit(services, launcher, now=lambda: later)
    return {
        "came": came,
        "arrivals": [*changed, *started],
        "unanswered": unanswered,
        "held": held,
        "not_sent": retrieve(services.source, services.archive, services.records, day),
    }


@dataclass
class Worker:
    """Keeps what is launched until it is told to work, as Prefect keeps runs until a worker takes them."""

    services: Services
    runs: dict[str, tuple[str, str, bool]] = field(default_factory=dict)
    states: dict[str, RunState] = field(default_factory=dict)
    documents: dict[str, Ingested | NotTaken] = field(default_factory=dict)
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
            return RunState.FAILED
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
    waits: bool = True
    """Whether a study is quiet when the archive says so; else at once."""

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

    def quiet(self) -> None:
        """Wait until the archive calls every study stable."""
        if not self.waits:
            return
        end = time.monotonic() + PATIENCE_SECONDS
        while not all(one["IsStable"] for one in self.archive.ask("/studies?expand")):
            assert time.monotonic() < end, "the archive calls no study stable"
            time.sleep(0.05)

    def settle(self) -> dict[str, Any]:
        """Watch once the archive calls every study stable, and again for what is retrieved then."""
        for _ in range(5):
            self.quiet()
            told = self.watch()
            if self.arrival.code not in UNFINISHED:
                return told
        raise AssertionError(f"the study stays {self.arrival.code}")

    def ingested(self) -> str:
        """Watch once a SEG is there and quiet, and take it in; return its SOP Instance UID."""
        before = self.worker.launched(INGEST)
        self.settle()
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
        events = lines(self.services.records, "result-recorded")
        return [one.payload["objects"] for one in events if one.payload["study_uid"] == self.study_uid]

    def of_record(self) -> list[str]:
        return sorted(uid for objects in self.recorded() for uid in objects.values())


def open_hospital(site: Site, archive: Archive, ct: Path, folder: Path, *, waits: bool = True) -> Hospital:
    """Return a hospital with a home of its own; what others left in the archive's feed is not its.

    Orthanc takes two seconds, or more, to call a study stable. Where that is not what a test is about,
    it need not wait: every study is stable at once.
    """
    services = site.copy(folder, **archive.named).services
    services.records.take_in([], archive.ask("/changes?last")["Last"])
    if not waits:
        assert services.archive is not None
        services.archive.study = _stable_at_once(services.archive.study)  # type: ignore[method-assign]
    return Hospital(services, archive, ct, Worker(services), waits=waits)


def _stable_at_once(
    asked: Callable[[StudyUid], ArchivedStudy | None],
) -> Callable[[StudyUid], ArchivedStudy | None]:
    def study(study_uid: StudyUid) -> ArchivedStudy | None:
        found = asked(study_uid)
        return found and dataclasses.replace(found, stable=True)

    return study
