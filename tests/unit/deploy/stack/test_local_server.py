"""What the servers of the local stack have in common."""

import json
import urllib.request
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from deploy.stack.local_process import LocalProcess, StartFailed
from deploy.stack.local_server import LocalServer, answer_of
from deploy.stack.prefect import PrefectServer
from deploy.stack.worker import Worker


@dataclass(frozen=True)
class SleeperProcess(LocalProcess):
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class Sleeper(LocalServer[SleeperProcess]):
    name = "The sleeper"
    kind = SleeperProcess
    awake = True

    def start(self, seconds: str = "60") -> SleeperProcess:
        return self._await(self._launch(["sleep", seconds], {"PATH": "/usr/bin:/bin"}, 9), seconds=5)

    def _answers(self, process: SleeperProcess) -> bool:
        return self.awake and process.alive


def test_a_server_is_found_again_by_its_note_until_it_is_stopped(tmp_path):
    server = Sleeper(tmp_path)
    process = server.start()
    noted = {"pid": process.pid, "started": process.started, "port": 9}
    assert json.loads((tmp_path / "server.json").read_text()) == noted
    again = Sleeper(tmp_path)
    assert (again.process, again.url) == (process, "http://127.0.0.1:9")
    again.awake = False
    assert (again.process, again.url) == (process, None)
    again.stop()
    assert (server.process, server.url, process.alive) == (None, None, False)
    assert not (tmp_path / "server.json").exists()
    server.stop()


def test_a_server_that_ends_while_starting_is_told_by_name(tmp_path):
    server = Sleeper(tmp_path)
    server.awake = False
    with pytest.raises(StartFailed, match="The sleeper ended while starting"):
        server.start("0")
    assert server.process is None


def test_a_note_of_an_earlier_program_is_read(tmp_path):
    mine = Sleeper(tmp_path / "mine").start()
    alive = {"pid": mine.pid, "started": mine.started}
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "process.json").write_text(json.dumps(alive))
    (tmp_path / "server.json").write_text(json.dumps({"process": alive, "port": 9}))
    worker, prefect = Worker(tmp_path), PrefectServer(tmp_path, 0)
    assert worker.process is not None
    assert worker.process.program == ""
    assert prefect.process is not None
    assert prefect.process.url == "http://127.0.0.1:9/api"
    assert prefect.access is None  # it does not answer
    assert not prefect.process.locked
    Sleeper(tmp_path / "mine").stop()
    assert (worker.process, prefect.process) == (None, None)


def test_where_nobody_listens_there_is_no_answer():
    assert answer_of("http://127.0.0.1:9/", seconds=1) is None


def test_this_machine_is_asked_past_any_proxy(monkeypatch):
    class Says(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(HTTPStatus.OK if self.path == "/" else HTTPStatus.NOT_FOUND)
            self.end_headers()
            self.wfile.write(b"well")

        def log_message(self, format, *args):
            pass

    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(urllib.request, "_opener", None)  # it keeps what the environment said first
    with ThreadingHTTPServer(("127.0.0.1", 0), Says) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert answer_of(f"{address}/") == b"well"
        assert answer_of(f"{address}/none") is None
        assert answer_of(f"{address}/", direct=False) is None
        server.shutdown()
