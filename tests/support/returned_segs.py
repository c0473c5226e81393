"""What readers made of one SEG: the one OHIF saved, with more done to it; and what was sent, on record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from flows.arrivals.saves import note_saves
from flows.corrections.report import Ingested, NotTaken
from flows.corrections.returned_seg import Memory
from models.uids import StudyUid
from services.dicom.ct.series import read_series
from services.records.port import Records
from services.records.store import SqlRecords, local_now
from services.records.tables import Table

UNTOUCHED = ("not-reviewed", 0, 0, 0)


def changes(document: Ingested | NotTaken) -> dict[str, tuple[str, int, int, int]]:
    """Return state, voxels added, removed and lost to a neighbour's brush, by organ."""
    return {
        entry.organ: (
            entry.state, entry.added_voxels, entry.removed_voxels, entry.by_overpaint_voxels,
        )
        for entry in document.organs
    }  # fmt: skip


def altered(source: Path, target: Path, **tags: object) -> Path:
    """Write a SEG with other tags."""
    seg = dcmread(source)
    for keyword, value in tags.items():
        setattr(seg, keyword, value)
    seg.save_as(target)
    return target


def repainted(
    source: Path, target: Path, paint: Callable[[Dataset, NDArray[np.uint8]], object], **tags: object
) -> Path:
    """Write a SEG after its frames, axes (frame, row, column), were painted on."""
    seg = dcmread(source)
    frames = seg.pixel_array.astype(np.uint8)
    paint(seg, frames)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    for keyword, value in tags.items():
        setattr(seg, keyword, value)
    seg.save_as(target)
    return target


def frames_of(seg: Dataset, label: str) -> list[int]:
    """Return which frames show a segment."""
    (number,) = (item.SegmentNumber for item in seg.SegmentSequence if item.SegmentLabel == label)
    return [
        n
        for n, frame in enumerate(seg.PerFrameFunctionalGroupsSequence)
        if frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number
    ]


def erase_rows(label: str, rows: int) -> Callable[[Dataset, NDArray[np.uint8]], object]:
    """Return a stroke that takes the first drawn rows of every slice of a segment."""

    def paint(seg: Dataset, frames: NDArray[np.uint8]) -> None:
        for n in frames_of(seg, label):
            drawn = np.flatnonzero(frames[n].any(axis=1))
            frames[n, drawn[:rows]] = 0

    return paint


def without_spleen(source: Path, target: Path) -> Path:
    """Write a SEG whose spleen was deleted, under the same SOP Instance UID."""
    seg = dcmread(source)
    (spleen,) = (item for item in seg.SegmentSequence if item.SegmentLabel == "Spleen")
    gone = frames_of(seg, "Spleen")
    kept = [n for n in range(len(seg.PerFrameFunctionalGroupsSequence)) if n not in gone]
    packed = np.packbits(seg.pixel_array[kept].astype(np.uint8).ravel(), bitorder="little").tobytes()
    seg.SegmentSequence.remove(spleen)
    seg.PerFrameFunctionalGroupsSequence = [seg.PerFrameFunctionalGroupsSequence[n] for n in kept]
    seg.NumberOfFrames = len(kept)
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    seg.save_as(target)
    return target


def everything(records: SqlRecords) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table, but who was at work last."""
    with records._engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for table in Table.metadata.sorted_tables
            if table.name != "leases"
        }


def new_uid(path: Path, uid: str) -> Path:
    """Give a SEG another SOP Instance UID, its file too."""
    seg = dcmread(path)
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = uid
    seg.save_as(path)
    return path


def look_at(study_uid: StudyUid, memory: Memory) -> None:
    """Notice the saves in a study as the watch does."""
    assert memory.archive is not None
    study = memory.archive.study(study_uid)
    assert study is not None
    note_saves(study, memory.archive, memory.records)


def put_on_record(
    records: Records, sent: Path, ct: Path, *, release: int = 1, key: str = "key", **more: str
) -> Dataset:
    """Put on record that a SEG is the result of a release on a CT series; return its header."""
    header = dcmread(sent, stop_before_pixels=True)
    series = next(one for one in read_series(ct) if not one.verdict.refused)
    records.first_written(key, local_now())
    records.record_result(
        key,
        study_uid=header.StudyInstanceUID,
        series_uid=series.series_uid,
        release=release,
        objects={"organ-seg": header.SOPInstanceUID, **more},
    )
    return header
