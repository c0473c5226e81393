"""Locks on files, and the traps of those that belong to a process."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.locks import AlreadyLocked, file_lock

ROOT = Path(__file__).resolve().parents[3]
ASK = """
import sys
from pathlib import Path
from services.locks import AlreadyLocked, file_lock
try:
    with file_lock(Path(sys.argv[1])):
        print("taken")
except AlreadyLocked:
    print("locked")
"""


def said_elsewhere(path: Path) -> str:
    """Return what another process gets that asks for the lock."""
    return subprocess.check_output([sys.executable, "-c", ASK, str(path)], text=True, cwd=ROOT).strip()


def ask(path: Path) -> str:
    try:
        with file_lock(path):
            return "taken"
    except AlreadyLocked:
        return "locked"


def test_a_lock_is_one_process_s_and_another_s_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with file_lock(path):
        assert said_elsewhere(path) == "locked"
    assert said_elsewhere(path) == "taken"


def test_another_thread_that_asks_neither_gets_the_lock_nor_lets_it_go(tmp_path: Path) -> None:
    """POSIX would give it, and let it go with the descriptor that the thread closes."""
    path = tmp_path / "a.lock"
    other_name = tmp_path / "same"
    other_name.symlink_to(tmp_path)
    with file_lock(path), ThreadPoolExecutor(2) as pool:
        assert list(pool.map(ask, [path, path, other_name / "a.lock"])) == ["locked"] * 3
        assert said_elsewhere(path) == "locked"


def test_a_forked_child_holds_nothing_and_lets_nothing_go(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    with file_lock(path, temporary=True):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:  # it must not come back into the test
            try:
                os.write(write, ask(path).encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert os.read(read, 100) == b"locked"
        os.close(read)
        os.close(write)
        assert said_elsewhere(path) == "locked"
    assert not path.exists()


def test_a_child_that_leaves_its_parent_s_block_takes_nothing_away(tmp_path: Path) -> None:
    path = tmp_path / "a.lock"
    child = 0
    with file_lock(path, temporary=True):
        child = os.fork()
        if child:
            os.waitpid(child, 0)
            assert path.exists()
            assert said_elsewhere(path) == "locked"
    if child == 0:
        os._exit(0)
    assert not path.exists()


def test_a_file_that_its_holder_took_away_meanwhile_is_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else two would hold a lock of one name, on two files."""
    path = tmp_path / "a.lock"
    lockf = fcntl.lockf

    def late(descriptor: int, command: int) -> None:
        path.unlink()
        lockf(descriptor, command)

    monkeypatch.setattr(fcntl, "lockf", late)
    assert ask(path) == "locked"
    monkeypatch.undo()
    assert ask(path) == "taken"


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EACCES, errno.ENOLCK])
def test_a_file_system_without_locks_is_an_error_and_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(descriptor: int, command: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "lockf", refuse)
    if number == errno.ENOLCK:
        with pytest.raises(OSError, match="No locks available"):
            ask(tmp_path / "a.lock")
    else:
        assert ask(tmp_path / "a.lock") == "locked"
