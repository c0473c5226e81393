"""Worker and Prefect server are killed at each state of a run: it ends, and the next night runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.states import Cancelling

from deploy.runs.deployments import ONE_AT_A_TIME
from deploy.stack.local_process import LocalProcess, free_port
from deploy.stack.prefect import PrefectServer
from services.records.store import open_records
from tests.support.log import lines

FLOW = """
import time
from pathlib import Path
from prefect import flow

@flow(name="night")
def night(go_on: str):
    Path(go_on + ".begun").touch()
    while not Path(go_on).exists():
        time.sleep(0.1)
"""
PORT = 4260
"""Not one of those that the system gives to whoever connects."""
PATIENCE_SECONDS = 600.0


class Site:
    """A Prefect server that may be killed, a schedule of one run at a time, and workers that may be."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = PrefectServer(folder / "prefect", PORT)
        self.access = self.server.start()
        self.number = 0

    def deploy(self) -> None:
        (self.folder / "night_for_proof.py").write_text(FLOW)
        with get_client(sync_client=True) as client:
            client.create_work_pool(WorkPoolCreate(name="organloop", type="process"))
        from night_for_proof import night

        RunnerDeployment.from_flow(
            night, "x", entrypoint_type=EntrypointType.MODULE_PATH, concurrency_limit=ONE_AT_A_TIME
        ).apply(work_pool_name="organloop")

    @contextmanager
    def worker(self, killed_at: str = "") -> Iterator[subprocess.Popen[bytes]]:
        env = (
            os.environ
            | self.access.variables
            | {
                "PYTHONPATH": f"{self.folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
                "PREFECT_WORKER_QUERY_SECONDS": "1",
                "ORGANLOOP_HOME": str(self.folder / "home"),
                "ORGANLOOP_TRITON_URL": "127.0.0.1:9",
                "KILLED_AT": killed_at,
            }
        )
        command = [sys.executable, "-m", "tests.proofs.killed_worker", "--queue", "default", "--at-once", "2"]
        with (self.folder / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--watch", "--no-health", "--grace-seconds", "1"],
                env=env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            kill(process)

    def begin(self) -> tuple[FlowRun, Path]:
        """Start a run; it ends when its file is there."""
        self.number += 1
        go_on = self.folder / f"go-on-{self.number}"
        run = run_deployment("night/x", parameters={"go_on": str(go_on)}, timeout=0, as_subflow=False)
        return run, go_on  # type: ignore[return-value]

    def state(self, run: FlowRun) -> str:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run.id).state
        return "" if state is None else state.type.value

    def await_state(self, run: FlowRun, *wanted: str) -> str:
        return until(lambda: (state := self.state(run)) in wanted and state)

    def kill_server(self) -> None:
        import json

        noted = json.loads((self.folder / "prefect" / "server.json").read_bytes())
        process = LocalProcess(**noted["process"])
        os.killpg(process.pid, signal.SIGKILL)
        until(lambda: not process.alive and free_port(PORT) == PORT)

    def freed(self) -> list[str]:
        records = open_records(f"sqlite:///{self.folder / 'home' / 'records.sqlite'}")
        runs = [one.payload["run"] for one in lines(records, "run-freed")]
        records.close()
        return runs


def until(true: Callable[[], Any]) -> Any:
    end = time.monotonic() + PATIENCE_SECONDS
    while not (answer := true()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return answer


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a worker and all it started; it may be dead already."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("killed"))
    with pytest.MonkeyPatch.context() as patch, site.access.used():
        patch.syspath_prepend(str(site.folder))
        site.deploy()
        yield site
    site.server.stop()


def the_next_night_runs(site: Site) -> None:
    """The limit lets one run in at a time, and cancels what comes beside it: this one must end well."""
    run, go_on = site.begin()
    go_on.touch()
    assert site.await_state(run, "COMPLETED", "CANCELLED", "CRASHED", "FAILED") == "COMPLETED"


def test_scheduled_when_the_worker_dies_it_is_the_next_worker_s(site: Site) -> None:
    with site.worker() as first:
        kill(first)
        run, go_on = site.begin()
    go_on.touch()
    assert site.state(run) == "SCHEDULED"
    with site.worker():
        assert site.await_state(run, "COMPLETED", "CANCELLED", "CRASHED") == "COMPLETED"
        the_next_night_runs(site)


@pytest.mark.parametrize("killed_at", ["taken", "starting"])
def test_pending_when_the_worker_dies_it_is_freed_and_the_next_night_runs(site: Site, killed_at: str) -> None:
    run, _ = site.begin()
    with site.worker(killed_at) as first:
        first.wait(PATIENCE_SECONDS)
    assert site.state(run) == "PENDING"
    with site.worker():
        assert site.await_state(run, "CRASHED", "COMPLETED") == "CRASHED"
        the_next_night_runs(site)
    assert str(run.id) in site.freed()


@pytest.mark.parametrize("asked_to_end", [False, True], ids=["running", "cancelling"])
def test_running_or_being_cancelled_when_all_its_processes_die(site: Site, asked_to_end: bool) -> None:
    run, go_on = site.begin()
    with site.worker() as first:
        until(Path(f"{go_on}.begun").exists)
        kill(first)
    if asked_to_end:
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Cancelling())
    with site.worker():
        expected = "CANCELLED" if asked_to_end else "CRASHED"
        assert site.await_state(run, "CRASHED", "CANCELLED", "COMPLETED") == expected
        the_next_night_runs(site)
    assert str(run.id) in site.freed()


def test_running_when_the_server_dies_it_goes_on_and_ends_well(site: Site) -> None:
    with site.worker():
        run, go_on = site.begin()
        until(Path(f"{go_on}.begun").exists)
        site.kill_server()
        assert site.server.start() == site.url
        go_on.touch()
        assert site.await_state(run, "COMPLETED", "CRASHED", "FAILED") == "COMPLETED"
        the_next_night_runs(site)


def test_taken_when_the_server_dies_it_comes_to_an_end_and_the_next_night_runs(site: Site) -> None:
    run, go_on = site.begin()
    with site.worker("taken") as first:
        first.wait(PATIENCE_SECONDS)
    site.kill_server()
    assert site.server.start() == site.url
    assert site.state(run) == "PENDING"
    with site.worker():
        go_on.touch()
        assert site.await_state(run, "CRASHED", "COMPLETED") == "CRASHED"
        the_next_night_runs(site)


def test_scheduled_when_the_server_dies_it_is_run_once_it_is_back(site: Site) -> None:
    with site.worker():
        run, go_on = site.begin()
        go_on.touch()
        site.kill_server()
        assert site.server.start() == site.url
        assert site.await_state(run, "COMPLETED", "CRASHED", "CANCELLED") in ("COMPLETED", "CRASHED")
        the_next_night_runs(site)
