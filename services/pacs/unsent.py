"""Results that were made while the site was silent: kept in the home, in place of an archive.

::

    unsent/<patient>/<series>/<result>/organ-seg.dcm, report-sr.dcm, ...   as they would have been sent
    unsent/<patient>/<series>/<result>/slices.json                         where the CT's slices lie

Patient and series are keyed hashes, as everywhere in the home; the files themselves name the patient, as any
DICOM object does. Results can be made again, to the byte: no backup holds these.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import ReadFailed, StorageFailed
from models.release import sha256_hex
from models.uids import SopUid
from services.files import storage_errors
from services.pacs.folder import STAGING, FolderPacs
from services.pacs.port import DicomObject

SLICES = "slices.json"
NAMED_BY = 24
"""Hexadecimal digits of a hash in a folder's name: no two meet by chance."""

SECONDS_A_DAY = 86400.0
NO_UID = SopUid("")


@dataclass(frozen=True)
class _File:
    """What is kept beside the DICOM objects; see `DicomObject`."""

    file_name: str
    content: bytes
    sop_instance_uid: SopUid = NO_UID


class UnsentResults:
    """The kept results of a site.

    Parameters
    ----------
    folder
        `Settings.unsent_store`; made on the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(
        self, patient: str, series: str, key: str, objects: Sequence[DicomObject], slices: bytes
    ) -> tuple[Path, dict[str, str]]:
        """Keep the objects of one result, with all of them or none; the same again changes nothing.

        Parameters
        ----------
        patient, series
            Their keyed hashes.
        key
            Of the result.
        objects
            What would have been sent.
        slices
            Where the CT's slices lie.

        Returns
        -------
        tuple
            The folder, and the SHA-256 of each file by its name.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable.
        """
        out = self._of(patient, series) / key
        with storage_errors("the results of a silent site"):
            out.parent.mkdir(parents=True, exist_ok=True)
        files = (_File(SLICES, slices), *objects)
        FolderPacs(out).store(files)
        return out, {one.file_name: sha256_hex(one.content) for one in files}

    def of_series(self, patient: str, series: str) -> tuple[Path, ...]:
        """Return the folders of a series' kept results, each named by the key of the result."""
        with storage_errors("the results of a silent site", "cannot be read"):
            return tuple(
                one for one in sorted(self._of(patient, series).glob("*")) if not one.name.startswith(STAGING)
            )

    def erase(self, patient: str) -> int:
        """Delete what is kept of a patient, by its hash; return how many results.

        Raises
        ------
        StorageFailed
            If a file cannot be deleted.
        """
        folder = self.folder / patient[:NAMED_BY]
        results = len(list(folder.glob("*/*")))
        with storage_errors("the results of a silent site", "cannot be deleted"):
            if folder.exists():
                shutil.rmtree(folder)
        return results

    def forget(self, older_than_days: float, but: Collection[str]) -> int:
        """Delete results that were kept longer ago than so many days; return how many.

        Parameters
        ----------
        older_than_days
            Days.
        but
            Hashes of series whose results stay.

        Raises
        ------
        StorageFailed
            If a file cannot be deleted.
        """
        oldest = time.time() - older_than_days * SECONDS_A_DAY
        stay = {series[:NAMED_BY] for series in but}
        gone = 0
        with storage_errors("the results of a silent site", "cannot be deleted"):
            for series in self.folder.glob("*/*"):
                for result in series.glob("*") if series.name not in stay else ():
                    if result.stat().st_mtime < oldest:
                        shutil.rmtree(result)
                        gone += 1
                for emptied in (series, series.parent):
                    with contextlib.suppress(OSError):  # it is not
                        emptied.rmdir()
        return gone

    def _of(self, patient: str, series: str) -> Path:
        return self.folder / patient[:NAMED_BY] / series[:NAMED_BY]


def kept_file(folder: Path, name: str, digest: str) -> bytes:
    """Return a file of a kept result.

    Raises
    ------
    ReadFailed
        If it is not there, or cannot be read.
    StorageFailed
        If it is not the one whose SHA-256 is on record.
    """
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise ReadFailed(f"{name} cannot be read: {error.strerror}") from error
    if sha256_hex(content) != digest:
        raise StorageFailed(f"{name} is not the one on record")
    return content
