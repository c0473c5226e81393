"""What the servers of the local stack have in common: a folder, a log, one process and a note of it."""

from __future__ import annotations

import base64
import http.client
import json
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess
from services.files import replace
from services.pacs.accounts import Account

Process = TypeVar("Process", bound=LocalProcess)

_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy knows this machine's own


class LocalServer(Generic[Process]):
    """A server of one Organloop home; it outlives the command that started it.

    Parameters
    ----------
    home
        Folder of all it writes.
    log, state
        Names in it: of what the server says, and of the note that finds its process again.
    """

    name: ClassVar[str]
    """What a message calls it."""
    kind: type[Process]
    """What its state file holds."""
    grace_seconds: ClassVar[float] = 10.0
    """How long it has to end when asked."""

    def __init__(self, home: Path, log: str = "server.log", state: str = "server.json") -> None:
        self._home = home.resolve()
        self.log = self._home / log
        self._state = self._home / state

    @property
    def process(self) -> Process | None:
        """The running server, or None; it has answered once, and may be busy now."""
        process = self._noted
        return process if process is not None and process.alive else None

    @property
    def _noted(self) -> Process | None:
        """The server that was started last and not stopped, whether or not it has ended since."""
        try:
            noted = self._read(json.loads(self._state.read_bytes()))
        except FileNotFoundError:
            return None
        known = {one.name for one in fields(self.kind)}  # another version may note more
        return self.kind(**{name: value for name, value in noted.items() if name in known})

    @property
    def url(self) -> str | None:
        """Where it is reached; None while it does not answer."""
        process = self.process
        return process.url if process and self._answers(process) else None

    def stop(self) -> None:
        """Stop the server and all it started; what it keeps stays; none is no error."""
        process = self.process
        if process is not None:
            local_process.stop(process, grace_seconds=self.grace_seconds)
        self._state.unlink(missing_ok=True)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self, command: Sequence[str], env: Mapping[str, str], *facts: Any) -> Process:
        """Start a process and note it, with what else its kind holds."""
        started = local_process.start(command, log=self.log, env=env)
        process = self.kind(started.pid, started.started, *facts)
        replace(self._state, json.dumps(self._written(asdict(process))).encode())
        return process

    def _await(self, process: Process, seconds: float = local_process.START_SECONDS) -> Process:
        """Return the process once it answers; `StartFailed` if it ends or does not in time."""
        local_process.wait_until(
            lambda: self._answers(process),
            process=process,
            log=self.log,
            name=self.name,
            deadline_seconds=seconds,
        )
        return process

    def _answers(self, process: Process) -> bool:
        raise NotImplementedError

    def _read(self, noted: dict[str, Any]) -> dict[str, Any]:
        return noted

    def _written(self, noted: dict[str, Any]) -> dict[str, Any]:
        return noted


def answer_of(
    address: str, seconds: float = 5.0, *, direct: bool = True, account: Account | None = None
) -> bytes | None:
    """Return what an address answers in time, past any proxy if direct; None if it does not, or an error."""
    request = urllib.request.Request(address, headers=basic(account) if account else {})
    try:
        with (_DIRECT.open if direct else urllib.request.urlopen)(request, timeout=seconds) as answer:
            return answer.read() if answer.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None


def basic(account: Account) -> dict[str, str]:
    """Return the header that signs an account in (RFC 7617)."""
    word = base64.b64encode(f"{account.user}:{account.password}".encode()).decode()
    return {"Authorization": f"Basic {word}"}
