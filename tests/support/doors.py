"""Who listens where, and what a server gives to one who has no name here."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.waiting import GUARD_SECONDS

LOOPBACK = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
"""127.0.0.1, ::1 and the former as IPv6, as /proc/net writes them."""
LISTENING = "0A"
FOREIGN = {"Host": "evil.example", "Origin": "http://evil.example"}
"""What a browser sends for a page that has given this machine a name of its own."""


@dataclass(frozen=True)
class Question:
    """Something that nobody without a name may have.

    Parameters
    ----------
    method, path, body
        The request.
    """

    method: str
    path: str
    body: str | None = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


PREFECT = (
    Question("POST", "/api/deployments/filter", "{}"),
    Question("POST", "/api/deployments/get_scheduled_flow_runs", "{}"),
    Question("POST", "/api/deployments/", '{"name": "evil"}'),
    Question("POST", "/api/flow_runs/filter", "{}"),
    Question("POST", "/api/flow_runs/", "{}"),
    Question("POST", "/api/work_pools/filter", "{}"),
    Question("PATCH", "/api/work_pools/organloop", '{"base_job_template": {}}'),
    Question("POST", "/api/artifacts/filter", "{}"),
    Question("POST", "/api/logs/filter", "{}"),
    Question("POST", "/api/block_documents/filter", "{}"),
    Question("GET", "/api/admin/settings"),
    Question("GET", "/api/csrf-token?client=evil"),
    Question("POST", "/api/admin/database/clear", '{"confirm": true}'),
)
TRITON = (
    Question("POST", "/v2/repository/index", "{}"),
    Question("POST", "/v2/repository/models/none/load", "{}"),
    Question("GET", "/v2/systemsharedmemory/status"),
    Question("GET", "/v2/trace/setting"),
    Question("GET", "/v2"),
)
ARCHIVE = (
    Question("GET", "/patients"),
    Question("GET", "/system"),
    Question("GET", "/changes"),
    Question("GET", "/dicom-web/studies"),
    Question("GET", "/dicom-web/servers"),
    Question("PUT", "/dicom-web/servers/evil", '{"Url": "http://127.0.0.1:9/"}'),
    Question("POST", "/tools/find", '{"Level": "Patient", "Query": {}}'),
    Question("POST", "/tools/execute-script", "return 1"),
)
PAGES = (
    Question("GET", "/session"),
    Question("GET", "/session/check/reader"),
    Question("POST", "/token"),
)
EVERY = (*PREFECT, *TRITON, *ARCHIVE, *PAGES, Question("GET", "/metrics"))
SOCKETS = (
    "/api/events/in",
    "/api/events/out",
    "/api/logs/out",
    "/api/task_runs/subscriptions/scheduled",
    "/api/work_pools/organloop/workers/connect",
)
"""Where Prefect takes WebSockets."""


@dataclass(frozen=True)
class Answer:
    """How a question was answered: ``status``, 0 for none in HTTP; what may read it; how the body begins."""

    status: int
    readable_by: str | None
    text: str

    @property
    def gives(self) -> bool:
        """Whether anything was given: the pages of a viewer or dashboard are no secret."""
        pages = re.match(r"\s*<!doctype html", self.text, re.IGNORECASE)
        return (self.status // 100 == 2 and pages is None) or self.readable_by not in (
            None,
            "https://none.invalid",
        )


def ask(port: int, question: Question, heads: dict[str, str] | None = None) -> Answer:
    """Ask a port of this machine by HTTP, as one who has no name here."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=GUARD_SECONDS)
    try:
        # What a page may send without asking first.
        sent = {"Content-Type": "text/plain" if heads else "application/json"} | (heads or {})
        connection.request(question.method, question.path, question.body, sent)
        answer = connection.getresponse()
        text = answer.read(2000).decode(errors="replace")
        return Answer(answer.status, answer.getheader("access-control-allow-origin"), text)
    except (OSError, http.client.HTTPException):
        return Answer(0, None, "")
    finally:
        connection.close()


def opens(port: int, path: str) -> bool:
    """Tell whether a server says anything on a WebSocket to one who has not said who he is."""
    from websockets.exceptions import WebSocketException
    from websockets.sync.client import connect

    try:
        with connect(f"ws://127.0.0.1:{port}{path}", subprotocols=["prefect"], proxy=None) as socket:  # type: ignore[list-item]
            socket.send('{"type": "filter", "filter": {}}')
            return bool(socket.recv(timeout=GUARD_SECONDS)) and '"auth_failure"' not in str(socket.recv())
    except (WebSocketException, OSError):
        return False


def listening(home: Path) -> dict[int, str]:
    """Return the ports at which processes of a home listen, and the address of each, as /proc/net has it."""
    sockets: dict[str, tuple[int, str]] = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING:
                address, port = fields[1].split(":")
                sockets[f"socket:[{fields[9]}]"] = int(port, 16), address
    found = {}
    for process in _processes(home):
        for file in _files(process):
            if file in sockets:
                port, address = sockets[file]
                found[port] = address
    return found


def _processes(home: Path) -> Iterator[Path]:
    """Yield the processes that were started for a home, and those that they have started."""
    ours: set[str] = set()
    parents = {}
    for process in (one for one in Path("/proc").iterdir() if one.name.isdigit()):
        with contextlib.suppress(OSError):
            said = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            parents[process.name] = (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
            if str(home).encode() in said and process.name != str(os.getpid()):
                ours.add(process.name)
    while more := {one for one, parent in parents.items() if parent in ours} - ours:
        ours |= more
    yield from (Path("/proc", one) for one in sorted(ours))


def _files(process: Path) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for file in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield str(file.readlink())
