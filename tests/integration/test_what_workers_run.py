"""Who has Prefect's password may start this program's flows, and has nothing else run: on a real server."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.deployments.runner import EntrypointType, RunnerDeployment
from prefect.exceptions import PrefectHTTPStatusError

from deploy.runs.deployments import register
from deploy.runs.job_launcher import JobConfiguration
from deploy.runs.known_flows import ENTRYPOINTS, UnknownFlow
from deploy.stack.prefect import PrefectServer
from services.settings import Settings
from tests.support.chart import ALL, of_kind, render
from tests.support.waiting import until

OURS = """
from pathlib import Path
from prefect import flow

@flow(name="ours")
def ours(mark: str):
    Path(mark + ".ours").touch()
"""
EVIL = """
from pathlib import Path
from prefect import flow

@flow(name="ours")
def ours(mark: str):
    Path(mark + ".evil").touch()

@flow(name="hers")
def hers(mark: str):
    Path(mark + ".evil").touch()
"""
OPEN_POOL = {
    "job_configuration": {"command": "{{ command }}", "env": "{{ env }}", "working_dir": "{{ working_dir }}"},
    "variables": {"type": "object", "properties": {"command": {}, "env": {}, "working_dir": {}}},
}
"""What a pool offers by default."""


@pytest.fixture(scope="module")
def api(tmp_path_factory, prefect_home):
    server = PrefectServer(prefect_home(tmp_path_factory.mktemp("prefect")), 4270)
    access = server.start()
    with access.used():
        yield access
    server.stop()


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A folder from which both ours and theirs could be imported, by this process and by the worker."""
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "ours_for_test.py").write_text(OURS)
    (folder / "evil_for_test.py").write_text(EVIL)
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_worker_runs_its_own_flows_whatever_one_with_the_password_has_written(api, code, tmp_path):
    """Command, environment, folder and module are named by the server, and none of them is taken from it."""
    import evil_for_test

    chosen = {"command": f"touch {tmp_path}/command.evil", "env": {"ORGANLOOP_HOME": "/", "PATH": "/none"}}
    pool = WorkPoolCreate(name="organloop", type="process", base_job_template=OPEN_POOL)
    with get_client(sync_client=True) as client:
        client.create_work_pool(pool, overwrite=True)
        runs = {}
        for flow in (evil_for_test.hers, evil_for_test.ours):
            deployment = RunnerDeployment.from_flow(
                flow, "x", entrypoint_type=EntrypointType.MODULE_PATH, job_variables=chosen
            )
            made = deployment.apply(work_pool_name="organloop")
            runs[flow.name] = client.create_flow_run_from_deployment(
                made, parameters={"mark": str(tmp_path / flow.name)}
            )

        def ended():
            found = {name: client.read_flow_run(run.id).state for name, run in runs.items()}
            return found if all(state.is_final() for state in found.values()) else None

        command = [sys.executable, "-m", "tests.support.own_flows_worker", "ours=ours_for_test.ours"]
        path = f"{code}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        env = {"PYTHONPATH": path, "PREFECT_WORKER_QUERY_SECONDS": "1", "ORGANLOOP_HOME": str(tmp_path)}
        worker = subprocess.Popen(
            [*command, "--queue", "default", "--at-once", "2", "--no-health"],
            env=os.environ | api.variables | env,
        )
        try:
            states = until(ended, "both runs have ended", pause_seconds=0.2)
        finally:
            worker.kill()
            worker.wait()
    assert {name: state.type.value for name, state in states.items()} == {
        "hers": "CRASHED",
        "ours": "COMPLETED",
    }
    assert "and no other flow" in states["hers"].message
    assert [one.name for one in tmp_path.glob("*.*") if one.suffix != ".sqlite"] == ["ours.ours"]


def test_a_job_runs_its_own_flow_whatever_the_deployment_says(api, code, tmp_path):
    import evil_for_test

    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="jobs", type="kubernetes"), overwrite=True)
        deployment = RunnerDeployment.from_flow(
            evil_for_test.ours, "job", entrypoint_type=EntrypointType.MODULE_PATH
        )
        run = client.create_flow_run_from_deployment(
            deployment.apply(work_pool_name="jobs"), parameters={"mark": str(tmp_path / "job")}
        )
        program = (
            "from tests.support.own_flows_worker import know; know('ours', 'ours_for_test.ours'); "
            "from deploy.runs.one_run import main; main()"
        )
        path = f"{code}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        env = {"PYTHONPATH": path, "PREFECT__FLOW_RUN_ID": str(run.id)}
        done = subprocess.run(
            [sys.executable, "-c", program], env=os.environ | api.variables | env, check=False
        )
        assert done.returncode == 0
        assert client.read_flow_run(run.id).state.is_completed()
    assert [one.name for one in tmp_path.glob("job.*")] == ["job.ours"]


@pytest.mark.parametrize("chosen", [{"command": "id"}, {"env": {"A": "b"}}, {"working_dir": "/"}])
def test_the_server_refuses_a_run_for_which_somebody_chooses_what_a_worker_takes_from_nobody(
    api, tmp_path, chosen
):
    register(Settings(home=tmp_path))
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("segment-study/organloop")
        with pytest.raises(PrefectHTTPStatusError, match="Additional properties are not allowed"):
            client.create_flow_run_from_deployment(
                deployment.id, parameters={"source": "1.2.3"}, job_variables=chosen
            )


def test_every_deployment_is_of_a_flow_that_a_worker_runs_and_none_promotes(api, tmp_path):
    names = {one.partition("/")[0] for one in register(Settings(home=tmp_path))}
    assert names == set(ENTRYPOINTS)
    assert not [one for one in names if "promote" in one or "approve" in one]


def test_a_job_of_a_cluster_is_what_the_charts_file_says(api):
    """With the password one may change the pool's template and give a run variables: neither is taken."""
    text = of_kind(render(ALL), "ConfigMap")["organloop-tuning"]["data"]["job-template.json"]
    JobConfiguration.template = json.loads(text)
    pod = {
        "containers": [{"name": "prefect-job", "image": "evil"}],
        "serviceAccountName": "organloop-launcher",
    }
    manifest = {"spec": {"template": {"spec": pod}}}
    hostile = WorkPool(
        name="jobs",
        type="kubernetes",
        base_job_template={
            "job_configuration": {"job_manifest": manifest, "command": "id"},
            "variables": {"type": "object", "properties": {}},
        },
    )
    with get_client(sync_client=True) as client:
        flows = {name: client.create_flow_from_name(name) for name in ("tune-heads", "hers")}

    async def made_of(name):
        run = FlowRun(
            id=uuid4(), flow_id=flows[name], name="r", job_variables={"env": {"A": "b"}, "command": "id"}
        )
        async with get_client() as client:
            return await JobConfiguration.resolve_for_flow_run(
                run, client=client, work_pool=hostile, worker_name="launcher"
            )

    made = asyncio.run(made_of("tune-heads")).job_manifest["spec"]["template"]["spec"]
    [container], [wanted] = (
        made["containers"],
        json.loads(text)["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]["containers"],
    )
    said = {one["name"]: one.get("value") for one in container["env"]}
    assert (container["image"], made["serviceAccountName"]) == (wanted["image"], "organloop")
    assert container["args"] == ["python", "-m", "deploy.runs.one_run"]
    assert UUID(said["PREFECT__FLOW_RUN_ID"])
    assert "A" not in said
    with pytest.raises(UnknownFlow, match="tune-heads"):
        asyncio.run(made_of("hers"))
