"""Whether a truth that is said to be independent was made from a result of ours.

A viewer that saves our SEG again gives it a new UID and calls it drawn by hand, so that only the voxels
tell. No two drawings of an organ are the same to the voxel on slice after slice.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from models.errors import Refused
from models.masks import BoxedMask
from services.dicom.ct.loaded import CTSeries
from services.dicom.results.organ_seg import KIND as ORGAN_SEG
from services.dicom.seg.files import members_of
from services.dicom.seg.reader import SegObject, read_seg
from services.pacs.port import Archive
from services.records.entries.results import Result
from services.records.port import Records
from services.work_folder import work_folder

SAME_SLICES = 0.5
"""Of the slices on which a segment is drawn, from this part on exactly as in ours it was not drawn anew."""

CODE = "not-independent"


def require_independent(
    seg: SegObject,
    ct: CTSeries,
    study: Path,
    records: Records,
    archive: Archive | None,
    kept: Iterable[Path],
    work: Path,
) -> None:
    """Refuse a SEG that is a result of ours, refers to one, or has its voxels.

    Every result on record of the series is read: from where it was kept in silence, from the study's folder,
    or from the archive.

    Parameters
    ----------
    seg
        The truth, on the grid of its series.
    ct
        That series.
    study
        Folder with the study's files.
    records, archive
        What is on record of the series, and where it may be stored.
    kept
        Folders of the series' results that were made in silence, each named by its key.
    work
        Folder in which what is fetched lies meanwhile.

    Raises
    ------
    Refused
        `not-independent`, also where a result on record cannot be read, so that nobody can tell.
    PacsFailed
        If the archive does not answer.
    ReadFailed
        If a file of the folder vanished or cannot be read.
    """
    if _is_known(seg, records):
        raise Refused(CODE, "the SEG is a result of ours or the correction of one")
    written = records.results_of_study(ct.study_uid)
    if seg.refers_to & {uid for result in written for uid in result.objects.values()}:
        raise Refused(CODE, "the SEG refers to a result of ours")
    results = [one for one in records.results_of_series(ct.series_uid) if ORGAN_SEG in one.objects]
    if not results:
        return
    unread = 0
    members, there = members_of(study), {one.name: one / f"{ORGAN_SEG}.dcm" for one in kept}
    with work_folder(work) as into:
        for result in results:
            uid = result.objects[ORGAN_SEG]
            path = there.get(result.key) or members.get(uid)
            if path is None and archive is not None:
                path = archive.fetch_instance(uid, into)
            ours = None if path is None else _read(path, ct)
            if ours is None:
                unread += 1
            else:
                _require_other_voxels(seg, ours, result)
    if unread:
        detail = (
            "results of ours of this series are on record and cannot be read, so nobody can tell whether "
            "the SEG was made from one: name the archive that holds them, put their files into the study's "
            "folder, or have those that were made in silence made again (`organloop segment`)"
        )
        raise Refused(CODE, detail, {"on_record": len(results), "unread": unread})


def _is_known(seg: SegObject, records: Records) -> bool:
    uid = seg.sop_instance_uid
    return records.find_result(uid) is not None or bool(records.corrections(sop_instance_uid=uid))


def _read(path: Path, ct: CTSeries) -> SegObject | None:
    try:
        return read_seg(path, ct)
    except Refused:
        return None


def _require_other_voxels(seg: SegObject, ours: SegObject, result: Result) -> None:
    """Refuse a SEG of which a segment is one of ours, to the voxel on too many slices."""
    for segment in seg.segments:
        for sent in ours.segments:
            drawn, same = _same_slices(segment.mask, sent.mask)
            if same and same >= SAME_SLICES * drawn:
                raise Refused(
                    CODE,
                    "a segment has the voxels of a result of ours",
                    {
                        "segment": segment.number,
                        "release": result.release,
                        "slices": drawn,
                        "as_ours": same,
                    },
                )


def _same_slices(mask: BoxedMask, ours: BoxedMask) -> tuple[int, int]:
    """Return on how many slices a mask is drawn, and on how many of them exactly as ours."""
    drawn = mask.by_slice() > 0
    same = drawn & (mask.changed_by_slice(ours) == 0)
    return int(np.count_nonzero(drawn)), int(np.count_nonzero(same))
