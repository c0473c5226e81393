"""Files as they were listed: each is read as it was found then, or not at all.

A folder is read file by file. What vanishes, shrinks or is exchanged meanwhile would leave a shorter series,
or one image's header with another's pixels, so every step of a read is held against the listing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models.errors import ReadFailed

SHORT_OF_MEMORY = (
    "Memory ran out while a slice was decoded, so nothing is said of the series. Try again, or give the "
    "process more memory."
)


@dataclass(frozen=True)
class FileState:
    """What tells whether a file is still as it was.

    Parameters
    ----------
    size
        Bytes.
    modified_ns
        When it was last changed, nanoseconds since 1970.
    """

    size: int
    modified_ns: int

    @classmethod
    def of(cls, found: os.stat_result) -> FileState:
        """Return the state that the file system tells."""
        return cls(found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class ListedFile:
    """A file of a listing.

    Parameters
    ----------
    path
        Where it is.
    state
        As it was when it was listed; None for a link that leads nowhere.
    """

    path: Path
    state: FileState | None

    @classmethod
    def of(cls, path: Path) -> ListedFile:
        """Return a file as it is now. Raises `OSError`."""
        return cls(path, FileState.of(path.stat()))


class OpenFile(Protocol):
    """An open file."""

    def fileno(self) -> int:
        """Return its descriptor."""


@contextmanager
def unchanged(file: OpenFile, listed: FileState | None) -> Iterator[FileState]:
    """Read an open file in this: it is as it was listed, and stays so to the end.

    It is asked also where reading it failed: what a change made of it is no damage of the image's.

    Parameters
    ----------
    file
        Just opened.
    listed
        Its state when it was listed; None: as it is now.

    Raises
    ------
    ReadFailed
        If it is not so, or not any more.
    """
    expected = FileState.of(os.fstat(file.fileno())) if listed is None else listed
    _require(file, expected)
    try:
        yield expected
    finally:
        _require(file, expected)


def _require(file: OpenFile, expected: FileState) -> None:
    if FileState.of(os.fstat(file.fileno())) != expected:
        raise ReadFailed("A file was changed while its folder was read: try again when nothing writes there.")


@contextmanager
def read_failures() -> Iterator[None]:
    """Raise what the machine would not give as `ReadFailed`, not as a word about the data."""
    try:
        yield
    except FileNotFoundError as error:
        raise ReadFailed(
            "A file vanished while its folder was read: try again when nothing is deleted there."
        ) from error
    except OSError as error:
        raise ReadFailed(f"A file cannot be read: {error.strerror or 'the disk gave no reason'}.") from error
    except MemoryError as error:
        raise ReadFailed(SHORT_OF_MEMORY) from error


def files_under(sources: Path | Iterable[Path | ListedFile]) -> Iterator[ListedFile]:
    """Yield the files of folders, at any depth, and files named themselves; sorted, each file once.

    Links to folders are not followed, so that no loop is walked; a file reached by two names is one.

    Parameters
    ----------
    sources
        A folder or a file, of which nothing is yielded if it is not there; or several that are named, each of
        which must be there. What was listed before counts as it was then.

    Raises
    ------
    ReadFailed
        If a file that is named is none, or a file or folder vanished or cannot be looked into.
    """
    with read_failures():
        found: dict[Path, ListedFile] = {}
        for root in [sources] if isinstance(sources, Path) else sources:
            if isinstance(root, ListedFile):
                found[root.path] = root
            elif root.is_dir():
                found.update((file.path, file) for file in _walked(root))
            elif not isinstance(sources, Path) or root.exists():
                state = root.stat()
                if stat.S_ISREG(state.st_mode):
                    found[root] = ListedFile(root, FileState.of(state))
                elif not isinstance(sources, Path):
                    raise ReadFailed("A file that was named is no regular file.")
        seen: set[Path] = set()
        for path in sorted(found):
            real = path.resolve()
            if real not in seen:
                seen.add(real)
                yield found[path]


def _walked(root: Path) -> Iterator[ListedFile]:
    """Yield the regular files of a folder; unlike `Path.rglob` it passes over nothing that it cannot read."""
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            found = list(entries)
        for entry in found:
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
                continue
            try:
                state = entry.stat()
            except OSError:
                if not entry.is_symlink():
                    raise
                yield ListedFile(Path(entry.path), None)
                continue
            if stat.S_ISREG(state.st_mode):
                yield ListedFile(Path(entry.path), FileState.of(state))
