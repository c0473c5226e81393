"""Folders in place of a PACS: a study is a folder of files, a result is a folder of files."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import Refused, StorageFailed
from models.series.verdict import Code
from models.uids import StudyUid
from services.files import appear, folder_aside, sync, write_flushed
from services.pacs.port import DicomObject

STAGING = ".organloop-storing-"
"""How the name of a folder that is being written begins; a killed process leaves it, and nobody reads it."""


@dataclass(frozen=True)
class FolderPacs:
    """Studies are read where they lie, results are written to one folder.

    Parameters
    ----------
    out
        Folder for the objects of one result; made when first stored to.
    """

    out: Path

    def fetch_study(self, source: StudyUid | Path, into: Path) -> Path:
        """Return the path itself: nothing has to be fetched, and `into` is left alone."""
        path = Path(source)
        if not path.exists():
            raise Refused(Code.NOT_DICOM, "There is no such file or folder.")
        return path

    def store(self, objects: Sequence[DicomObject]) -> tuple[str, ...]:
        """Write the objects of one result; see `Pacs.store`.

        Everything is written and flushed aside first, on the same file system. A folder that is not
        there yet then appears with all objects at once or not at all. Into one that is there the
        files are renamed one after the other, in the order given: a failure takes them away again, but
        a process killed in between leaves the first of them. So the object that refers to the others,
        the report, comes last: where it lies, all do; where it is missing, storing again completes.
        Files that are there with the same bytes stay as they are.

        Raises
        ------
        StorageFailed
            If the disk is full or not writable, or a file of that name holds something else.
        """
        names = [Path(item.file_name).name for item in objects]
        if len(set(names)) < len(names):
            raise ValueError("objects of one result need different file names")
        contents = dict(zip(names, (item.content for item in objects), strict=True))
        try:
            fresh = {name: content for name, content in contents.items() if self._lacks(name, content)}
            if fresh:
                self._write(fresh)
        except OSError as error:
            reason = error.strerror or "the disk gave no reason"
            raise StorageFailed(
                f"The results could not be written: {reason}. Nothing was left behind."
            ) from error
        return tuple(str(self.out / name) for name in names)

    def _lacks(self, name: str, content: bytes) -> bool:
        path = self.out / name
        if not path.exists():
            return True
        if path.read_bytes() != content:
            raise StorageFailed(f"{name} is already there with other content; choose another folder.")
        return False

    def _write(self, contents: Mapping[str, bytes]) -> None:
        """Write files aside, under a name no other process uses, then bring them into place."""
        new = not self.out.exists()
        staging = (self.out.parent if new else self.out) / f"{STAGING}{uuid.uuid4().hex}"
        with folder_aside(staging):
            for name, content in contents.items():
                write_flushed(staging / name, content)
            sync(staging)
            if not (new and appear(staging, self.out)):
                self._place(staging, contents)

    def _place(self, staging: Path, contents: Mapping[str, bytes]) -> None:
        """Rename files into the folder that is there; on a failure take those away again."""
        placed: list[Path] = []
        try:
            for name, content in contents.items():
                if self._lacks(name, content):
                    placed.append((staging / name).rename(self.out / name))
            sync(self.out)
        except (OSError, StorageFailed):
            for path in placed:
                path.unlink(missing_ok=True)
            raise
