"""Files that are written once, whole and durably, or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from models.errors import InvalidRelease, StorageFailed


@contextlib.contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn a full or unwritable disk into `StorageFailed` with a sentence."""
    try:
        yield
    except OSError as error:
        raise StorageFailed(f"{what} cannot be written: {error.strerror}") from error


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
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            aside = _write_aside(path, content)
            try:
                _link(aside, path)
            finally:
                aside.unlink()
    if path.read_bytes() != content:
        raise InvalidRelease(f"{path.name} is there with other bytes; what is released never changes")


def _link(aside: Path, path: Path) -> None:
    """Give a complete file its name; unlike a rename, a link never replaces what another wrote first."""
    with contextlib.suppress(FileExistsError):
        os.link(aside, path)
    sync(path.parent)


def replace(path: Path, content: bytes) -> None:
    """Write a file in place of the one there; a reader sees the old bytes or the new.

    Raises
    ------
    StorageFailed
        If the disk is full or not writable; the old file stays.
    """
    with storage_errors(path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = _write_aside(path, content)
        aside.replace(path)
        sync(path.parent)


def sync(path: Path) -> None:
    """Make a file's content, or the names in a folder, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_aside(path: Path, content: bytes) -> Path:
    aside = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    return aside
