"""A server process of the local stack: started apart from the command, remembered by its process id."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from models.errors import OrganloopError

LOG_TAIL_LINES = 15


class StartFailed(OrganloopError):
    """A server of the local stack did not come up; the message ends with its log."""


def free_port(preferred: int) -> int:
    """Return the preferred port on 127.0.0.1, or one the system gives if it is taken."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StartFailed("no free port on 127.0.0.1")


def is_running(pid: int) -> bool:
    """Tell whether a process lives; one that has ended but was not reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rsplit(")", 1)[1].split()[0] != "Z"


def start(command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> int:
    """Start a process in a session of its own, so that it outlives the command, and return its id."""
    log.parent.mkdir(parents=True, exist_ok=True)
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawnp(
        command[0],
        list(command),
        dict(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def wait_until(ready: Callable[[], bool], *, pid: int, log: Path, name: str, deadline_seconds: float) -> None:
    """Wait until a started process answers.

    Raises
    ------
    StartFailed
        If it ends or does not answer in time; its process group is then stopped.
    """
    end = time.monotonic() + deadline_seconds
    while time.monotonic() < end:
        if ready():
            return
        if not is_running(pid):
            raise StartFailed(f"{name} ended while starting.\n{log_tail(log)}")
        time.sleep(0.2)
    stop(pid)
    raise StartFailed(f"{name} did not answer within {deadline_seconds:.0f} s.\n{log_tail(log)}")


def log_tail(log: Path) -> str:
    """Return the last lines of a log."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def stop(pid: int, *, grace_seconds: float = 10.0) -> None:
    """Stop a process and all it started: politely, then not."""
    for sign, patience in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(pid, sign)
        except ProcessLookupError:
            return
        end = time.monotonic() + patience
        while time.monotonic() < end:
            _reap(pid)
            if not is_running(pid):
                break
            time.sleep(0.1)
        else:
            continue
        if sign is signal.SIGTERM:  # children that outlive their parent hold its ports
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                return
        return


def _reap(pid: int) -> None:
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
