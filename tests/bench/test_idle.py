"""What the stack takes while nobody wants anything of it, and how soon a study is worked on that comes.

Minutes at rest: ORGANLOOP_BENCH_IDLE_MINUTES, by default 10.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import TaskRunFilter
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.sorting import TaskRunSort
from pydicom.uid import generate_uid

from deploy.stack import up_and_down as stack
from deploy.stack.archive import ArchiveServer
from models.phantom.case import make_case
from services.dicom.ct.phantom_series import write_phantom_series
from services.records.entries.arrivals import ArrivalState
from services.records.store import open_records
from services.settings import Settings
from tests.support.archive import Archive

MINUTES = float(os.environ.get("ORGANLOOP_BENCH_IDLE_MINUTES", "10"))
STUDIES = 20
SLICES = 12
LARGEST_SHARE = 0.02
"""Of a core, all processes but the Prefect server, whose own loops are not ours."""
LONGEST_SECONDS = 5.0
"""From complete to the first task."""
PATIENCE_SECONDS = 300.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A stack of its own, as `organloop up` starts it."""
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    stack.up(settings, print)
    with stack.prefect(settings).start().used():
        yield settings
    stack.down(settings, print)


@dataclass(frozen=True)
class Used:
    """Processor seconds of one process: its own and those of children that ended."""

    program: str
    seconds: float


def processes_of(home: Path) -> dict[int, Used]:
    """Return every process whose environment or command names a home, and all they started, by number."""
    tick = os.sysconf("SC_CLK_TCK")
    found: dict[int, tuple[int, bool, Used]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            said = words + (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        ours = str(home) in said and int(folder.name) != os.getpid()
        seconds = sum(map(int, fields[11:15])) / tick
        found[int(folder.name)] = int(fields[1]), ours, Used(program_of(words), seconds)
    kept = {pid for pid, (_, ours, _) in found.items() if ours}
    while more := {pid for pid, (parent, _, _) in found.items() if parent in kept} - kept:
        kept |= more
    return {pid: found[pid][2] for pid in kept}


def program_of(words: str) -> str:
    known = {
        "prefect server": "Prefect server",
        "prefect.server": "Prefect server",
        "deploy.runs.pool_worker": "worker",
        "forkserver": "worker's forks",
        "resource_tracker": "worker's forks",
        "Orthanc": "Orthanc",
        "triton": "Triton",
        "nginx": "nginx",
    }
    return next((name for word, name in known.items() if word in words), words.strip()[-60:])


def test_idle(site: Settings) -> None:
    """Processor seconds by program, nothing being asked of the stack."""
    wait_until(lambda: open_records(site.records_url).last_watch())
    time.sleep(30)  # what starts has started
    before = processes_of(site.home)
    time.sleep(60 * MINUTES)
    used: Counter[str] = Counter()
    for pid, now in processes_of(site.home).items():
        used[now.program] += now.seconds - (before[pid].seconds if pid in before else 0.0)
    print(f"\nprocessor seconds in {MINUTES:g} minutes")
    for program, seconds in used.most_common():
        print(f"{seconds:8.1f} s  {program}")
    server = used.pop("Prefect server") / (60 * MINUTES)
    share = sum(used.values()) / (60 * MINUTES)
    print(f"{share:.1%} of a core beside the Prefect server's {server:.1%}")
    assert share <= LARGEST_SHARE


def test_seconds_to_the_first_task(site: Settings, tmp_path: Path) -> None:
    """Twenty studies, one after the other, each pushed when the one before is done."""
    server = ArchiveServer(site.home / "archive")
    assert server.process is not None
    archive, records = Archive(server, server.process), open_records(site.records_url)
    wait_until(records.last_watch)
    from_stored, from_complete = [], []
    with get_client(sync_client=True) as client:
        for number in range(STUDIES):
            uid = push(archive, tmp_path / str(number))
            last_stored = datetime.now(UTC)
            run = wait_until(lambda uid=uid: run_of(records.arrival(uid), client))
            begun = wait_until(lambda run=run: first_task(run, client))
            from_stored.append((begun - last_stored).total_seconds())
            from_complete.append((begun - complete_at(archive, uid)).total_seconds())
            wait_until(lambda uid=uid: is_done(records.arrival(uid)))
    for name, seconds in (("the last image stored", from_stored), ("complete", from_complete)):
        print(f"\nfrom {name} to the first task, {STUDIES} studies:", end=" ")
        print(f"median {statistics.median(seconds):.1f} s, worst {max(seconds):.1f} s")
    assert max(from_complete) <= LONGEST_SECONDS


def push(archive: Archive, folder: Path) -> str:
    """Send a short phantom of a new patient by C-STORE; return its study UID."""
    files = sorted(write_phantom_series(make_case("A", 1, spacing_mm=(6.0, 6.0, 6.0)), folder))[:SLICES]
    study_uid = renamed(files)
    peer = ["-aec", archive.aet, "127.0.0.1", str(archive.dicom_port)]
    subprocess.run(["storescu", "-aet", archive.server.accounts.sender, *peer, *map(str, files)], check=True)
    return study_uid


def renamed(files: list[Path]) -> str:
    from pydicom import dcmread

    study_uid, series_uid, frame_uid = (generate_uid() for _ in "123")
    for path in files:
        image = dcmread(path)
        image.StudyInstanceUID, image.SeriesInstanceUID = study_uid, series_uid
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        image.FrameOfReferenceUID = frame_uid
        image.PatientID = study_uid[-16:]
        image.save_as(path)
    return str(study_uid)


def run_of(arrival: Any, client: SyncPrefectClient) -> FlowRun | None:
    if arrival is None or not arrival.run:
        return None
    return client.read_flow_run(UUID(arrival.run))


def first_task(run: FlowRun, client: SyncPrefectClient) -> datetime | None:
    wanted = TaskRunFilter.model_validate({"flow_run_id": {"any_": [str(run.id)]}})
    tasks = client.read_task_runs(task_run_filter=wanted, sort=TaskRunSort.EXPECTED_START_TIME_ASC)
    return next((one.start_time for one in tasks if one.start_time is not None), None)


def complete_at(archive: Archive, study_uid: str) -> datetime:
    """Return when the archive said that nothing more came."""
    [found] = [one for one in archive.ask("/tools/lookup", study_uid.encode()) if one["Type"] == "Study"]
    last = archive.ask("/changes?last")["Last"]
    cursor, told = 0, []
    while cursor < last:
        answer = archive.ask(f"/changes?since={cursor}&limit=1000")
        told += [one["Date"] for one in answer["Changes"]
                 if one["ChangeType"] == "StableStudy" and one["ID"] == found["ID"]]  # fmt: skip
        cursor = answer["Last"]
    return datetime.strptime(told[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)


def is_done(arrival: Any) -> bool:
    return arrival.state not in (ArrivalState.WAITING, ArrivalState.SUBMITTED)


def wait_until(true: Any) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (answer := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return answer
