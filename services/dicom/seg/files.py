"""Finding a SEG on disk, and the images it was drawn on, before any of it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom.dataset import Dataset

from models.errors import Refused
from models.uids import SopUid
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.series import SeriesReading
from services.dicom.foreign.identifiers import named_in
from services.dicom.foreign.listing import ListedFile, files_under, read_failures
from services.dicom.seg.bounded import BROKEN_DATASET, OpenedSeg, as_opened, damage_refused, sop_class_of
from services.dicom.seg.frames import SEG_CLASSES, Frame, SegCode


def find_seg(source: Path) -> Path:
    """Return the one SEG in a folder, or the file itself.

    Raises
    ------
    Refused
        `not-dicom` if there is nothing of that name, `not-a-seg` if a folder has no SEG or several.
    ReadFailed
        If a file of the folder vanished or cannot be read: it may have been the SEG, or another.
    """
    if source.is_file():
        return source
    if not source.is_dir():
        raise Refused(SegCode.NOT_DICOM, "there is no such file or folder")
    segs = [file.path for file in files_under(source) if _is_seg(file)]
    if len(segs) != 1:
        raise Refused(SegCode.NOT_A_SEG, "the folder does not hold exactly one SEG", {"segs": len(segs)})
    return segs[0]


def members_of(folder: Path) -> dict[SopUid, Path]:
    """Return the files of a folder by SOP Instance UID; of two with one UID the first, by path.

    Raises
    ------
    ReadFailed
        If a file vanished, was changed or cannot be read: nobody knows which object it was.
    """
    found: dict[SopUid, Path] = {}
    for file in files_under(folder):
        if file.state is None:
            continue
        uid = _sop_instance_uid(file)
        if uid:
            found.setdefault(SopUid(uid), file.path)
    return found


@read_failures()
def _sop_instance_uid(file: ListedFile) -> str:
    try:
        return named_in(file.path, file.state, force=file.path.suffix == ".dcm").sop_instance_uid
    except BROKEN_DATASET as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk, and not pydicom's word for damage
        return ""


def cited_series(readings: Sequence[SeriesReading], seg: Path | OpenedSeg) -> SeriesReading:
    """Return the series of a study that a SEG was drawn on: the one whose images it cites.

    A SEG that cites none of them belongs to the one series that is fit; with several, any choice would
    be a guess.

    Raises
    ------
    Refused
        `series-not-cited` if it cites none and several are fit, or cites several; as `choose_series`
        if none is fit; `not-dicom` or `malformed-seg` if the SEG cannot be read.
    """
    cited = cited_images(seg)
    drawn_on = [r for r in readings if not cited.isdisjoint(_uids_in(r))]
    fit = [reading for reading in readings if not reading.verdict.refused]
    if len(drawn_on) > 1 or (not drawn_on and len(fit) > 1):
        raise Refused(
            SegCode.SERIES_NOT_CITED,
            "the SEG does not say on which one of the study's series it was drawn",
            {"series_cited": len(drawn_on), "series_fit": len(fit)},
        )
    return drawn_on[0] if drawn_on else choose_series(readings)


def _uids_in(reading: SeriesReading) -> set[str]:
    """Return the SOP Instance UIDs of a series: of its slices, and of images that were left out."""
    slices = {str(image.get("SOPInstanceUID")) for image in reading.images}
    return slices.union(one.sop_instance_uid for one in reading.set_aside)


def cited_images(seg: Path | OpenedSeg) -> frozenset[str]:
    """Return the SOP Instance UIDs of the images a SEG's frames cite, else those it lists.

    Raises
    ------
    Refused
        `not-dicom` or `malformed-seg`, as `read_seg`.

    Notes
    -----
    Source: PS3.3 C.7.6.16.2.6 (derivation image), C.12.2 (common instance reference).
    """
    header = as_opened(seg).header
    with damage_refused():
        shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        groups = header.get("PerFrameFunctionalGroupsSequence") or [Dataset()]
        listed = (
            str(item.get("ReferencedSOPInstanceUID"))
            for series in header.get("ReferencedSeriesSequence") or ()
            for item in series.get("ReferencedInstanceSequence") or ()
        )
        return frozenset().union(*(Frame(own, shared).cited() for own in groups)) or frozenset(listed)


def _is_seg(file: ListedFile) -> bool:
    if file.state is None:
        return False
    try:
        return sop_class_of(file) in SEG_CLASSES
    except (*BROKEN_DATASET, Refused):
        return False
