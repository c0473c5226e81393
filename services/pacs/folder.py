"""Folders in place of a PACS: a study is a folder of files, a result is a folder of files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import Refused, StorageFailed
from models.verdict import Code
from services.pacs.port import DicomObject

STAGING = ".organloop-storing"
"""What a folder that is being written is called until it is complete."""


@dataclass(frozen=True)
class FolderPacs:
    """Studies are read where they lie, results are written to one folder.

    Parameters
    ----------
    out
        Folder for the objects of one result; made when first stored to.
    """

    out: Path

    def fetch_study(self, source: str, into: Path) -> Path:
        """Return the path itself: nothing has to be fetched, and `into` is left alone."""
        path = Path(source)
        if not path.exists():
            raise Refused(Code.NOT_DICOM, "There is no such file or folder.")
        return path

    def store(self, objects: Sequence[DicomObject]) -> tuple[str, ...]:
        """Write all objects or none; see `Pacs.store`.

        Everything is written and flushed aside first, on the same file system, and only then renamed
        into place. Files that are already there with the same bytes stay as they are.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable, or a file of that name holds something else.
        """
        names = [Path(item.file_name).name for item in objects]
        if len(set(names)) < len(names):
            raise ValueError("objects of one result need different file names")
        try:
            fresh = {
                name: item.content
                for name, item in zip(names, objects, strict=True)
                if self._lacks(name, item)
            }
            if fresh:
                self._write(fresh)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise StorageFailed(
                f"The results could not be written: {reason}. Nothing was left behind."
            ) from error
        return tuple(str(self.out / name) for name in names)

    def _lacks(self, name: str, item: DicomObject) -> bool:
        path = self.out / name
        if not path.exists():
            return True
        if path.read_bytes() != item.content:
            raise StorageFailed(f"{name} is already there with other content; choose another folder.")
        return False

    def _write(self, contents: dict[str, bytes]) -> None:
        """Write files aside, then bring them into place; on any failure take everything away again."""
        made = not self.out.exists()
        staging = self.out.with_name(self.out.name + STAGING) if made else self.out / STAGING
        placed: list[Path] = []
        try:
            shutil.rmtree(staging, ignore_errors=True)  # left by a process that was killed
            staging.mkdir(parents=True)
            for name, content in contents.items():
                with (staging / name).open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            if made:
                staging.rename(self.out)
                return
            for name in contents:
                placed.append((staging / name).rename(self.out / name))
            staging.rmdir()
        except OSError:
            for path in placed:
                path.unlink(missing_ok=True)
            shutil.rmtree(staging, ignore_errors=True)
            raise
