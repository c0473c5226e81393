"""Finding a SEG on disk, and the images it was drawn on, before any of it is read."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from models.errors import Refused
from services.dicom.seg_frames import Frame, SegCode
from services.dicom.seg_reader import BROKEN_DATASET, LABEL_MAP_STORAGE, SEGMENTATION_STORAGE


def find_seg(source: Path) -> Path:
    """Return the one SEG in a folder, or the file itself.

    Raises
    ------
    Refused
        `not-dicom` if there is nothing of that name, `not-a-seg` if a folder has no SEG or several.
    """
    if source.is_file():
        return source
    if not source.is_dir():
        raise Refused(SegCode.NOT_DICOM, "there is no such file or folder")
    segs = [path for path in sorted(source.rglob("*")) if path.is_file() and _is_seg(path)]
    if len(segs) != 1:
        raise Refused(SegCode.NOT_A_SEG, "the folder does not hold exactly one SEG", {"segs": len(segs)})
    return segs[0]


def cited_images(path: Path) -> frozenset[str]:
    """Return the SOP Instance UIDs of the images a SEG's frames cite; raises as `read_seg`."""
    try:
        seg = dcmread(path, stop_before_pixels=True)
        shared = (seg.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        groups = seg.get("PerFrameFunctionalGroupsSequence") or [Dataset()]
        return frozenset().union(*(Frame(own, shared).cited() for own in groups))
    except BROKEN_DATASET as error:
        raise Refused(SegCode.MALFORMED, f"the SEG is damaged: {error}") from error


def _is_seg(path: Path) -> bool:
    try:
        header = dcmread(path, specific_tags=["SOPClassUID"], stop_before_pixels=True)
    except BROKEN_DATASET:
        return False
    return header.get("SOPClassUID") in (SEGMENTATION_STORAGE, LABEL_MAP_STORAGE)
