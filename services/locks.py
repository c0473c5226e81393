"""Locks on files that hold between processes and, on a shared file system, between machines.

They are the record locks of POSIX (fcntl): NFS carries those of a file opened for writing, and no others.
They belong to a process, which makes traps, and this is the one place that knows them:

- another thread of the process that asks gets the lock as well: so whoever holds one is noted here;
- closing any descriptor of the file in the process lets the lock go: so a file whose lock the process holds
  is not opened again here, and nobody else opens lock files;
- a forked child holds none: it forgets what its parent held.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

_held: dict[str, int] = {}
"""Descriptor of each lock file that this process holds, by its real path."""
_guard = Lock()

_BUSY = (errno.EAGAIN, errno.EACCES)
"""What a file system answers where another holds the lock (POSIX leaves the choice)."""


class AlreadyLocked(Exception):
    """Somebody else holds the lock: another process, or another part of this one."""


@contextmanager
def file_lock(path: Path, *, temporary: bool = False) -> Iterator[None]:
    """Hold the lock on a file, made if it is not there; never wait. It ends with the process, too.

    Parameters
    ----------
    path
        The lock file. Nothing is written to it, and it is opened nowhere else.
    temporary
        Whether the file goes at the end; who had it open then finds out that it is no lock any more.

    Raises
    ------
    AlreadyLocked
        If somebody holds it.
    OSError
        If the file cannot be made, or the file system knows no locks.
    """
    key = os.path.realpath(path)
    with _guard:
        if key in _held:
            raise AlreadyLocked(key)
        _held[key] = _taken(path)
    try:
        yield
    finally:
        with _guard:
            descriptor = _held.pop(key, None)
            if descriptor is not None:  # else this is a forked child, and the lock its parent's
                try:
                    if temporary:
                        path.unlink(missing_ok=True)
                finally:
                    os.close(descriptor)


def _taken(path: Path) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _BUSY:
                raise AlreadyLocked(str(path)) from error
            raise
        if not _is_still(path, descriptor):
            raise AlreadyLocked(str(path))  # who held it before took it away
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _forget() -> None:
    global _guard  # another thread of the parent may have held it
    _guard = Lock()
    for descriptor in _held.values():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


os.register_at_fork(after_in_child=_forget)
