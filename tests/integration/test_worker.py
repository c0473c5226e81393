"""The local worker belongs to one Prefect server and one program: another of either, another worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess, StartFailed
from deploy.stack.prefect import Access
from deploy.stack.worker import Worker

OURS = Access("http://127.0.0.1:4200/api", "user:password")


@pytest.fixture
def one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker whose process only sleeps."""
    begin = local_process.start

    def sleeper(command: list[str], *, log: Path, env: dict[str, str]) -> LocalProcess:
        return begin([sys.executable, "-c", "import time; time.sleep(3600)"], log=log, env=os.environ)

    monkeypatch.setattr(local_process, "start", sleeper)
    return Worker(tmp_path)


def test_a_worker_is_left_alone_by_its_own_server_and_replaced_for_another(one: Worker) -> None:
    try:
        one.start(OURS)
        first = one.process
        assert first is not None
        one.start(OURS)
        assert one.process == first
        one.start(Access("http://127.0.0.1:4999/api", OURS.auth))
        second = one.process
        assert second is not None
        assert second != first
        assert not first.alive
    finally:
        one.stop()
    assert one.process is None


def test_a_worker_of_an_older_program_is_replaced(one: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        one.start(OURS)
        first = one.process
        assert first is not None
        monkeypatch.setattr("deploy.stack.worker.code_digest", lambda _root: "of an updated program")
        one.start(OURS)
        second = one.process
        assert second is not None
        assert second != first
        assert not first.alive
    finally:
        one.stop()


def test_a_worker_that_ends_while_starting_is_not_waited_for_and_its_log_is_shown(tmp_path: Path) -> None:
    """It asks a server that is not there."""
    nowhere, said = Access("http://127.0.0.1:9/api", ""), []
    worker = Worker(tmp_path)
    worker.start(nowhere)
    with pytest.raises(StartFailed, match=r"(?s)ended while starting\.\n.*Connection refused"):
        worker.await_online(nowhere, said.append)
    assert said == ["waiting for the worker: it registers the flows"]
