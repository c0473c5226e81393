"""What a cluster's init containers, jobs and probes call: prepare, register, whether Triton is ready."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from prefect.client.orchestration import get_client
from tritonclient.grpc.service_pb2 import ModelConfigResponse, ModelReadyResponse
from tritonclient.grpc.service_pb2_grpc import (
    GRPCInferenceServiceServicer,
    add_GRPCInferenceServiceServicer_to_server,
)
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.containers import segmenter_ready
from deploy.containers.segmenter_ready import Readiness
from deploy.preparation import prepare
from deploy.stack.local_process import StartFailed
from deploy.stack.prefect import PrefectServer, wait_for_api
from models.errors import StorageFailed
from models.release import NONE_SERVES
from services.records.entries.releases import ReleaseState
from services.settings import Settings
from services.triton.client import TritonSegmenter
from services.wiring import connect_in_process
from tests.support.chart import ALL, of_kind, pods, render
from tests.support.tiny_networks import publish_tiny
from tests.support.waiting import GUARD_SECONDS


def with_tiny_release(home):
    """Return settings of a home that holds a release of tiny networks."""
    settings = Settings(home=home)
    services = connect_in_process(settings)
    release = publish_tiny(services.releases, 1, {"liver": 1, "spleen": 2})
    services.records.record_release(1, release.digest, ReleaseState.PROMOTED)
    services.records.set_incumbent(1, approver="test", reason="test")
    return settings


def test_a_home_without_a_release_is_prepared_and_serves_nothing(tmp_path):
    said = []
    assert prepare(Settings(home=tmp_path), said.append, starter=False) is None
    [waits] = said
    assert waits.startswith(
        "no release is the incumbent yet: `organloop releases first FILE --serve silently`"
    )
    assert waits.endswith("nothing is served and Triton is not ready")
    assert (tmp_path / "triton" / "repository").is_dir()


def test_a_release_is_written_for_triton_and_nothing_is_touched_the_second_time(tmp_path):
    settings = with_tiny_release(tmp_path)
    assert prepare(settings, str, starter=False) == 1
    version = tmp_path / "triton" / "repository" / "organ_segmenter" / "1"
    before = {path: path.stat().st_mtime_ns for path in version.rglob("*")}
    assert (version / "model.py").is_file()
    prepare(settings, str, starter=False)
    assert {path: path.stat().st_mtime_ns for path in version.rglob("*")} == before


def test_before_engines_are_built_nothing_is_written_for_triton(tmp_path):
    settings = with_tiny_release(tmp_path)
    assert prepare(settings, str, starter=False, repository=False) == 1
    assert list((tmp_path / "triton" / "repository").iterdir()) == []


def test_the_verb_tells_the_incumbent(tmp_path, monkeypatch):
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path))
    with_tiny_release(tmp_path)
    done = CliRunner().invoke(app, ["prepare", "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == {"incumbent": 1}


def test_a_prefect_server_that_never_answers_is_told():
    with pytest.raises(StartFailed, match="has not answered"):
        wait_for_api("http://127.0.0.1:9/api", 0.1)


def test_flows_and_the_pool_of_the_chart_are_registered(tmp_path, prefect_home, monkeypatch):
    """The chart's own template, on a real Prefect server, by the chart's own command."""
    found = render(ALL)
    [job] = [one for name, one in of_kind(found, "Job").items() if "-register-" in name]
    container = job["spec"]["template"]["spec"]["containers"][0]
    template = tmp_path / "job-template.json"
    template.write_text(of_kind(found, "ConfigMap")["organloop-tuning"]["data"]["job-template.json"])
    arguments = [
        f"--job-template={template}" if one.startswith("--job-template") else one for one in container["args"]
    ]
    server = PrefectServer(prefect_home(tmp_path / "prefect"), 4230)
    access = server.start()
    try:
        for name, value in access.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path))
        monkeypatch.setenv("ORGANLOOP_TUNING_POOL", "organloop-tuning")
        for _ in range(2):
            done = CliRunner().invoke(app, ["register", "--json", *arguments])
            assert done.exit_code == 0, done.output
        names = json.loads(done.stdout)
        with access.used(), get_client(sync_client=True) as client:
            pools = {pool.name: pool for pool in client.read_work_pools()}
            deployed = {name: client.read_deployment_by_name(name) for name in names}
    finally:
        server.stop()
    assert pools.keys() == {"organloop", "organloop-tuning"}
    assert (pools["organloop"].type, pools["organloop"].concurrency_limit) == ("process", 7)
    assert (pools["organloop-tuning"].type, pools["organloop-tuning"].concurrency_limit) == ("kubernetes", 1)
    manifest = pools["organloop-tuning"].base_job_template["job_configuration"]["job_manifest"]
    assert manifest["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert deployed["tune-heads/organloop"].work_pool_name == "organloop-tuning"
    assert deployed["segment-study/organloop"].work_pool_name == "organloop"
    assert deployed["nightly-tuning/organloop"].schedules[0].schedule.timezone == "Europe/Zurich"
    assert not deployed["nightly-tuning/organloop"].paused


class FakeTriton(GRPCInferenceServiceServicer):
    """Answers whether what it is told to have loaded is ready: a real one takes seconds to load."""

    def __init__(self):
        self.loaded: set[int] = set()
        self.windows: set[int] | None = None

    def ModelReady(self, asked, context):  # noqa: N802  the protocol's name
        ready = {("organ_segmenter", str(n)) for n in self.loaded}
        ready |= {(f"organ_window_{n}", "") for n in self.windows or ()}
        return ModelReadyResponse(ready=(asked.name, asked.version) in ready)

    def ModelConfig(self, asked, context):  # noqa: N802  the protocol's name
        answer = ModelConfigResponse()
        if self.windows is not None:
            answer.config.parameters["device"].string_value = "a GPU"
        return answer


@pytest.fixture
def triton():
    fake = FakeTriton()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        add_GRPCInferenceServiceServicer_to_server(fake, server)
        fake.client = TritonSegmenter(f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}", attempts=1)
        server.start()
        yield fake
        fake.client.close()
        server.stop(None).wait()


def test_a_triton_is_ready_when_it_answers_for_the_incumbent_and_no_sooner(triton):
    incumbent: list[int | None] = [None]
    readiness = Readiness(lambda: incumbent[0], triton.client)
    assert readiness.check() == (False, NONE_SERVES)
    incumbent[0] = 2
    triton.loaded = {1}
    ready, why = readiness.check()
    assert not ready
    assert why.startswith("release 2 is not ready")
    triton.loaded = {1, 2}
    assert readiness.check() == (True, "release 2 is ready")


def test_on_a_gpu_server_the_incumbents_networks_must_be_ready_too(triton):
    readiness = Readiness(lambda: 1, triton.client)
    triton.loaded, triton.windows = {1}, {2}
    ready, why = readiness.check()
    assert not ready
    assert why.startswith("release 1 is not ready")
    triton.windows = {1}
    assert readiness.check() == (True, "release 1 is ready")


def test_records_that_are_away_take_no_triton_out_of_service(triton):
    away = [False]

    def incumbent():
        if away[0]:
            raise StorageFailed("away")
        return 1

    triton.loaded = {1}
    away[0] = True
    readiness = Readiness(incumbent, triton.client)
    assert readiness.check() == (False, "the incumbent is not known: away")
    away[0] = False
    assert readiness.check()[0]
    away[0] = True
    assert readiness.check() == (True, "release 1 is ready")
    triton.loaded = set()
    assert not readiness.check()[0]


def test_records_that_take_no_notice_hold_up_no_probe(triton, monkeypatch):
    monkeypatch.setattr(segmenter_ready, "RECORDS_SECONDS", GUARD_SECONDS)
    hangs, goes_on, asked = [False], threading.Event(), []

    def incumbent():
        asked.append(1)
        if hangs[0]:
            goes_on.wait()
            return 2
        return 1

    triton.loaded = {1}
    readiness = Readiness(incumbent, triton.client)
    assert readiness.check()[0]
    hangs[0] = True
    monkeypatch.setattr(segmenter_ready, "RECORDS_SECONDS", 0.05)
    assert [readiness.check() for _ in range(3)] == [(True, "release 1 is ready")] * 3
    assert len(asked) == 2, "one question is open at a time"
    goes_on.set()
    readiness._asking.result(GUARD_SECONDS)
    monkeypatch.setattr(segmenter_ready, "RECORDS_SECONDS", GUARD_SECONDS)
    assert not readiness.check()[0], "and what it says in the end counts"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(segmenter_ready, "RECORDS_SECONDS", 0.0)
        never = threading.Event()
        assert "have not answered in 0 s" in Readiness(lambda: never.wait(1) or 1, triton.client).check()[1]
        never.set()


def test_a_probe_answers_before_the_chart_gives_it_up():
    [triton] = [pod for pod in pods(render(ALL)) if pod.component == "triton"]
    [probe] = [c["readinessProbe"] for c in triton.spec["containers"] if c["name"] == "ready"]
    assert probe["timeoutSeconds"] > segmenter_ready.TRITON_SECONDS + segmenter_ready.RECORDS_SECONDS


def test_the_log_says_once_what_a_triton_waits_for(triton, capfd):
    triton.loaded, incumbent = {1}, [None]
    server = segmenter_ready.serve(Readiness(lambda: incumbent[0], triton.client), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/ready"
    try:
        for _ in range(2):
            with pytest.raises(urllib.error.HTTPError, match="503") as refused:
                urllib.request.urlopen(address, timeout=5)
            refused.value.close()
        incumbent[0] = 1
        for _ in range(2):
            urllib.request.urlopen(address, timeout=5).close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert capfd.readouterr().err.splitlines() == [NONE_SERVES, "release 1 is ready"]


def test_the_probe_is_answered_by_http(triton):
    triton.loaded = {1}
    server = segmenter_ready.serve(Readiness(lambda: 1, triton.client), "127.0.0.1", 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    try:
        with urllib.request.urlopen(f"{address}/ready", timeout=5) as answer:
            assert (answer.status, answer.read()) == (200, b"release 1 is ready\n")
        triton.loaded = set()
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.urlopen(f"{address}/ready", timeout=5)
        refused.value.close()
        with urllib.request.urlopen(f"{address}/live", timeout=5) as answer:
            assert answer.status == 200
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
