"""A real embedded Triton: releases side by side, and what happens when something breaks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.stack.local_process import StartFailed
from deploy.stack.triton import STUB, TritonServer
from models.errors import ServingRejected, ServingTimedOut, ServingUnavailable
from services.triton.client import TritonSegmenter
from tests.conftest import ROOT
from tests.support.serving import Serving, serving_at
from tests.support.tiny_networks import noisy_body
from tests.support.waiting import GUARD_SECONDS


def processes(repository: Path) -> dict[int, list[int]]:
    """Return the process ids of the Python backend's stubs by the version they serve."""
    found: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            arguments = (entry / "cmdline").read_text().split("\0")
        except OSError:
            continue
        if arguments[0].endswith(STUB) and arguments[1].startswith(str(repository)):
            found.setdefault(int(Path(arguments[1]).parent.name), []).append(int(entry.name))
    return found


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(f.relative_to(folder)), f.stat().st_mtime_ns) for f in folder.rglob("*"))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_new_release_is_loaded_beside_the_old_ones_without_restarting_them(serving: Serving) -> None:
    before = processes(serving.repository.folder)
    folder = serving.add(3, liver=8, spleen=3)
    written = listing(folder)
    assert not serving.triton.ready(3)
    serving.triton.load()
    assert [serving.triton.ready(n) for n in (1, 2, 3)] == [True, True, True]
    after = processes(serving.repository.folder)
    assert {n: after[n] for n in before} == before
    assert listing(folder) == written
    hu = noisy_body()
    answers = [serving.triton.segment(hu, n).probability for n in (1, 2, 3)]
    assert answers[1][1].tobytes() == answers[2][1].tobytes()  # releases 2 and 3 share the spleen's head
    assert answers[0][0].tobytes() == answers[1][0].tobytes() != answers[2][0].tobytes()


def test_a_damaged_release_is_not_served_and_leaves_the_others_serving(serving: Serving) -> None:
    folder = serving.add(4, liver=4, spleen=4)
    (folder / "trunk.onnx").write_bytes(b"damaged")
    with pytest.raises(ServingRejected, match=r"version 4 .*InvalidRelease: trunk") as error:
        serving.triton.load()
    assert "model.py(" not in str(error.value)
    assert [serving.triton.ready(n) for n in (1, 2, 4)] == [True, True, False]
    assert serving.triton.segment(noisy_body(), 1).probability.any()
    serving.repository.remove_version(4)
    serving.triton.load()


def test_a_release_taken_out_of_the_repository_is_unloaded_and_only_that(serving: Serving) -> None:
    serving.add(5, liver=5, spleen=5)
    serving.triton.load()
    assert serving.triton.ready(5)
    serving.repository.remove_version(5)
    serving.triton.load()
    assert [serving.triton.ready(n) for n in (1, 2, 5)] == [True, True, False]


def test_a_server_in_another_profile_than_the_repository_says_serves_nothing(serving: Serving) -> None:
    config = serving.repository.versions_folder / "config.pbtxt"
    text = config.read_text()
    try:
        config.write_text(text.replace("/f32/", "/bf16/"))
        with pytest.raises(ServingRejected, match=r"this server answers in python/openvino.*/f32/2-threads"):
            serving.triton.load()
    finally:
        config.write_text(text)
        serving.triton.load()
    assert serving.triton.ready(1)


def test_a_missed_deadline_is_said_and_the_server_stops_working_for_it(serving: Serving) -> None:
    """By processor time, which other work on the machine does not lengthen."""
    process = serving.server.process
    assert process is not None
    (stub,) = processes(serving.repository.folder)[1]
    hu, begun = noisy_body((120, 120, 120)), cpu_seconds(stub)
    hasty = TritonSegmenter(process.url, deadline_seconds=0.3)
    with pytest.raises(ServingTimedOut, match=r"no answer in 0\.3 s"):
        hasty.segment(hu, 1)
    hasty.close()
    serving.triton.segment(noisy_body(), 1)  # a version answers one request after another
    given_up = cpu_seconds(stub)
    serving.triton.segment(hu, 1)
    assert given_up - begun < 0.5 * (cpu_seconds(stub) - given_up)


