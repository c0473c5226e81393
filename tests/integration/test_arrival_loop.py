"""From a push to the results, with nothing in between but the parts: Orthanc, Prefect, its worker, Triton."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from pydicom import dcmread
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.stack import up_and_down as stack
from deploy.stack.archive import ArchiveServer
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.store import open_records
from services.settings import Settings
from tests.integration.conftest import Command
from tests.support.archive import Archive
from tests.support.names import NAME, files_that_tell, fill_with_names

PATIENCE_SECONDS = 120


@pytest.fixture
def archive(organloop: Command) -> Archive:
    """The archive of the stack."""
    server = ArchiveServer(organloop.home / "archive")
    if server.process is None:
        pytest.skip("the stack has no archive: Orthanc is not installed")
    return Archive(server, server.process)


@pytest.fixture
def at_home(organloop: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Flows of this process report to the stack's Prefect and work in its home."""
    settings = Settings(home=organloop.home)
    monkeypatch.setenv("ORGANLOOP_HOME", str(organloop.home))
    access = stack.prefect(settings).access
    assert access is not None
    with access.used():
        yield settings


@pytest.fixture
def phantom_study(organloop: Command, tmp_path: Path) -> Path:
    """A phantom of this test's own, full of names: the home's records know the others' studies already."""
    answer = organloop("phantom", "--out", tmp_path, "--site", "A", "--seed", "810001")
    fill_with_names(Path(answer.document[0]["ct"]))
    return Path(answer.document[0]["ct"]).parent


def until(true: Callable[[], Any], pause_seconds: float = 0.1) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        answer = true()
        if answer:
            return answer
        time.sleep(pause_seconds)
    raise AssertionError(f"not within {PATIENCE_SECONDS} s")


def push(archive: Archive, folder: Path) -> None:
    peer = ["-aec", archive.aet, "127.0.0.1", str(archive.dicom_port)]
    files = [str(path) for path in sorted(folder.iterdir())]
    subprocess.run(
        ["storescu", "-aet", archive.server.accounts.sender, *peer, *files], check=True, capture_output=True
    )


def test_a_pushed_study_is_segmented_once_though_killed_sent_twice_and_run_three_times(
    organloop: Command, phantom_study: Path, archive: Archive, at_home: Settings
) -> None:
    records = open_records(at_home.records_url)
    study_uid = str(dcmread(next((phantom_study / "ct").iterdir()), stop_before_pixels=True).StudyInstanceUID)

    def state(*wanted: ArrivalState) -> Arrival | None:
        arrival = records.arrival(study_uid)
        return arrival if arrival is not None and arrival.state in wanted else None

    def looked_at() -> bool:
        """Return whether the archive calls it complete and the watch has seen that."""
        stable = all(one["IsStable"] for one in archive.ask("/studies?expand"))
        return stable and not records.arrival(study_uid).touched

    def results() -> list[tuple[str, str]]:
        found = archive.ask(f"/dicom-web/studies/{study_uid}/instances")
        kinds = ((one["00080060"]["Value"][0], one["00080018"]["Value"][0]) for one in found)
        return sorted((kind, uid) for kind, uid in kinds if kind in ("SEG", "SR"))

    def running(run: str) -> int | None:
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(UUID(run))
        return (
            int(found.infrastructure_pid) if found.state.is_running() and found.infrastructure_pid else None
        )

    push(archive, phantom_study / "ct")
    first = until(lambda: state(ArrivalState.SUBMITTED))
    os.kill(until(lambda: running(first.run)), signal.SIGKILL)
    done = until(lambda: state(ArrivalState.SEGMENTED))
    assert done.run != first.run
    assert (done.attempts, done.interrupted) == (0, 1), "a killed process costs the study nothing"
    objects = results()
    assert [kind for kind, _ in objects] in (["SEG", "SR"], ["SEG", "SEG", "SR"])

    push(archive, phantom_study / "ct")
    for _ in range(2):
        answer = organloop("segment", study_uid)
        assert answer.exit_code == 0
        assert sorted(one["uid"] for one in answer.document["objects"]) == sorted(uid for _, uid in objects)
    until(looked_at)
    assert results() == objects
    assert records.arrival(study_uid).run == done.run, "nothing was started for what came again"
    assert list((at_home.home / "work").iterdir()) == []

    # Nothing of the patient but in the archive: no log, no record, no dashboard, no metric, no kept case.
    assert [one for one in archive.instances("Patient") if NAME in one["PatientName"]], "it was there"
    assert files_that_tell(organloop.home, "archive/studies") == []
    assert NAME not in metrics_of(organloop.home)


def metrics_of(home: Path) -> str:
    answer = CliRunner().invoke(app, ["metrics", "--once"], env={"ORGANLOOP_HOME": str(home)})
    assert "organloop_studies_total" in answer.stdout
    return str(answer.stdout)
