"""A container's worker is asked to end while runs are under way: none is lost, on a real Prefect server."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.deployments import run_deployment
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Running

from deploy import local_process
from deploy.pool_worker import PoolWorker
from deploy.prefect_server import PrefectServer

FLOW = """
import time
from pathlib import Path
from prefect import flow

@flow(name="slow")
def slow(go_on: str):
    Path(go_on + ".begun").touch()
    while not Path(go_on).exists():
        time.sleep(0.1)
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    server = PrefectServer(tmp_path_factory.mktemp("prefect"), 4220)
    url = server.start()
    with temporary_settings({PREFECT_API_URL: url}):
        yield url
    server.stop()


@pytest.fixture(scope="module")
def deployed(api, tmp_path_factory):
    """A flow that runs until a file is there; the folder it is imported from."""
    folder = tmp_path_factory.mktemp("code")
    (folder / "slow_for_test.py").write_text(FLOW)
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="organloop", type="process"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        from slow_for_test import slow

        deployment = RunnerDeployment.from_flow(slow, "x", entrypoint_type=EntrypointType.MODULE_PATH)
        deployment.apply(work_pool_name="organloop")
    return folder


def state_of(run):
    with get_client(sync_client=True) as client:
        return client.read_flow_run(run.id).state.type.value


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.parametrize(("grace", "ends_in"), [("60", "COMPLETED"), ("1", "CRASHED")])
def test_what_is_under_way_is_waited_for_and_else_reported(api, deployed, tmp_path, grace, ends_in):
    port = local_process.free_port(0)
    env = os.environ | {
        "PREFECT_API_URL": api,
        "PYTHONPATH": str(deployed),
        "PREFECT_WORKER_WEBSERVER_PORT": str(port),
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    command = [sys.executable, "-m", "deploy.pool_worker", "--queue", "default", "--at-once", "1"]
    go_on = tmp_path / "go-on"
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen([*command, "--grace-seconds", grace], env=env, stdout=log, stderr=log)
    try:
        run, after = (
            run_deployment("slow/x", parameters={"go_on": str(path)}, timeout=0, as_subflow=False)
            for path in (go_on, tmp_path / "never")
        )
        wait_for((tmp_path / "go-on.begun").exists)
        worker.send_signal(signal.SIGTERM)
        wait_for(lambda: "no more runs are taken" in (tmp_path / "log").read_text())
        if ends_in == "COMPLETED":
            go_on.touch()
        assert worker.wait(60) == 0
    finally:
        worker.kill()
        worker.wait()
    assert state_of(run) == ends_in
    assert state_of(after) == "SCHEDULED"  # another worker's
    assert not (tmp_path / "never.begun").exists()
    with get_client(sync_client=True) as client:
        client.delete_flow_run(after.id)


def test_runs_of_a_node_that_died_give_their_places_back_and_those_of_a_living_worker_go_on(api, deployed):
    runs = {}
    with get_client(sync_client=True) as client:
        client.send_worker_heartbeat("organloop", "organloop@living", 30)
        for worker in ("organloop@died", "organloop@living", "tuning-job@elsewhere"):
            run = run_deployment("slow/x", parameters={"go_on": "never"}, timeout=0, as_subflow=False)
            client.update_flow_run_labels(run.id, {"prefect.worker.name": worker})
            client.set_flow_run_state(run.id, Running(), force=True)
            runs[worker] = run

    asyncio.run(PoolWorker("organloop", ["default"], 1, 1.0)._bury())  # as it does first of all
    states = {worker: state_of(run) for worker, run in runs.items()}
    with get_client(sync_client=True) as client:
        for run in runs.values():
            client.delete_flow_run(run.id)
    assert states == {
        "organloop@died": "CRASHED",
        "organloop@living": "RUNNING",
        "tuning-job@elsewhere": "RUNNING",
    }
