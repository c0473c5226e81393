"""How much of the disk releases, cases and what is kept for a while take; nothing is deleted here."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from models.contract import SEGMENTER
from services.pacs.unsent import NAMED_BY
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.records.port import Records
from services.releases.store import ReleaseStore
from services.settings import Settings

SECONDS_A_DAY = 86400.0
DECIDED_AGAINST = (ReleaseState.REFUSED, ReleaseState.DECLINED)


@dataclass(frozen=True)
class Held:
    """What one kind of files takes.

    Parameters
    ----------
    name
        In words.
    files, size
        How many, and bytes.
    free
        Bytes that may go.
    may
        What of it may go, and what deletes it; empty where nothing may.
    """

    name: str
    files: int
    size: int
    free: int = 0
    may: str = ""


@dataclass(frozen=True)
class Disk:
    """What lies on a site's disk.

    Parameters
    ----------
    held
        By kind.
    total, left
        Bytes of the disk of the home, and those that are free.
    written
        Releases that are written for the servers, and their bytes: at least what one takes in memory.
    """

    held: tuple[Held, ...]
    total: int
    left: int
    written: tuple[tuple[int, int], ...]


def disk_of(settings: Settings, releases: ReleaseStore, records: Records) -> Disk:
    """Walk through a home; minutes where it is large."""
    usage = shutil.disk_usage(settings.home)
    labelled = {case.case_id[:NAMED_BY] for purpose in Purpose for case in records.cases(purpose)}
    held = (
        _releases(settings, releases, records),
        Held("Evidence packs", *_sum(_files(settings.release_store / "evidence"))),
        *_cases(settings, records),
        _forgotten("Kept features", settings.case_store / "features", settings.keep_features_days),
        _forgotten("Results that were not sent", settings.unsent_store, settings.keep_unsent_days, labelled),
        _forgotten("Pictures of organs", settings.pictures_folder, settings.keep_pictures_days),
        Held("Scores of the gate", *_sum(_files(settings.score_store))),
    )
    versions = settings.triton_repository / SEGMENTER
    numbers = sorted(int(one.name) for one in versions.glob("*") if one.name.isdigit())
    written = tuple((number, _sum(_files(versions / str(number)))[1]) for number in numbers)
    return Disk(held, usage.total, usage.free, written)


def _releases(settings: Settings, releases: ReleaseStore, records: Records) -> Held:
    files = list(_files(settings.release_store, but={"evidence"}))
    states, incumbent = records.release_states(), records.incumbent()
    known = [releases.release(number) for number in releases.numbers()]
    parents = {one.parent for one in known}
    idle = [
        one
        for one in known
        if states.get(one.number) in DECIDED_AGAINST and one.number != incumbent and one.number not in parents
    ]
    used = {digest for one in known if one not in idle for digest in (one.trunk, *one.heads.values())}
    alone = {digest for one in idle for digest in (one.trunk, *one.heads.values())} - used
    free = sum(size for path, size, _ in files if path.name.split(".")[0] in alone)
    numbers = ", ".join(str(one.number) for one in idle)
    may = f"Weights of {numbers} alone, refused or declined; no command deletes them." if free else ""
    return Held("Releases", *_sum(files), free, may)


def _cases(settings: Settings, records: Records) -> Iterator[Held]:
    for purpose in Purpose:
        folders = [settings.case_store / case.case_id for case in records.cases(purpose)]
        found = [file for folder in folders for file in _files(folder)]
        yield Held(f"Cases for {purpose}", *_sum(found))


def _forgotten(name: str, folder: Path, days: float, stay: Collection[str] = ()) -> Held:
    """Tell what the next night deletes of a folder; folders of these names stay."""
    oldest = time.time() - days * SECONDS_A_DAY
    files = list(_files(folder))
    old = [(path, size) for path, size, changed in files if changed < oldest]
    free = sum(size for path, size in old if not set(path.relative_to(folder).parts) & set(stay))
    may = f"What is older than {days:g} days; the next night deletes it." if free else ""
    return Held(name, *_sum(files), free, may)


File = tuple[Path, int, float]
"""A file, its bytes, and when it was changed, seconds since 1970."""


def _files(folder: Path, but: Collection[str] = ()) -> Iterator[File]:
    """Yield every file under a folder; one that goes meanwhile is passed over, and no link is followed."""
    for inside, folders, names in os.walk(folder):
        folders[:] = [one for one in folders if one not in but]
        for name in names:
            path = Path(inside, name)
            try:
                status = path.lstat()
            except FileNotFoundError:
                continue
            yield path, status.st_size, status.st_mtime


def _sum(files: Iterator[File] | Collection[File]) -> tuple[int, int]:
    sizes = [size for _, size, _ in files]
    return len(sizes), sum(sizes)