def test_a_release_whose_process_was_killed_is_unavailable_until_renewed(serving: Serving) -> None:
    hu = noisy_body()
    before = serving.triton.segment(hu, 2).probability.tobytes()
    (stub,) = processes(serving.repository.folder)[2]
    os.kill(stub, signal.SIGKILL)
    with pytest.raises(ServingUnavailable, match="Stub process"):
        serving.triton.segment(hu, 2)
    assert serving.triton.segment(hu, 1).probability.any()
    os.utime(serving.repository.versions_folder / "2" / "model.py")  # else Triton sees no reason to load
    serving.triton.load()
    assert serving.triton.segment(hu, 2).probability.tobytes() == before


def test_a_killed_server_is_said_and_comes_back_with_the_same_releases_and_bits(tmp_path: Path) -> None:
    hu = noisy_body()
    with serving_at(tmp_path) as own:
        process = own.server.process
        assert process is not None
        before = own.triton.segment(hu, 2).probability.tobytes()
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(ServingUnavailable, match=rf"Triton at {process.url}, release 2: .+"):
            own.triton.segment(hu, 2)
        assert own.server.process is None
        client = TritonSegmenter(own.server.start().url)
        assert client.segment(hu, 2).probability.tobytes() == before
        client.close()
    assert processes(tmp_path) == {}
    assert own.server.process is None
    assert list(Path("/dev/shm").glob(f"{own.server._shared_memory_prefix()}*")) == []


def test_the_server_outlives_the_command_that_started_it(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from tests.support.serving import server_at; "
        f"print(server_at(Path({str(tmp_path)!r})).start().pid)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=GUARD_SECONDS
    )
    server = TritonServer(tmp_path / "server", tmp_path / "repository", ROOT / ".venv-triton", ROOT)
    try:
        process = server.process
        assert process is not None, done.stderr
        assert str(process.pid) == done.stdout.strip()
        assert server.start() == process
    finally:
        server.stop()
    assert server.process is None


def test_nobody_listening_is_unavailable_after_a_few_attempts() -> None:
    client = TritonSegmenter("127.0.0.1:1", attempts=2, pause_seconds=0.05)
    with pytest.raises(ServingUnavailable, match=r"Triton at 127\.0\.0\.1:1, readiness"):
        client.ready(1)
    client.close()


def fake_environment(folder: Path, script: str) -> Path:
    """Make an environment whose tritonserver is a shell script."""
    server = folder / "lib" / "python3.11" / "site-packages" / "pytriton" / "tritonserver"
    for part in ("bin", "backends/python", "python_backend_stubs/3.11"):
        (server / part).mkdir(parents=True)
    (server / "python_backend_stubs" / "3.11" / STUB).touch()
    (server / "bin" / "tritonserver").write_text(f"#!/bin/sh\n{script}\n")
    (server / "bin" / "tritonserver").chmod(0o755)
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    return folder


def test_a_server_that_ends_at_once_shows_the_end_of_its_log(tmp_path: Path) -> None:
    environment = fake_environment(tmp_path / "env", "echo no such option; exit 3")
    server = TritonServer(tmp_path / "server", tmp_path / "repository", environment, ROOT)
    with pytest.raises(StartFailed, match="no such option"):
        server.start()
    assert server.process is None


def test_a_server_that_never_answers_is_stopped_at_the_deadline(tmp_path: Path) -> None:
    environment = fake_environment(tmp_path / "env", "echo $$; exec sleep 60")
    server = TritonServer(tmp_path / "server", tmp_path / "repository", environment, ROOT)
    with pytest.raises(StartFailed, match="did not answer"):
        server.start(deadline_seconds=0.5)
    assert not Path(f"/proc/{server.log.read_text().strip()}").exists()


def test_a_missing_environment_says_what_to_do(tmp_path: Path) -> None:
    server = TritonServer(tmp_path / "server", tmp_path / "repository", tmp_path / "none", ROOT)
    with pytest.raises(ServingUnavailable, match="make setup"):
        server.start()
