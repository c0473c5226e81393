"""A server process of the local stack: started apart from the command, remembered by its process id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import OrganloopError

LOG_TAIL_LINES = 15
LOG_BYTES = 50 * 1024**2
"""A longer log is put aside when its process starts again; only one before it is kept."""
POLL_SECONDS = 0.1
START_SECONDS = 300.0
"""Ends a start that hangs. Other work makes one ten times as long; a process that ends is noticed at once."""
KILL_SECONDS = 5.0
"""A killed process ends as soon as the kernel gets to it."""


class StartFailed(OrganloopError):
    """A server of the local stack did not come up; the message ends with its log."""


class NotInstalled(OrganloopError):
    """A program of the local stack is not on this machine; the message says what to install."""


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


@dataclass(frozen=True)
class LocalProcess:
    """A process that outlives the command that started it.

    Parameters
    ----------
    pid
        Process and process group.
    started
        The kernel's start time of that process, in clock ticks since boot: a PID may be used again.
    """

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether this very process still runs; one that has ended but was not reaped does not."""
        return _start_time(self.pid) == self.started

    @property
    def url(self) -> str:
        """Where it is reached; empty for one that nobody asks."""
        return ""


def start(command: Sequence[str], *, log: Path, env: Mapping[str, str]) -> LocalProcess:
    """Start a process in a session of its own, so that it outlives the command.

    It takes over nothing that is open, such as the lock or the pipe of a script that started the command.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawnp(
        command[0],
        list(command),
        dict(env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
            *((os.POSIX_SPAWN_CLOSE, number) for number in _open_files() if number > 2),
        ],
        setsid=True,
    )
    return LocalProcess(pid, _start_time(pid) or 0)


def wait_until(
    ready: Callable[[], bool],
    *,
    process: LocalProcess,
    log: Path,
    name: str,
    deadline_seconds: float = START_SECONDS,
) -> None:
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
        if not process.alive:
            raise StartFailed(f"{name} ended while starting.\n{log_tail(log)}")
        time.sleep(POLL_SECONDS)
    stop(process)
    raise StartFailed(f"{name} did not answer within {deadline_seconds:.0f} s.\n{log_tail(log)}")


def log_tail(log: Path) -> str:
    """Return the last lines of a log."""
    if not log.exists():
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def stop(process: LocalProcess, *, grace_seconds: float = 10.0) -> None:
    """Stop a process and all it started: asked first, killed after the grace. None is no error."""
    if not process.alive:
        return  # its number may belong to somebody else by now
    os.kill(process.pid, signal.SIGTERM)
    _await_end(process, grace_seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # children that outlive their parent would hold its ports
    _await_end(process, KILL_SECONDS)


def _open_files() -> list[int]:
    return [int(path.name) for path in Path("/proc/self/fd").iterdir()]


def _await_end(process: LocalProcess, patience_seconds: float) -> None:
    end = time.monotonic() + patience_seconds
    while process.alive and time.monotonic() < end:
        _reap(process.pid)
        time.sleep(POLL_SECONDS)
    _reap(process.pid)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _start_time(pid: int) -> int | None:
    """Return when a living process started, None for one that is gone or only waits to be reaped."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] == "Z" else int(fields[19])
