"""Where studies come from and results go to.

An archive that answers with an error raises `PacsFailed`; one that does not answer, or is busy, its subclass
`PacsUnavailable`: worth trying again.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Protocol

from models.uids import SeriesUid, SopUid, StudyUid
from services.pacs.kinds import CT


class DicomObject(Protocol):
    """One DICOM file to be stored."""

    @property
    def sop_instance_uid(self) -> SopUid:
        """SOP Instance UID."""

    @property
    def content(self) -> bytes:
        """Bytes of the file."""

    @property
    def file_name(self) -> str:
        """Name for it in a folder."""


class Pacs(Protocol):
    """An archive, or what stands in for one."""

    def fetch_study(self, source: StudyUid | Path, into: Path) -> Path:
        """Return a folder (or file) that holds a study's CT images, as the archive stored them.

        What else is in the study is not asked for, and refuses nothing.

        Parameters
        ----------
        source
            What names the study: a UID, or a path for the folder adapter.
        into
            Folder for what has to be fetched; left alone where nothing has.

        Raises
        ------
        Refused
            `not-dicom` if there is no such path; `study-gone` if the archive holds nothing (any more) under
            that UID; `not-ct` if it holds no CT image there; `incomplete` if other images came than the
            archive lists, or the study changed meanwhile (worth trying again); `mixed-patient` if its images
            lie under more than one patient (where only DICOMweb is asked: if the study does); `missing-uid`
            if the SOP Instance UID of an image is none; `too-large` if there are
            more than the settings allow: by what the archive says before anything is fetched, else by
            what came.
        PacsFailed
            If the archive answered with an error, or not at all.
        StorageFailed
            If `into` is full or not writable.
        """

    def store(self, objects: Sequence[DicomObject]) -> tuple[str, ...]:
        """Store the objects of one result; return where each lies (path or UID), in order.

        Storing the same objects again changes nothing. They go in the order given, and nothing goes after
        one that was refused: the object that refers to the others comes last.

        Raises
        ------
        StorageFailed
            If not all could be stored: the message names each that was not, with the reason.
        StoredDiffers
            If another object lies under the UID of one, or the archive does not give back what it took.
        PacsFailed
            If the archive answered with an error, or not at all.
        """


@dataclass(frozen=True)
class ArchivedSeries:
    """The objects of one kind in a series, as the archive lists them.

    Parameters
    ----------
    series_uid
        SeriesInstanceUID.
    modality
        E.g. `CT`, `SEG`; of the objects, whatever the archive says of the series (`services.pacs.kinds`).
    sop_instance_uids
        These objects, sorted.
    listed_as
        Modality that the archive says of the whole series; empty where it is that of the objects.
    """

    series_uid: SeriesUid
    modality: str
    sop_instance_uids: tuple[SopUid, ...]
    listed_as: str = ""


@dataclass(frozen=True)
class ArchivedStudy:
    """One study as the archive lists it now.

    Parameters
    ----------
    study_uid
        StudyInstanceUID.
    patients
        PatientIDs under which the archive holds it, one per patient; more than one after a half-done
        merge, and then the same ID twice if only the issuers differ.
    stable
        Whether nothing arrived for as long as the archive waits; archives that cannot say, say True.
    urgent
        Whether it is to be read first (requested priority STAT or HIGH, where it is known).
    series
        By series UID, and one whose objects are of several kinds by kind.
    """

    study_uid: StudyUid
    patients: tuple[str, ...]
    stable: bool
    urgent: bool
    series: tuple[ArchivedSeries, ...]

    def ct_series(self) -> tuple[ArchivedSeries, ...]:
        """Return its CT images, by series."""
        return tuple(one for one in self.series if one.modality == CT)


class Archive(Pacs, Protocol):
    """An archive that can be asked what it holds."""

    def study(self, study_uid: StudyUid) -> ArchivedStudy | None:
        """Return what the archive holds of a study; None if it holds nothing (any more).

        Raises
        ------
        PacsFailed
            If the archive answered with an error, or not at all.
        """

    def fetch_instance(self, sop_instance_uid: SopUid, into: Path) -> Path | None:
        """Return a file with one object, written into a folder; None if the archive does not hold it.

        Raises
        ------
        Refused
            `mixed-patient` if the archive holds it more than once.
        PacsFailed
            If the archive answered with an error, or not at all.
        """

    def as_they_came(self, sop_instance_uids: Collection[SopUid]) -> tuple[tuple[SopUid, ...], ...]:
        """Return objects in the order in which the archive took them in, whatever they say of themselves.

        Of those of one group nobody knows which came first. Raises as `study`.
        """


@dataclass(frozen=True)
class Changes:
    """A stretch of an archive's feed of changes.

    Parameters
    ----------
    study_uids
        Studies to which something came, or that became stable, each once, in no order. What was deleted
        since is left out.
    cursor
        Where the next stretch begins. Less than the one asked for: the feed is another one, the archive's
        database was replaced, and this is its beginning.
    more
        Whether the feed goes on at once.
    quiet
        Whether a study was told of because nothing more came to it for long.
    """

    study_uids: tuple[StudyUid, ...]
    cursor: int
    more: bool
    quiet: bool = True


class ChangeFeed(Protocol):
    """An archive that tells what came, in an order that survives restarts of either side."""

    @property
    def every_seconds(self) -> float:
        """Return how long to wait between two looks at it, seconds."""

    def changes(self, cursor: int) -> Changes:
        """Return the stretch of the feed that begins at a cursor, 0 for its beginning.

        Raises
        ------
        PacsFailed
            If the archive answered with an error, or not at all.
        """

    def end(self) -> int:
        """Return the cursor behind everything that came until now. Raises as `changes`."""


class QuerySource(Protocol):
    """A PACS that does not send by itself: it is asked, and told to send studies to the archive."""

    def studies_since(self, day: date) -> tuple[StudyUid, ...]:
        """Return the UIDs of the CT studies made on a day or later.

        Raises
        ------
        PacsFailed
            If the archive or the PACS answered with an error, or not at all.
        """

    def instances(self, study_uid: StudyUid) -> int:
        """Return how many instances of a study the PACS says it holds, 0 if it knows none.

        Raises
        ------
        PacsFailed
            If the archive or the PACS answered with an error, or not at all.
        """

    def listed(self, study_uid: StudyUid) -> set[SopUid]:
        """Return the SOP Instance UIDs of a study that the PACS lists.

        Raises
        ------
        PacsFailed
            If the archive or the PACS answered with an error, or not at all.
        """

    def retrieve(self, study_uid: StudyUid) -> ArchivedStudy:
        """Have the PACS send a study to the archive, and return what the archive then holds of it.

        Raises
        ------
        Refused
            `study-gone` if the PACS holds nothing under that UID; `incomplete` if fewer instances arrived
            than it says it holds.
        PacsFailed
            If the archive or the PACS answered with an error, or not at all, or nothing more arrived
            within the deadline.
        """
