"""Every server of the local stack, of Compose and of the chart, asked by one who has no name here.

What archives and viewers give is walked in `test_archive_doors`, `test_nginx` and `test_chart_gateway` too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import yaml
from tritonclient.grpc import service_pb2 as messages
from tritonclient.grpc.service_pb2_grpc import GRPCInferenceServiceStub

from deploy.stack import local_process
from deploy.stack import up_and_down as stack
from deploy.stack.local_server import answer_of
from deploy.stack.triton import lives
from deploy.triton.command import RELEASE_KEY, SERVING_KEY, key_flags
from services.settings import Settings
from services.triton.client import KEY_HEADER
from tests.conftest import ROOT
from tests.integration.conftest import Command
from tests.support.chart import ALL, of_kind, render
from tests.support.doors import EVERY, FOREIGN, LOOPBACK, PREFECT, SOCKETS, Question, ask, listening, opens
from tests.support.serving import server_at
from tests.support.waiting import GUARD_SECONDS, until

NOBODY = 65534


@pytest.fixture(scope="module")
def ports(organloop: Command) -> dict[int, str]:
    found = listening(organloop.home)
    known = {
        part.address.rpartition(":")[2].removesuffix("/api")
        for part in stack.status(Settings(home=organloop.home))
    }
    assert {int(port) for port in known if port.isdigit()} - {1} <= found.keys(), "every server is looked at"
    return found


def test_the_local_stack_listens_on_this_machine_alone(ports: dict[int, str]) -> None:
    assert set(ports.values()) <= LOOPBACK


@pytest.mark.parametrize("heads", [{}, FOREIGN], ids=["nobody", "a page from elsewhere"])
@pytest.mark.parametrize("question", EVERY, ids=str)
def test_no_port_of_the_local_stack_gives_anything(
    ports: dict[int, str], question: Question, heads: dict[str, str]
) -> None:
    assert [port for port in ports if ask(port, question, heads).gives] == []


@pytest.mark.parametrize("path", SOCKETS)
def test_no_port_of_the_local_stack_speaks_on_a_socket(ports: dict[int, str], path: str) -> None:
    assert [port for port in ports if opens(port, path)] == []


def as_nobody(code: str) -> str:
    """Return what a program of another user of this machine prints."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    python = shutil.which("python3", path="/usr/bin")
    if python is None:
        pytest.skip("another user has no Python: apt-get install python3")
    done = subprocess.run(
        [python, "-c", code],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_another_user_of_this_machine_reads_nothing_and_reaches_no_socket(organloop: Command) -> None:
    triton = stack.triton_server(Settings(home=organloop.home)).process
    assert triton is not None
    places = [str(organloop.home), str(Path(triton.socket).parent), triton.url.removeprefix("unix:")]
    code = f"""
import os, socket
for place in {places!r}:
    try:
        if place.endswith(":1"):
            socket.socket(socket.AF_UNIX).connect(place)
        else:
            os.listdir(place)
        print("open", place)
    except OSError as error:
        print(type(error).__name__)
"""
    assert as_nobody(code).split() == ["PermissionError"] * 3


def test_no_command_line_that_every_user_can_read_holds_a_password(organloop: Command) -> None:
    settings = Settings(home=organloop.home)
    accounts = stack.archive(settings).accounts
    words = [
        accounts.worker.password,
        accounts.reader.password,
        stack.prefect(settings).start().auth.split(":")[1],
    ]
    lines = [one.read_bytes() for one in Path("/proc").glob("[0-9]*/cmdline")]
    assert not [word for word in words for line in lines if word.encode() in line]


def test_the_dashboard_s_password_opens_it_and_another_does_not(organloop: Command) -> None:
    access = stack.prefect(Settings(home=organloop.home)).start()
    port = int(access.url.removesuffix("/api").rpartition(":")[2])
    question = Question("GET", "/api/admin/settings")
    from services.pacs.accounts import Account
    from tests.support.what_calls_out import basic

    user, password = access.auth.split(":")
    assert ask(port, question, basic(Account(user, password))).status == 200
    assert ask(port, question, basic(Account(user, "guessed"))).status == 401


@contextmanager
def prefect_of(variables: Mapping[str, str], home: Path) -> Iterator[int]:
    """Run a Prefect server with what a container of it is given; yield its port."""
    port = local_process.free_port(0)
    ours = {"PREFECT_HOME": str(home), "PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        server = subprocess.Popen(command, env=bare | dict(variables) | ours, stdout=log, stderr=log)
    try:
        until(
            lambda: answer_of(f"http://127.0.0.1:{port}/api/health", seconds=2),
            lambda: (home / "server.log").read_text()[-2000:],
        )
        yield port
    finally:
        server.kill()
        server.wait()


def compose_prefect() -> dict[str, str]:
    service = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"]["prefect"]
    assert service["command"][2] == "deploy.containers.with_prefect_password"
    given = dict.fromkeys(("PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"), "organloop:word")
    return {**service["environment"], **given}


def chart_prefect() -> dict[str, str]:
    pod = of_kind(render(ALL), "StatefulSet")["organloop-prefect"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    given = {one["name"]: one.get("value", "organloop:word") for one in container["env"]}
    return {
        name: value for name, value in given.items() if "DATABASE" not in name and not name.startswith("PG")
    }


@pytest.mark.parametrize("of", [compose_prefect, chart_prefect], ids=["Compose", "chart"])
def test_a_prefect_server_of_containers_gives_nothing(of, prefect_home, tmp_path) -> None:
    with prefect_of(of(), prefect_home(tmp_path / "prefect")) as port:
        for heads in ({}, FOREIGN):
            assert [str(one) for one in PREFECT if ask(port, one, heads).gives] == []
        assert [path for path in SOCKETS if opens(port, path)] == []


CALLS = {
    "ServerMetadata": (messages.ServerMetadataRequest, SERVING_KEY),
    "ModelMetadata": (messages.ModelMetadataRequest, SERVING_KEY),
    "ModelInfer": (messages.ModelInferRequest, SERVING_KEY),
    "ModelConfig": (messages.ModelConfigRequest, SERVING_KEY),
    "ModelStatistics": (messages.ModelStatisticsRequest, SERVING_KEY),
    "SystemSharedMemoryStatus": (messages.SystemSharedMemoryStatusRequest, SERVING_KEY),
    "SystemSharedMemoryRegister": (messages.SystemSharedMemoryRegisterRequest, SERVING_KEY),
    "SystemSharedMemoryUnregister": (messages.SystemSharedMemoryUnregisterRequest, SERVING_KEY),
    "CudaSharedMemoryStatus": (messages.CudaSharedMemoryStatusRequest, SERVING_KEY),
    "CudaSharedMemoryRegister": (messages.CudaSharedMemoryRegisterRequest, SERVING_KEY),
    "CudaSharedMemoryUnregister": (messages.CudaSharedMemoryUnregisterRequest, SERVING_KEY),
    "RepositoryIndex": (messages.RepositoryIndexRequest, RELEASE_KEY),
    "RepositoryModelLoad": (messages.RepositoryModelLoadRequest, RELEASE_KEY),
    "RepositoryModelUnload": (messages.RepositoryModelUnloadRequest, RELEASE_KEY),
    "TraceSetting": (messages.TraceSettingRequest, RELEASE_KEY),
    "LogSettings": (messages.LogSettingsRequest, RELEASE_KEY),
}
"""Every call of Triton's gRPC but health and streams, and the key that it needs."""
HEALTH = {"ServerLive", "ServerReady", "ModelReady"}


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server as a container starts it, at a port, by its keys; its address."""
    home = tmp_path_factory.mktemp("triton")
    (home / "repository").mkdir()
    server = server_at(home)
    backends = server._copy_backends()
    command = server._command(backends, Path("unused"))
    port = local_process.free_port(0)
    at = [one for one in command if not one.startswith(("--grpc-address", "--grpc-port"))]
    flags = [
        f"--grpc-port={port}",
        "--grpc-address=127.0.0.1",
        *key_flags("serving-key-0123", "release-key-0123"),
    ]
    process = local_process.start([*at, *flags], log=home / "log", env=server._variables())
    address = f"127.0.0.1:{port}"
    try:
        until(lambda: lives(address), lambda: (home / "log").read_text()[-2000:])
        yield address
    finally:
        local_process.stop(process)


def test_every_call_of_triton_is_in_the_table() -> None:
    calls = set(vars(GRPCInferenceServiceStub(grpc.insecure_channel("127.0.0.1:9"))))
    assert calls == CALLS.keys() | HEALTH | {"ModelStreamInfer"}


@pytest.mark.parametrize("call", CALLS)
def test_triton_answers_a_call_by_its_own_key_alone(triton: str, call: str) -> None:
    request, needed = CALLS[call]
    keys = {SERVING_KEY: "serving-key-0123", RELEASE_KEY: "release-key-0123"}
    with grpc.insecure_channel(triton) as channel:
        ask_it = getattr(GRPCInferenceServiceStub(channel), call)

        def said(*shown: tuple[str, str]) -> str:
            try:
                ask_it(request(), metadata=shown, timeout=GUARD_SECONDS)
            except grpc.RpcError as error:
                return str(error.details())
            return ""

        for name, key in keys.items():
            locked = "This protocol is restricted" in said((KEY_HEADER.format(name), key))
            assert locked == (name != needed), name
        assert "This protocol is restricted" in said()
        assert "This protocol is restricted" in said((KEY_HEADER.format(needed), "guessed"))


def test_triton_s_other_protocols_are_closed(triton: str) -> None:
    port = int(triton.rpartition(":")[2])
    assert [str(one) for one in EVERY if ask(port, one).gives] == []
