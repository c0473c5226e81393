"""Workers in processes of their own that meet a fault at their n-th step, and what they may have left.

A step is what the world outside the process sees: a file opened to be written, renamed, linked or removed, a
folder made or removed, a transaction committed, a piece of a request sent to a server. The fault comes just
before the step; so the step before is done, and this one is not.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event

from models.errors import OrganloopError
from tests.conftest import ROOT
from tests.support.waiting import GUARD_SECONDS, until

FOLDERS = frozenset({"os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir"})
"""What Python's audit events call a change of names in folders."""
SENT = "http.client.send"
IN_TRANSACTION = "in a transaction: "
"""How the place of such a step begins."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
NEVER = 0

Work = Callable[..., object]
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["tests.support.faulty_works"])


class Fault(StrEnum):
    """What happens at a step."""

    KILLED = "killed"
    STOPPED = "stopped"
    """Until somebody lets it go on: a worker that was believed dead."""
    FULL = "disk full"
    """The disk on which the home lies is full from now on."""


@dataclass
class Steps:
    """Counts the steps of this process and brings the fault.

    Parameters
    ----------
    home
        Only what is written in here is a step.
    fault, at
        What happens at which step, counted from one; `NEVER`: none does.
    """

    home: Path
    fault: Fault
    at: int
    places: list[str] = field(default_factory=list, init=False)
    """Where in the program each step was taken, the callers with it."""
    _transactions: int = field(default=0, init=False)
    _busy: bool = field(default=False, init=False)

    def watch(self) -> None:
        sys.addaudithook(self._audit)
        event.listen(Engine, "begin", self._begun)
        event.listen(Engine, "commit", self._commits)
        event.listen(Engine, "rollback", self._ended)

    def _audit(self, name: str, given: tuple[Any, ...]) -> None:
        if name == SENT or (name in FOLDERS and self._is_at_home(given[0])):
            self._step(name)
        if name == "open" and given[2] & WRITING and self._is_at_home(given[0]):
            self._step(name)

    def _is_at_home(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(str(self.home))

    def _begun(self, _: object) -> None:
        self._transactions += 1

    def _ended(self, _: object) -> None:
        self._transactions -= 1

    def _commits(self, connection: object) -> None:
        self._step("commit")
        self._ended(connection)

    def _step(self, name: str) -> None:
        if self._busy:
            return
        self.places.append(f"{IN_TRANSACTION if self._transactions else ''}{name} {_callers()}")
        if len(self.places) == self.at:
            self._busy = True
            _bring(self.fault, self.home)
            self._busy = False


def _tells(fault: Fault, place: str) -> bool:
    """Tell whether a fault at a place is one; one stopped in a transaction only makes all others wait."""
    if fault is Fault.STOPPED:
        return not place.startswith(IN_TRANSACTION)
    needs_no_room = (SENT, "os.remove", "os.rmdir")
    return fault is Fault.KILLED or not place.removeprefix(IN_TRANSACTION).startswith(needs_no_room)


def _callers() -> str:
    """Name the lines of the program that are at work."""
    lines, frame = [], sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and "tests" not in path.parts and ".venv" not in path.parts:
            lines.append(f"{path.relative_to(ROOT)}:{frame.f_lineno}")
        frame = frame.f_back
    return " ".join(lines)


def _bring(fault: Fault, home: Path) -> None:
    if fault is Fault.FULL:
        fill(home)
    else:
        os.kill(os.getpid(), signal.SIGKILL if fault is Fault.KILLED else signal.SIGSTOP)


def fill(home: Path) -> None:
    """Leave no room on the disk of a home."""
    with (home.parent / "ballast").open("ab", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    ballast.write(bytes(size))
            except OSError:
                continue


def make_room(home: Path) -> None:
    (home.parent / "ballast").unlink(missing_ok=True)


@dataclass(frozen=True)
class Ended:
    """How a worker ended.

    Parameters
    ----------
    places
        Of its steps, in order; None where it was killed.
    error
        The class of our error that it raised, and its words; empty where it did its work.
    """

    places: tuple[str, ...] | None
    error: str = ""

    def each_place(self, fault: Fault) -> list[int]:
        """Return the number of the first step at each place of the program where a fault tells something."""
        assert self.places is not None
        first: dict[str, int] = {}
        for number, place in enumerate(self.places, 1):
            if _tells(fault, place):
                first.setdefault(place, number)
        return sorted(first.values())


@dataclass(frozen=True)
class Worker:
    """A process at work."""

    process: BaseProcess
    told: Connection

    def end(self) -> Ended:
        """Wait until it has ended; what is no error of ours is raised here."""
        try:
            places, error, strange = (
                self.told.recv() if self.told.poll(GUARD_SECONDS) else (None, "", "hangs")
            )
        except EOFError:
            places, error, strange = None, "", ""
        self.process.join()
        assert not strange, strange
        return Ended(places, error)

    def stopped(self) -> bool:
        """Wait until it is stopped, or has ended; tell whether it is stopped."""

        def state() -> str:
            try:
                said = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return "ended"
            return {"T": "stopped", "Z": "ended"}.get(said, "")

        return until(state, "the worker neither ends nor is stopped", pause_seconds=0.01) == "stopped"

    def go_on(self) -> None:
        assert self.process.pid is not None
        os.kill(self.process.pid, signal.SIGCONT)


def start(work: Work, home: Path, *given: object, fault: Fault = Fault.KILLED, at: int = NEVER) -> Worker:
    """Start a worker: ``work(home, *given)`` in a process of its own."""
    ours, its = _PROCESSES.Pipe(duplex=False)
    process = _PROCESSES.Process(target=_run, args=(its, work, home, given, fault, at))
    process.start()
    its.close()
    return Worker(process, ours)


def _run(told: Connection, work: Work, home: Path, given: tuple[object, ...], fault: Fault, at: int) -> None:
    steps = Steps(home, fault, at)
    steps.watch()
    error = strange = ""
    try:
        work(home, *given)
    except OrganloopError as raised:
        error = f"{type(raised).__name__}: {raised}"
    except BaseException as raised:  # told to who waits
        import traceback

        strange = "".join(traceback.format_exception(raised))
    told.send((tuple(steps.places), error, strange))
