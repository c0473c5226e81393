"""Taking a backup while everything goes on, and bringing one back.

Records first, then what they speak of: releases, cases and scores are written before the records name them
and never change, so that a copy made afterwards holds all that the copied records need.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from models.errors import Refused, StorageFailed
from services.backup.dump import FILES, dump, fits, holds_records, load
from services.backup.manifest import NAME, Manifest, digest_of
from services.records.store import open_records
from services.releases.files import storage_errors, sync
from services.settings import Settings

Progress = Callable[[str], None]
ATTEMPTS = 3
"""How often a file is copied that changes meanwhile."""
_LOCK = ".lock"
_ASIDE = ".taking-"
"""How the name of a backup begins that is not whole; a killed process leaves it, the next one removes it."""


@dataclass(frozen=True)
class Backup:
    """A backup as it lies.

    Parameters
    ----------
    path
        Its folder.
    manifest
        What it holds.
    copied_bytes
        What it took on disk beyond the backup before it.
    """

    path: Path
    manifest: Manifest
    copied_bytes: int


def take(settings: Settings, out: Path, progress: Progress, keep: int | None = None) -> Backup:
    """Copy records, releases, cases and scores into a new folder under `out`, named by the time (UTC).

    A file that the newest backup there holds already is linked, not copied: another night costs what is new.

    Parameters
    ----------
    settings
        Whose home and records.
    out
        Folder of all backups, best on other storage.
    progress
        Told each step.
    keep
        How many to keep, this one included; older ones are removed once it is whole. None: all.

    Raises
    ------
    StorageFailed
        If anything cannot be read or written; no folder is left that looks like a backup.
    """
    if out.resolve().is_relative_to(settings.home.resolve()):
        raise StorageFailed(f"{out} lies in the home itself: a backup there is lost with it")
    with storage_errors(str(out)), _alone(out):
        for left in out.glob(f"{_ASIDE}*"):
            shutil.rmtree(left)
        before = _known(out)
        aside = out / f"{_ASIDE}{uuid.uuid4().hex}"
        aside.mkdir(mode=0o700)
        try:
            copied = _fill(settings, aside, before, progress)
            manifest = copied.manifest
            path = out / manifest.taken_at.replace(":", "").replace("-", "")
            aside.rename(path)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync(out)
        for old in backups(out)[:-keep] if keep else ():
            progress(f"removing {old.name}")
            shutil.rmtree(old)
    return Backup(path, manifest, copied.copied_bytes)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Let one process at a time write a folder of backups: another would clear away what this one writes.

    The lock is the open file's: it ends with its process.
    """
    out.mkdir(parents=True, exist_ok=True)
    with (out / _LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StorageFailed(f"another backup is being written to {out}") from None
        yield


def backups(out: Path) -> list[Path]:
    """Return the whole backups in a folder, oldest first."""
    return sorted(path.parent for path in out.glob(f"*/{NAME}") if not path.parent.name.startswith("."))


def restore(settings: Settings, backup: Path, progress: Progress) -> Manifest:
    """Bring a backup into an empty home and an empty database; what Triton loads is made by `prepare`.

    Nothing is overwritten. Every file is compared with its digest before and after it is copied; the records
    come last, so that a home with records is whole.

    Raises
    ------
    Refused
        `not-a-backup`, `damaged-backup`; `not-empty` if the home or the database holds anything already;
        `other-database`.
    StorageFailed
        If it cannot be written.
    """
    manifest = Manifest.read(backup)
    folders = [folder for folder in _folders(settings) if folder.exists() and any(folder.iterdir())]
    if folders or holds_records(settings.records_url):
        held = ", ".join(str(folder) for folder in folders) or "the database"
        raise Refused("not-empty", f"{held} holds something already; nothing was changed.")
    progress(f"comparing {len(manifest.files)} files with their digests")
    manifest.verify(backup)
    records = [name for name in manifest.files if name in FILES.values()]
    if len(records) != 1:
        raise Refused("damaged-backup", "The backup holds no records.")
    fits(settings.records_url, backup / records[0])
    with storage_errors(str(settings.home)):
        for name, digest in manifest.files.items():
            if name in records:
                continue
            target = settings.home / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(backup / name, target)
            if digest_of(target) != digest:
                raise StorageFailed(f"{name} is not the same after it was copied")
    progress("bringing back the records")
    load(settings.records_url, backup / records[0])
    return manifest


def _folders(settings: Settings) -> tuple[Path, ...]:
    return settings.release_store, settings.case_store, settings.score_store


def _fill(settings: Settings, aside: Path, before: dict[str, Path], progress: Progress) -> Backup:
    taken_at = _now()
    progress("copying the records")
    records = dump(settings.records_url, aside)
    files, copied = {records.name: str(digest_of(records))}, records.stat().st_size
    for folder in _folders(settings):
        progress(f"copying {folder.name}")
        for source in _files(folder):
            name = source.relative_to(settings.home).as_posix()
            target = aside / name
            target.parent.mkdir(parents=True, exist_ok=True)
            brought = _bring(source, target, before)
            if brought is not None:
                files[name] = brought.digest
                copied += brought.copied_bytes
    with closing(open_records(settings.records_url)) as held:
        manifest = Manifest(taken_at, held.incumbent(), files)
    (aside / NAME).write_bytes(manifest.to_bytes())
    return Backup(aside, manifest, copied)


@dataclass(frozen=True)
class _Brought:
    digest: str
    copied_bytes: int


def _bring(source: Path, target: Path, before: dict[str, Path]) -> _Brought | None:
    """Link a file from the newest backup, or copy it; None if it is not there any more.

    Everything goes on meanwhile: a patient is taken out, old features are dropped, a run notes how far it is.
    """
    for _ in range(ATTEMPTS):
        digest = digest_of(source)
        if digest is None:
            return None
        held = before.get(digest)
        if held is not None and digest_of(held) == digest:
            with contextlib.suppress(OSError):  # some file systems know no links
                os.link(held, target)
                return _Brought(digest, 0)
        with contextlib.suppress(FileNotFoundError):
            shutil.copy2(source, target)
            if digest_of(target) == digest:
                return _Brought(digest, target.stat().st_size)
        target.unlink(missing_ok=True)
    raise StorageFailed(f"{target.name} changes all the time, or the disk is at fault")


def _known(out: Path) -> dict[str, Path]:
    """Return the files of the newest backup by digest; nothing if there is none, or it cannot be read."""
    taken = backups(out)
    if not taken:
        return {}
    try:
        return {digest: taken[-1] / name for name, digest in Manifest.read(taken[-1]).files.items()}
    except Refused:
        return {}


def _files(folder: Path) -> Iterator[Path]:
    """Yield the whole files of a folder; names with a leading dot are being written."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
