"""A folder for what is fetched for one study; gone afterwards, also after a kill."""

from __future__ import annotations

import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from models.errors import StorageFailed
from services.locks import AlreadyLocked, file_lock

LOCK = ".lock"
"""How the name of a folder's lock file ends; it lies beside the folder."""

ABANDONED_SECONDS = 86400.0
"""Where nobody begins to work any more, what was not touched for so long is nobody's: runs take minutes."""


@contextmanager
def work_folder(root: Path) -> Iterator[Path]:
    """Give a new empty folder under a root, and remove it at the end, whatever happened.

    A process that is killed cannot remove its own. Beside each folder lies a file that the process which
    works in it has locked (`services.locks`), and a lock ends with its process: what is not locked is a
    leftover, and the next call removes it. A folder is made after its lock and goes before it.

    Parameters
    ----------
    root
        Folder of these folders, `Settings.work_folder`; made when first used.

    Raises
    ------
    StorageFailed
        If the folder cannot be made, or the file system knows no locks.
    """
    with ExitStack() as held:
        try:
            root.mkdir(parents=True, exist_ok=True)
            _remove_leftovers(root)
            folder = _locked(root, held)
            folder.mkdir()
        except OSError as error:
            raise StorageFailed(f"The work folder cannot be made: {error.strerror}.") from error
        held.callback(shutil.rmtree, folder, ignore_errors=True)
        yield folder


def remove_abandoned(root: Path) -> int:
    """Remove what earlier versions left in a folder where nobody works any more; return how many.

    Parameters
    ----------
    root
        Such a folder; it may be shared with machines whose locks are not seen here.

    Raises
    ------
    StorageFailed
        If it cannot be looked into.
    """
    removed = 0
    try:
        for path in root.iterdir() if root.is_dir() else ():
            with suppress(FileNotFoundError):
                times = [one.stat().st_mtime for one in (path, *path.rglob("*"))]
                if max(times) < time.time() - ABANDONED_SECONDS:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
                    removed += 1
    except OSError as error:
        raise StorageFailed(f"What is left in {root} cannot be removed: {error.strerror}.") from error
    return removed


def _locked(root: Path, held: ExitStack) -> Path:
    """Return a name that nobody has, locked until the end."""
    while True:
        folder = root / uuid.uuid4().hex
        with suppress(AlreadyLocked):  # somebody took the lock for a leftover before it was locked
            held.enter_context(file_lock(_lock_of(folder), temporary=True))
            return folder


def _lock_of(folder: Path) -> Path:
    return folder.with_name(folder.name + LOCK)


def _remove_leftovers(root: Path) -> None:
    names = {path.name.removesuffix(LOCK) for path in root.iterdir()}
    for folder in (root / name for name in names):
        with suppress(AlreadyLocked), file_lock(_lock_of(folder), temporary=True):
            shutil.rmtree(folder, ignore_errors=True)
