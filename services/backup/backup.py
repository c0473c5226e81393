"""Taking a backup while everything goes on, and bringing one back.

Records first, then what they speak of: releases and scores are written before the records name them, cases
just after, and none changes, so that a copy made afterwards holds all that the copied records need. That the
incumbent and every case are in it is checked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from models.errors import Refused, StorageFailed
from services.backup.copying import DONE, Bringing
from services.backup.dump import FILES, dump, fits, holds_records, load
from services.backup.manifest import NAME, Manifest, digest_of
from services.files import storage_errors, sync
from services.locks import AlreadyLocked, file_lock
from services.records.entries.cases import Purpose
from services.records.events.event import Event
from services.records.events.operations import BackupFailed, BackupTaken
from services.records.store import open_records
from services.settings import Settings

Progress = Callable[[str], None]
_LOCK = ".lock"
_ASIDE = ".taking-"
"""How the name of a backup begins that is not whole; the next one goes on with it."""


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
    How it went is on record: `BackupTaken` or `BackupFailed`.

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
        If anything cannot be read or written. What was done lies aside, and the next one goes on with it;
        no folder is left that looks like a backup.
    """
    try:
        taken = _take(settings, out, progress, keep)
    except StorageFailed as error:
        _note(settings, BackupFailed(why=str(error)))
        raise
    held = taken.manifest
    event = BackupTaken(taken_at=held.taken_at, files=len(held.files), copied_bytes=taken.copied_bytes)
    if not _note(settings, event):
        progress("the backup is whole, and could not be put on record: it will be missed by the alerts")
    return taken


def _take(settings: Settings, out: Path, progress: Progress, keep: int | None) -> Backup:
    if out.resolve().is_relative_to(settings.home.resolve()):
        raise StorageFailed(f"{out} lies in the home itself: a backup there is lost with it")
    with storage_errors(str(out)), _alone(out):
        left, taken_at = sorted(out.glob(f"{_ASIDE}*")), _now()
        path = out / taken_at.replace(":", "").replace("-", "")
        if newer := [one.name for one in backups(out) if one.name > path.name]:
            raise StorageFailed(
                f"backup {newer[-1]} is of a later time than now: set the clock right, or move it away"
            )
        aside = out / f"{_ASIDE}{uuid.uuid4().hex}"
        aside.mkdir(mode=0o700)
        try:
            bringing = Bringing(aside, _newest(out), left, taken_at, progress)
            copied = _fill(settings, aside, bringing, taken_at, progress)
        except BaseException:
            if not (aside / DONE).exists():
                shutil.rmtree(aside, ignore_errors=True)
            raise
        aside.rename(path)
        sync(out)
        for one in left:
            shutil.rmtree(one)
        for old in backups(out)[:-keep] if keep else ():
            progress(f"removing {old.name}")
            shutil.rmtree(old)
    return Backup(path, copied.manifest, copied.copied_bytes)


def _note(settings: Settings, event: Event) -> bool:
    """Put on record how a backup went, where there are records; tell whether it could be."""
    with contextlib.suppress(StorageFailed, SQLAlchemyError):
        if holds_records(settings.records_url):
            with closing(open_records(settings.records_url)) as records:
                records.record(event, who="backup")
                return True
    return False


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Let one process at a time write a folder of backups: another would clear away what this one writes."""
    out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(file_lock(out / _LOCK))
        except AlreadyLocked:
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
    if folders or holds_records(settings.owner_url):
        held = ", ".join(str(folder) for folder in folders) or "the database"
        raise Refused("not-empty", f"{held} holds something already; nothing was changed.")
    progress(f"comparing {len(manifest.files)} files with their digests")
    manifest.verify(backup)
    records = [name for name in manifest.files if name in FILES.values()]
    if len(records) != 1:
        raise Refused("damaged-backup", "The backup holds no records.")
    fits(settings.owner_url, backup / records[0])
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
    load(settings.owner_url, backup / records[0])
    with closing(open_records(settings.owner_url)) as opened:  # what it says was read after the dump
        return replace(manifest, incumbent=opened.incumbent())


def _folders(settings: Settings) -> tuple[Path, ...]:
    return settings.release_store, settings.case_store, settings.score_store


def _fill(settings: Settings, aside: Path, bringing: Bringing, taken_at: str, progress: Progress) -> Backup:
    progress("copying the records")
    records = dump(settings.records_url, aside)
    named = _named(settings)
    files, copied = {records.name: str(digest_of(records))}, records.stat().st_size
    for folder in _folders(settings):
        progress(f"copying {folder.name}")
        for source in _files(folder):
            name = source.relative_to(settings.home).as_posix()
            brought = bringing.bring(source, name)
            if brought is not None:
                files[name] = brought.digest
                copied += brought.copied_bytes
    folders = {str(parent) for name in files for parent in Path(name).parents}
    lost = sorted((named - folders) & _named(settings))  # what was erased meanwhile is not lost
    if lost:
        raise StorageFailed(f"the records name {len(lost)} folders that hold no file, the first is {lost[0]}")
    with closing(open_records(settings.records_url)) as held:
        manifest = Manifest(taken_at, held.incumbent(), files)
    (aside / NAME).write_bytes(manifest.to_bytes())
    sync(aside / NAME)  # it is what says that the backup is whole
    (aside / DONE).unlink(missing_ok=True)
    return Backup(aside, manifest, copied)


def _newest(out: Path) -> tuple[Path, Manifest] | None:
    """Return the newest whole backup and what it says of itself; None if there is none that can be read."""
    taken = backups(out)
    with contextlib.suppress(Refused):
        return (taken[-1], Manifest.read(taken[-1])) if taken else None
    return None


def _named(settings: Settings) -> set[str]:
    """Return the folders in the home of which the records say that something is kept there."""
    with closing(open_records(settings.records_url)) as held:
        cases = [case.case_id for purpose in Purpose for case in held.cases(purpose)]
        incumbent = held.incumbent()
    folders = [settings.case_store / case for case in cases]
    if incumbent is not None:
        folders.append(settings.release_store / "releases" / str(incumbent))
    return {folder.relative_to(settings.home).as_posix() for folder in folders}


def _files(folder: Path) -> Iterator[Path]:
    """Yield the whole files of a folder; names with a leading dot are being written.

    Raises
    ------
    PermissionError
        If a folder may not be listed: what is passed over in silence is missed at the restore.
    """

    def unless_gone(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for parent, folders, names in os.walk(folder, onerror=unless_gone):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
