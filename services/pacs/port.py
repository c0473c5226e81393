"""Where studies come from and results go to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
            `not-dicom` if there is nothing under that name; `incomplete` if less came than the archive
            says it holds.
        PacsFailed
            If the archive answered with an error, or not at all.
        """

    def store(self, objects: Sequence[DicomObject]) -> tuple[str, ...]:
        """Store the objects of one result; return where each lies (path or UID), in order.

        Storing the same objects again changes nothing.

        Raises
        ------
        StorageFailed
            If not all could be stored: the message names each that was not, with its status.
        PacsFailed
            If the archive answered with an error, or not at all.
        """


@dataclass(frozen=True)
class ArchivedSeries:
    """One series as the archive lists it.

    Parameters
    ----------
    series_uid
        SeriesInstanceUID.
    modality
        E.g. `CT`, `SEG`.
    sop_instance_uids
        Its instances, sorted.
    """

    series_uid: str
    modality: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True)
class ArchivedStudy:
    """One study as the archive lists it now.

    Parameters
    ----------
    study_uid
        StudyInstanceUID.
    patients
        Distinct PatientIDs under which the archive holds it; more than one after a half-done merge.
    stable
        Whether nothing arrived for as long as the archive waits; archives that cannot say, say True.
    urgent
        Whether it is to be read first (requested priority STAT or HIGH, where it is known).
    series
        By series UID.
    """

    study_uid: str
    patients: tuple[str, ...]
    stable: bool
    urgent: bool
    series: tuple[ArchivedSeries, ...]


class Archive(Pacs, Protocol):
    """An archive that can be asked what it holds."""

    def study(self, study_uid: str) -> ArchivedStudy | None:
        """Return what the archive holds of a study; None if it holds nothing (any more).

        Raises
        ------
        PacsFailed
            If the archive answered with an error, or not at all.
        """

    def fetch_instance(self, sop_instance_uid: str, into: Path) -> Path | None:
        """Return a file with one object, written into a folder; None if the archive does not hold it.

        Raises
        ------
        PacsFailed
            If the archive answered with an error, or not at all.
        """


@dataclass(frozen=True)
class Changes:
    """A stretch of an archive's feed of changes.

    Parameters
    ----------
    study_uids
        Studies to which something came, or that became stable, each once, in order.
    cursor
        Where the next stretch begins.
    more
        Whether the feed goes on at once.
    """

    study_uids: tuple[str, ...]
    cursor: int
    more: bool


class ChangeFeed(Protocol):
    """An archive that tells what came, in an order that survives restarts of either side."""

    def changes(self, cursor: int) -> Changes:
        """Return the stretch of the feed that begins at a cursor, 0 for its beginning.

        Raises
        ------
        PacsFailed
            If the archive answered with an error, or not at all.
        """
