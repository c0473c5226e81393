"""Pictures of organs that were made while a study was in memory: kept in the home, for the pages.

::

    pictures/patients/<patient>/<result>/pictures.json    what is known of each
    pictures/patients/<patient>/<result>/<name>.png
    pictures/results/<result>                             the patient under whom they lie

The patient is a keyed hash, as everywhere in the home, and no file is named by a UID. A result's key leads to
its pictures, and a patient's folder holds all of the patient's. They can be made again: no backup holds them.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from json import JSONDecodeError, dumps, loads
from pathlib import Path

from models.documents import from_json, to_json
from models.errors import StorageFailed
from services.files import appear, folder_aside, replace, storage_errors, sync, write_flushed
from services.pictures.picture import Drawn, Picture

DOCUMENT = "pictures.json"
NAMED_BY = 24
"""Hexadecimal digits of a patient's hash in a folder's name: no two meet by chance."""

SECONDS_A_DAY = 86400.0
OWNERS, OWNERS_FILE = 0o700, 0o600
WHAT = "pictures of organs"

_KEY = re.compile(r"[0-9a-f]{1,64}")
_NAME = re.compile(r"[a-z][a-z0-9_]*-(axial-[0-9]|coronal|sagittal)")


@dataclass(frozen=True)
class _Kept:
    """What `DOCUMENT` holds."""

    pictures: tuple[Picture, ...]


class StudyPictures:
    """The kept pictures of a site.

    Parameters
    ----------
    folder
        `Settings.pictures_folder`; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._patients, self._results = folder / "patients", folder / "results"

    def keep(self, patient: str, key: str, drawn: Iterable[Drawn]) -> None:
        """Keep the pictures of one result, all of them or none.

        Those that are kept already stay as they are, and nothing is drawn; their time begins anew.

        Parameters
        ----------
        patient
            Keyed hash.
        key
            Of the result.
        drawn
            Its pictures; taken one by one.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable.
        """
        folder = self._of(patient) / key
        with storage_errors(WHAT):
            for one in (self._patients.parent, self._patients, self._results, folder.parent):
                one.mkdir(mode=OWNERS, parents=True, exist_ok=True)
            if folder.exists():
                os.utime(folder)
            else:
                _write(folder, drawn)
            replace(self._results / key, folder.parent.name.encode(), OWNERS_FILE)

    def of(self, key: str) -> tuple[Picture, ...]:
        """Return what is known of the pictures of a result, in the order they were made; () if none is kept.

        Raises
        ------
        StorageFailed
            If the disk does not give it, or it is damaged.
        """
        content = self._read(key, DOCUMENT)
        if content is None:
            return ()
        try:
            return from_json(_Kept, loads(content)).pictures
        except (JSONDecodeError, ValueError) as error:
            detail = "of a result cannot be understood: segment the study again"
            raise StorageFailed(f"{WHAT} {detail}") from error

    def png(self, key: str, name: str) -> bytes:
        """Return a picture as PNG.

        Parameters
        ----------
        key
            Of the result.
        name
            `Picture.name`.

        Raises
        ------
        KeyError
            If no such picture is kept.
        StorageFailed
            If the disk does not give it.
        """
        content = self._read(key, f"{name}.png") if _NAME.fullmatch(name) else None
        if content is None:
            raise KeyError(f"no picture of that name is kept of result {key}")
        return content

    def erase(self, patient: str) -> int:
        """Delete what is kept of a patient, by the keyed hash; return of how many results.

        Raises
        ------
        StorageFailed
            If a file cannot be deleted.
        """
        with storage_errors(WHAT, "cannot be deleted"):
            folder = self._of(patient)
            results = [one for one in folder.glob("*") if _KEY.fullmatch(one.name)]
            for one in results:
                self._delete(one)
            if folder.exists():  # what a killed process has left aside
                shutil.rmtree(folder)
        return len(results)

    def forget(self, older_than_days: float) -> int:
        """Delete pictures that were kept longer ago than so many days; return of how many results.

        What a killed process has left aside goes after as long, and is not counted.

        Raises
        ------
        StorageFailed
            If a file cannot be deleted.
        """
        oldest = time.time() - older_than_days * SECONDS_A_DAY
        gone = 0
        with storage_errors(WHAT, "cannot be deleted"):
            for folder in self._patients.glob("*/*"):
                with contextlib.suppress(FileNotFoundError):  # another process was first
                    if folder.stat().st_mtime < oldest:
                        self._delete(folder)
                        gone += _KEY.fullmatch(folder.name) is not None
                with contextlib.suppress(OSError):  # it holds others
                    folder.parent.rmdir()
        return gone

    def _read(self, key: str, file: str) -> bytes | None:
        if not _KEY.fullmatch(key):
            return None
        with storage_errors(WHAT, "cannot be read"), contextlib.suppress(FileNotFoundError):
            patient = (self._results / key).read_text()
            return (self._of(patient) / key / file).read_bytes()
        return None

    def _delete(self, folder: Path) -> None:
        """Delete a result's pictures, which nobody ever finds by half."""
        leads_here = self._results / folder.name
        with contextlib.suppress(FileNotFoundError):
            if leads_here.read_text() == folder.parent.name:  # not to another patient, whom images now name
                leads_here.unlink()
        aside = folder.with_name(f".{uuid.uuid4().hex}")
        folder.rename(aside)
        shutil.rmtree(aside)

    def _of(self, patient: str) -> Path:
        return self._patients / patient[:NAMED_BY]


def _write(folder: Path, drawn: Iterable[Drawn]) -> None:
    known: list[Picture] = []
    with folder_aside(folder.with_name(f".{uuid.uuid4().hex}")) as aside:
        aside.chmod(OWNERS)
        for one in drawn:
            write_flushed(aside / f"{one.picture.name}.png", one.png, OWNERS_FILE)
            known.append(one.picture)
        document = dumps(to_json(_Kept(tuple(known))))
        write_flushed(aside / DOCUMENT, document.encode(), OWNERS_FILE)
        sync(aside)
        appear(aside, folder)
