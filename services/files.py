"""Files and folders that are written whole and durably, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from models.errors import InvalidRelease, StorageFailed

OWNER_ONLY = 0o077
"""The umask of every program of ours: studies, records and logs are nobody else's on the machine."""


@contextlib.contextmanager
def storage_errors(what: str, failing: str = "cannot be written") -> Iterator[None]:
    """Turn an error of the disk into `StorageFailed` with a sentence: what, how it fails, and why."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{what} {failing}: {error.strerror}") from error


def write_once(path: Path, content: bytes) -> None:
    """Write a file that never changes again; the same bytes a second time do nothing.

    Raises
    ------
    InvalidRelease
        If the file is there with other bytes; it is left as it is.
    StorageFailed
        If the disk is full or not writable; nothing is left under the name.
    """
    with storage_errors(path.name):
        write_first(path, content)
    if path.read_bytes() != content:
        raise InvalidRelease(f"{path.name} is there with other bytes; what is released never changes")


def write_first(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file, with these permissions, unless there is one of that name, whatever it holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        return
    aside = _aside(path)
    try:
        write_flushed(aside, content, mode)
        with contextlib.suppress(FileExistsError):  # unlike a rename, a link never replaces another's
            os.link(aside, path)
        sync(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def replace(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a file, with these permissions, in place of the one there: what is read is old or new.

    Raises
    ------
    StorageFailed
        If the disk is full or not writable; the old file stays.
    """
    with storage_errors(path.name), replacing(path, mode) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Yield a file to write; whole and flushed, it takes the place of the one there.

    On an error the old file stays, and nothing is left of the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = _aside(path)
    try:
        with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            yield file
            _flush(file)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync(path.parent)


def write_flushed(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Write a new file where it belongs, its content durable; its name is with the folder's `sync`."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        _flush(file)


@contextlib.contextmanager
def folder_aside(aside: Path) -> Iterator[Path]:
    """Yield a new folder to fill and rename; nothing is left under this name at the end, nor of earlier."""
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def appear(aside: Path, folder: Path) -> bool:
    """Give a complete folder its name; False if another process has made that folder meanwhile."""
    try:
        aside.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        return False
    sync(folder.parent)
    return True


def put(aside: Path, folder: Path) -> None:
    """Give a complete folder its name, in place of one that is there."""
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}")
