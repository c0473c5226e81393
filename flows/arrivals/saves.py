"""Which saves came to a study, and in which order: put on record before any of them is read."""

from __future__ import annotations

from models.uids import SopUid
from services.pacs.incoming import is_uid
from services.pacs.port import Archive, ArchivedStudy
from services.records.port import Records

SEG = "SEG"


def note_saves(study: ArchivedStudy, archive: Archive, records: Records) -> None:
    """Put on record in which order SEGs that are not ours came to a study.

    What is told already keeps its place, and what came since is behind it. So saves that wait while nobody
    reads them, and are then read in any order, stand as they came.

    Parameters
    ----------
    study
        As the archive lists it.
    archive
        Tells of several in which order it took them in.
    records
        Where they are told.

    Raises
    ------
    PacsFailed
        If the archive answered with an error, or not at all.
    StorageFailed
        If the records cannot be reached or written.
    """
    new = records.untold_saves(study.study_uid, _segs(study))
    saves = [uid for uid in new if records.find_result(uid) is None]
    if saves:
        in_order = archive.as_they_came(saves) if len(saves) > 1 else (saves,)
        records.note_saves(study.study_uid, in_order)


def _segs(study: ArchivedStudy) -> list[SopUid]:
    segs = (one.sop_instance_uids for one in study.series if one.modality == SEG)
    return [uid for uids in segs for uid in uids if is_uid(uid)]
