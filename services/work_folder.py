"""A folder for what is fetched for one study; gone afterwards, also after a kill."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.errors import StorageFailed


@contextmanager
def work_folder(root: Path) -> Iterator[Path]:
    """Give a new empty folder under a root, and remove it at the end, whatever happened.

    A process that is killed cannot remove its own. Each folder is locked (flock) by the process that works
    in it, and a lock ends with its process: what is not locked is a leftover, and the next call removes it.

    Parameters
    ----------
    root
        Folder of these folders, e.g. ``work/`` in the home; made when first used.

    Raises
    ------
    StorageFailed
        If the folder cannot be made.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        with _locked(root):  # nobody takes a folder for a leftover before its lock is held
            _remove_leftovers(root)
            folder = root / uuid.uuid4().hex
            folder.mkdir()
            lock = os.open(folder, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
    except OSError as error:
        raise StorageFailed(f"The work folder cannot be made: {error.strerror}.") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _remove_leftovers(root: Path) -> None:
    for folder in root.iterdir():
        try:
            handle = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:
            continue  # its process removed it meanwhile
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # somebody works in it
        else:
            shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(handle)
