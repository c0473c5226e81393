"""Where studies come from and results go to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class DicomObject(Protocol):
    """One DICOM file to be stored."""

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID."""

    @property
    def content(self) -> bytes:
        """Bytes of the file."""

    @property
    def file_name(self) -> str:
        """Name for it in a folder."""


class Pacs(Protocol):
    """An archive, or what stands in for one."""

    def fetch_study(self, source: str, into: Path) -> Path:
        """Return a folder (or file) that holds all of a study's objects.

        Parameters
        ----------
        source
            What names the study: a UID, or a path for the folder adapter.
        into
            Folder for what has to be fetched; left alone where nothing has.

        Raises
        ------
        Refused
            `not-dicom` if there is nothing under that name.
        PacsFailed
            If the archive answered with an error, or not at all.
        """

    def store(self, objects: Sequence[DicomObject]) -> tuple[str, ...]:
        """Store the objects of one result, all or none; return where each lies (path or UID), in order.

        Storing the same objects again changes nothing.

        Raises
        ------
        StorageFailed
            If not all could be stored; then none is.
        PacsFailed
            If the archive answered with an error, or not at all.
        """
