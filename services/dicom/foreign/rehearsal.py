"""Reading in a child first: what files cost is seen there, under bounds that the kernel keeps.

The child does what its parent is about to do, and tells what is too large. Where the kernel ends it, that is
the fault of what it read, and of nobody else: the parent refuses it and goes on. So nothing is parsed here
whose cost is not known. A child stays for the next job; threads that read at the same time have one each.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from models.errors import ReadFailed
from services.dicom.foreign.bounded_file import TooLargeFile
from services.dicom.foreign.job import Job, Kind, Rehearsed
from services.dicom.foreign.limits import MIB
from services.dicom.foreign.listing import FileState, ListedFile

IMAGES_AT_ONCE = 1_000
"""So many files are one job: what names them is small beside the memory that a job may take."""

IMAGES_BYTES, IMAGES_SECONDS, IMAGES_A_SECOND = 128 * MIB, 30, 25
"""Memory and processor time for the headers of a job. Ordinary ones take 2 milliseconds each."""

SEG_BYTES, SEG_SECONDS = 768 * MIB, 300
"""Memory and processor time for the header of a SEG. Items and reads are the verdict, not the time: 72,000
items take 9 s and 100 MiB, the 400,000 that are allowed 52 s and 560 MiB."""

_INHERITED = ("LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE")
"""What Python starts by, and how it writes the names of files."""
_COMPLAINT_BYTES = 300
"""So much of what a child complained of is said: no file is open where it can."""
_PROGRAM = "services.dicom.foreign.child"
_ROOT = Path(__file__).resolve().parents[3]
_ENDED_BY_WHAT_IT_READ = frozenset(
    (signal.SIGXCPU, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
)


def rehearse_images(files: list[ListedFile]) -> frozenset[Path]:
    """Read the headers of files that may be CT images in a child; return those that are too large.

    Raises
    ------
    TooLargeFile
        If they take more processor time than those of any study, or end the child in another way.
    ReadFailed
        If the child could not be started, or was ended from outside.
    """
    too_large: set[Path] = set()
    for first in range(0, len(files), IMAGES_AT_ONCE):
        batch = files[first : first + IMAGES_AT_ONCE]
        seconds = IMAGES_SECONDS + len(batch) // IMAGES_A_SECOND
        found = _rehearse(Job.of(Kind.IMAGES, batch, IMAGES_BYTES, seconds)).too_large
        too_large.update(batch[index].path for index in found)
    return frozenset(too_large)


def rehearse_seg(path: Path, state: FileState) -> None:
    """Read the header of a SEG in a child, as the file is then and will be read here.

    Raises
    ------
    TooLargeFile
        If it is larger, or takes more memory or processor time, than that of any SEG.
    ReadFailed
        As `rehearse_images`.
    """
    if _rehearse(Job.of(Kind.SEG, [ListedFile(path, state)], SEG_BYTES, SEG_SECONDS)).too_large:
        raise TooLargeFile("its header is larger than that of any SEG")


class _Child:
    """One child, for one job at a time."""

    def __init__(self) -> None:
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed at its end
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        environment |= {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"}
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _PROGRAM],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints,
                cwd="/", env=environment,
            )  # fmt: skip
        except OSError as error:
            raise ReadFailed(f"No process to read in can be started: {error.strerror}.") from error

    def lives(self) -> bool:
        return self._process.poll() is None

    def do(self, job: Job) -> Rehearsed:
        """Return what came of a job; a child that fails in it is gone."""
        asks, answers = self._process.stdin, self._process.stdout
        if asks is None or answers is None:
            raise ValueError("a child has pipes")
        try:
            with contextlib.suppress(BrokenPipeError):  # why, its status tells
                asks.write(job.line())
                asks.flush()
            answer = answers.readline()
            if answer.endswith(b"\n"):
                return Rehearsed.read(answer)
        except BaseException:
            self._process.kill()
            self.end()
            raise
        status, complaint = self.end()
        raise _failure(status, complaint, job.seconds)

    def end(self) -> tuple[int, str]:
        """Wait for its end, and return its status and the last line of what it complained of."""
        with contextlib.suppress(BrokenPipeError):
            self._process.communicate()
        with self._complaints as complaints:
            complaints.seek(max(complaints.seek(0, os.SEEK_END) - _COMPLAINT_BYTES, 0))
            lines = complaints.read().decode(errors="replace").splitlines()
        return self._process.returncode, lines[-1] if lines else ""


_idle: dict[int, list[_Child]] = {}
"""Children that wait for a job, by process: after a fork they are the parent's."""
_guard = threading.Lock()


def _rehearse(job: Job) -> Rehearsed:
    with _guard:
        waiting = _idle.setdefault(os.getpid(), [])
        child = waiting.pop() if waiting else None
    if child is None or not child.lives():
        child = _Child()
    rehearsed = child.do(job)
    with _guard:
        waiting.append(child)
    return rehearsed


def _failure(status: int, complaint: str, seconds: int) -> TooLargeFile | ReadFailed:
    """Return the error for a child that ended in a job of so many seconds."""
    if -status == signal.SIGXCPU:
        return TooLargeFile(f"reading it takes more than {seconds} s of processor time")
    if -status in _ENDED_BY_WHAT_IT_READ:
        return TooLargeFile(f"reading it ends the process ({signal.Signals(-status).name})")
    why = f" ({complaint})" if complaint else ""
    return ReadFailed(f"The process that reads files ended with status {status}{why}: try again.")


@atexit.register
def end_children() -> None:
    """End the children of this process that wait for a job."""
    for child in _idle.pop(os.getpid(), []):
        child.end()
