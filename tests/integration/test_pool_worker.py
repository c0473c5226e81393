"""A container's worker is asked to end while runs are under way: none is lost, on a real Prefect server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from uuid import uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.events import Event
from prefect.states import Cancelling, Pending, Running

from deploy.runs.dead_runs import HEARTBEAT, SILENT_SECONDS, DeadRuns, _has_process
from deploy.runs.deployments import ONE_AT_A_TIME
from deploy.stack import local_process
from deploy.stack.prefect import PrefectServer
from services.records.store import open_records
from tests.support.log import lines
from tests.support.waiting import GUARD_SECONDS, until

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

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
def api(tmp_path_factory, prefect_home):
    server = PrefectServer(prefect_home(tmp_path_factory.mktemp("prefect")), 4220)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_SERVER_SERVICES_EVENT_PERSISTER_FLUSH_INTERVAL", "0.5")  # else seconds
        access = server.start()
    with access.used():
        yield access
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


@pytest.mark.parametrize(("grace", "ends_in"), [("60", "COMPLETED"), ("1", "CRASHED")])
def test_what_is_under_way_is_waited_for_and_else_reported(api, deployed, tmp_path, grace, ends_in):
    port = local_process.free_port(0)
    env = (
        os.environ
        | api.variables
        | {
            "PYTHONPATH": f"{deployed}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
            "PREFECT_WORKER_WEBSERVER_PORT": str(port),
            "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "ORGANLOOP_HOME": str(tmp_path),
        }
    )
    program = [sys.executable, "-m", "tests.support.own_flows_worker", "slow=slow_for_test.slow"]
    command = [*program, "--queue", "default", "--at-once", "1"]
    go_on = tmp_path / "go-on"
    with (tmp_path / "log").open("w") as log:
        worker = subprocess.Popen([*command, "--grace-seconds", grace], env=env, stdout=log, stderr=log)
    try:
        run, after = (
            run_deployment("slow/x", parameters={"go_on": str(path)}, timeout=0, as_subflow=False)
            for path in (go_on, tmp_path / "never")
        )
        until((tmp_path / "go-on.begun").exists, "the run begins")
        worker.send_signal(signal.SIGTERM)
        until(lambda: "no more runs are taken" in (tmp_path / "log").read_text(), "the worker hears it")
        if ends_in == "COMPLETED":
            go_on.touch()
        assert worker.wait(GUARD_SECONDS) == 0
    finally:
        worker.kill()
        worker.wait()
    assert state_of(run) == ends_in
    assert state_of(after) == "SCHEDULED"  # another worker's
    assert not (tmp_path / "never.begun").exists()
    with get_client(sync_client=True) as client:
        client.delete_flow_run(after.id)


class Watched:
    """What frees dead runs, in a time that passes when it is told to."""

    def __init__(self, records, *held):
        self.now = 0.0
        self.records = records
        self.held = set(held)
        self.dead = DeadRuns("organloop@here", lambda: self.held, lambda: self.now)

    def free(self, *, after=0.0):
        self.now += after
        with get_client(sync_client=True) as client:
            return self.dead.free(client, self.records)

    @property
    def freed(self):
        return {one.payload["run"]: (one.payload["was"], one.payload["why"]) for one in
                lines(self.records, "run-freed")}  # fmt: skip


@pytest.fixture
def records(tmp_path):
    opened = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield opened
    opened.close()


@pytest.fixture
def begin(api, deployed):
    """Begin runs by state, worker and process; delete them at the end."""
    begun = []

    def run_of(worker, *states, pid=None, deployment="slow/x"):
        run = run_deployment(deployment, parameters={"go_on": "never"}, timeout=0, as_subflow=False)
        begun.append(run)
        with get_client(sync_client=True) as client:
            if worker:
                client.update_flow_run_labels(run.id, {"prefect.worker.name": worker})
            if pid:
                client.update_flow_run(run.id, infrastructure_pid=str(pid))
            for state in states:
                client.set_flow_run_state(run.id, state, force=True)
        return run

    yield run_of
    with get_client(sync_client=True) as client:
        for run in begun:
            client.delete_flow_run(run.id)


def test_runs_whose_process_is_gone_from_this_machine_are_ended_at_once(begin, records):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    me = "organloop@here"
    held = begin(me, Pending())
    runs = {
        "gone": begin(me, Pending(), Running(), pid=gone.pid),
        "alive": begin(me, Pending(), Running(), pid=os.getpid()),
        "never had one": begin(me, Pending()),
        "being cancelled": begin(me, Pending(), Running(), Cancelling(), pid=gone.pid),
        "held": held,
    }
    watched = Watched(records, held.id)
    assert watched.free() == 3
    assert {name: state_of(run) for name, run in runs.items()} == {
        "gone": "CRASHED",
        "alive": "RUNNING",
        "never had one": "CRASHED",
        "being cancelled": "CANCELLED",
        "held": "PENDING",
    }
    assert watched.freed[str(runs["being cancelled"].id)] == ("cancelling", "its process is gone")
    assert watched.free() == 0, "said once"


def test_a_number_that_is_used_again_is_another_process():
    """After a restart of the machine it may be anybody's."""
    run = FlowRun(flow_id=uuid4(), infrastructure_pid=str(os.getpid()))
    run.start_time = datetime.now(UTC)
    assert _has_process(run)
    run.start_time = LONG_AGO
    assert not _has_process(run)


