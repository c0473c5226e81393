"""Bringing files into a backup: linked where an earlier one holds them, else copied and compared.

Every file of the stores is written once and renamed into place, so that one with the size and the time of
the copy in the newest backup is that copy; by chance some are compared in full all the same. What is done is
noted file by file: a backup that was cut short, by its deadline say, is gone on with and not begun again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.errors import StorageFailed
from services.backup.manifest import CHUNK, Manifest, digest_of

ATTEMPTS = 3
"""How often a file is copied that changes meanwhile."""
COMPARED = 14
"""One in so many of the files that look unchanged is compared in full, drawn anew for every backup."""
DONE = ".done"
"""In a backup that is not whole: what is done, a JSON line ``[digest, name]`` a file."""


@dataclass(frozen=True)
class Brought:
    """A file that is in the backup.

    Parameters
    ----------
    digest
        SHA-256 of its content.
    copied_bytes
        What it took on disk beyond the backup before.
    """

    digest: str
    copied_bytes: int


@dataclass(frozen=True)
class _Held:
    path: Path
    digest: str


class Bringing:
    """Brings files into a backup that is being taken.

    Parameters
    ----------
    aside
        Its folder.
    newest
        The newest whole backup, and what it says of itself; None if there is none that can be read.
    left
        Folders of backups that were cut short.
    draw
        Any text; another one compares other files in full.
    progress
        Told what an earlier backup lacks.
    """

    def __init__(
        self,
        aside: Path,
        newest: tuple[Path, Manifest] | None,
        left: Iterable[Path],
        draw: str,
        progress: Callable[[str], None],
    ) -> None:
        self._aside = aside
        self._draw = draw
        self._progress = progress
        self._before = _of_manifest(*newest) if newest else {}
        self._left = {name: held for folder in left for name, held in _of_notes(folder).items()}
        if self._left:
            progress(f"going on with a backup that was cut short: {len(self._left)} files are done")

    def bring(self, source: Path, name: str) -> Brought | None:
        """Bring one file in; None if it is not there any more.

        Everything goes on meanwhile: a patient is taken out, old features are dropped.

        Raises
        ------
        StorageFailed
            If it changes each time it is copied, or does not come out of the disk as it went in.
        """
        target = self._aside / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            for _ in range(ATTEMPTS):
                before = source.stat()
                brought = (
                    self._taken_over(source, before, name, target)
                    or self._linked(source, before, name, target)
                    or _copied(source, before, target)
                )
                if brought is not None:
                    with (self._aside / DONE).open("a") as notes:
                        notes.write(json.dumps([brought.digest, name]) + "\n")
                    return brought
            raise StorageFailed(f"{name} changes all the time, or the disk is at fault")
        target.unlink(missing_ok=True)
        return None

    def _taken_over(self, source: Path, before: os.stat_result, name: str, target: Path) -> Brought | None:
        """Take over what a backup that was cut short had done: it was flushed before it was noted.

        Where the storage rounds times, contents are compared.
        """
        held = self._left.pop(name, None)
        if held is None or not held.path.exists() or held.path.stat().st_size != before.st_size:
            return None
        if not _looks_like(held.path, before) and not digest_of(source) == held.digest == digest_of(
            held.path
        ):
            return None
        held.path.rename(target)
        there = target.stat()
        return Brought(held.digest, there.st_size if there.st_nlink == 1 else 0)

    def _linked(self, source: Path, before: os.stat_result, name: str, target: Path) -> Brought | None:
        """Link what the newest whole backup holds of the same content."""
        held = self._before.get(name)
        if held is None or not held.path.exists() or held.path.stat().st_size != before.st_size:
            return None
        if not _looks_like(held.path, before) or zlib.crc32(f"{self._draw} {name}".encode()) % COMPARED == 0:
            if digest_of(source) != held.digest:
                return None
            if digest_of(held.path) != held.digest:
                self._progress(f"{held.path} is damaged, it is copied anew")
                return None
        try:
            os.link(held.path, target)
        except OSError:  # some file systems know no links
            return None
        return Brought(held.digest, 0)


def _copied(source: Path, before: os.stat_result, target: Path) -> Brought | None:
    """Copy a file, flushed, and compare; None if it changed meanwhile or came out otherwise."""
    digest = copy(source, target)
    after = source.stat()
    if (after.st_ino, after.st_size, after.st_mtime_ns) == (
        before.st_ino,
        before.st_size,
        before.st_mtime_ns,
    ) and digest_of(target) == digest:
        return Brought(digest, before.st_size)
    target.unlink(missing_ok=True)
    return None


def copy(source: Path, target: Path) -> str:
    """Copy content, mode and times, flushed to the disk; return the SHA-256 of what was read."""
    digest = hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as written:
        while chunk := read.read(CHUNK):
            digest.update(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
    shutil.copystat(source, target)
    return digest.hexdigest()


def _looks_like(path: Path, one: os.stat_result) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    return (there.st_size, there.st_mtime_ns) == (one.st_size, one.st_mtime_ns)


def _of_manifest(folder: Path, manifest: Manifest) -> dict[str, _Held]:
    return {name: _Held(folder / name, digest) for name, digest in manifest.files.items()}


def _of_notes(folder: Path) -> dict[str, _Held]:
    """Return what a backup that was cut short had done and still holds.

    A last line that was cut short too says nothing; what another has taken over since is not there any more.
    """
    found: dict[str, _Held] = {}
    with contextlib.suppress(FileNotFoundError, ValueError):
        for line in (folder / DONE).read_text().splitlines():
            digest, name = json.loads(line)
            if (folder / name).exists():
                found[name] = _Held(folder / name, digest)
    return found
