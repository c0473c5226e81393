"""A server process of the local stack outlives the command, answers or explains itself, and ends."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess, StartFailed
from tests.support.waiting import GUARD_SECONDS


def start(script: str, log: Path) -> LocalProcess:
    return local_process.start([sys.executable, "-c", script], log=log, env=os.environ)


def test_a_started_process_runs_until_it_is_stopped(tmp_path: Path) -> None:
    process = start("import time; time.sleep(3600)", tmp_path / "log")
    assert process.alive
    local_process.stop(process, grace_seconds=5)
    assert not process.alive


def test_a_started_process_does_not_hold_what_the_command_was_given(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)  # as the lock of a script that calls the command
    process = start("import time; time.sleep(3600)", tmp_path / "log")
    os.close(writing)
    os.set_blocking(reading, False)
    try:
        assert os.read(reading, 1) == b""  # nobody else can write to it any more
    finally:
        os.close(reading)
        local_process.stop(process, grace_seconds=5)


def test_a_process_that_ignores_the_polite_signal_is_killed(tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(3600)"
    )
    process = start(script, log)
    local_process.wait_until(
        lambda: "deaf" in log.read_text(), process=process, log=log, name="it", deadline_seconds=GUARD_SECONDS
    )
    local_process.stop(process, grace_seconds=0.3)
    assert not process.alive


def test_a_process_that_ends_while_starting_shows_its_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start("print('no licence found')", log)
    with pytest.raises(StartFailed, match=r"ended while starting\.\nno licence found"):
        local_process.wait_until(
            lambda: False, process=process, log=log, name="The server", deadline_seconds=GUARD_SECONDS
        )


def test_a_process_that_never_answers_is_stopped_at_its_deadline(tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start("import time; time.sleep(3600)", log)
    with pytest.raises(StartFailed, match=r"did not answer within 1 s"):
        local_process.wait_until(
            lambda: False, process=process, log=log, name="The server", deadline_seconds=0.6
        )
    assert not process.alive


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert local_process.free_port(port) != port
    assert local_process.free_port(port) == port


def test_another_process_with_the_same_id_is_not_taken_for_the_server(tmp_path: Path) -> None:
    process = start("import time; time.sleep(3600)", tmp_path / "log")
    assert not LocalProcess(process.pid, process.started - 1).alive
    local_process.stop(process)