def test_runs_of_a_node_that_died_give_their_places_back_and_those_of_a_living_worker_go_on(begin, records):
    runs = {worker: begin(worker, Pending(), Running()) for worker in ("organloop@died", "organloop@living")}
    taken_only = begin("", Pending())
    waiting = begin("")
    by_hand = begin("", Running())
    watched = Watched(records)

    def heartbeat():
        with get_client(sync_client=True) as client:
            client.send_worker_heartbeat("organloop", "organloop@living", 30)

    heartbeat()
    assert watched.free() == 0
    heartbeat()
    assert watched.free(after=SILENT_SECONDS - 1) == 0, "nothing has been silent for long"
    heartbeat()
    assert watched.free(after=1) == 2
    states = {worker: state_of(run) for worker, run in runs.items()}
    assert states == {"organloop@died": "CRASHED", "organloop@living": "RUNNING"}
    assert [state_of(run) for run in (taken_only, waiting, by_hand)] == ["CRASHED", "SCHEDULED", "RUNNING"]
    assert watched.freed[str(runs["organloop@died"].id)][1].startswith("its worker organloop@died")


def test_a_server_that_was_away_says_nothing_about_runs(begin, records):
    """A worker cannot speak to it meanwhile: silence counts from the first answer on."""
    run = begin("organloop@living", Pending(), Running())
    watched = Watched(records)
    watched.now = 10 * SILENT_SECONDS  # it was away for so long
    assert watched.free() == 0
    assert state_of(run) == "RUNNING"


def test_a_job_of_a_cluster_outlives_its_worker_and_is_dead_when_it_gives_no_sign(begin, records, api):
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="jobs", type="kubernetes"), overwrite=True)
    from slow_for_test import slow

    RunnerDeployment.from_flow(slow, "job", entrypoint_type=EntrypointType.MODULE_PATH).apply(
        work_pool_name="jobs"
    )
    runs = {
        name: begin("jobs@gone", Pending(), Running(), deployment="slow/job") for name in ("dead", "alive")
    }
    watched = Watched(records)

    def heartbeat():
        with get_client(sync_client=True) as client:
            event = Event(
                event=HEARTBEAT, resource={"prefect.resource.id": f"prefect.flow-run.{runs['alive'].id}"}
            )
            client.request("POST", "/events", json=[event.model_dump(mode="json")])
            asked = {"filter": {"any_resource": {"id": [f"prefect.flow-run.{runs['alive'].id}"]},
                                "event": {"name": [HEARTBEAT]}}}  # fmt: skip
            until(
                lambda e=event: str(e.id) in client.request("POST", "/events/filter", json=asked).text, "seen"
            )

    heartbeat()
    assert watched.free() == 0
    heartbeat()
    assert watched.free(after=SILENT_SECONDS) == 1
    assert {name: state_of(run) for name, run in runs.items()} == {"dead": "CRASHED", "alive": "RUNNING"}


@pytest.fixture
def one_at_a_time(deployed):
    from slow_for_test import slow

    deployment = RunnerDeployment.from_flow(
        slow, "night", entrypoint_type=EntrypointType.MODULE_PATH, concurrency_limit=ONE_AT_A_TIME
    )
    deployment.apply(work_pool_name="organloop")
    return "slow/night"


def asks_to_begin(run):
    """Ask as a worker does, and return the state that the server gives."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Pending())
    return state_of(run)


def test_a_night_that_never_began_does_not_cancel_the_nights_after_it(begin, one_at_a_time, records):
    stuck = begin("", deployment=one_at_a_time)
    assert asks_to_begin(stuck) == "PENDING"
    assert asks_to_begin(begin("", deployment=one_at_a_time)) == "CANCELLED", "so it is without us"
    watched = Watched(records)
    assert [watched.free(), watched.free(after=SILENT_SECONDS)] == [0, 1]
    assert state_of(stuck) == "CRASHED"
    assert asks_to_begin(begin("", deployment=one_at_a_time)) == "PENDING"


def test_a_place_that_no_run_holds_is_given_back(begin, one_at_a_time, records):
    """A server that is killed between two steps leaves one; here its run was deleted."""
    with get_client(sync_client=True) as client:
        limit = client.read_deployment_by_name(one_at_a_time).global_concurrency_limit
        client.request("PATCH", "/v2/concurrency_limits/{id}", path_params={"id": limit.id},
                       json={"active_slots": 1})  # fmt: skip
    assert asks_to_begin(begin("", deployment=one_at_a_time)) == "CANCELLED", "so it is without us"
    watched = Watched(records)
    assert [watched.free(), watched.free(after=SILENT_SECONDS)] == [0, 1]
    (event,) = lines(records, "place-freed")
    assert event.payload["places"] == 1
    assert asks_to_begin(begin("", deployment=one_at_a_time)) == "PENDING"
