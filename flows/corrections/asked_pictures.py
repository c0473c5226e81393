"""Pictures of what a person is asked about a SEG that came back, made while the CT is in memory."""

from __future__ import annotations

from collections.abc import Iterator

from flows.corrections.returned_seg import Memory
from models.masks import BoxedMask
from services.dicom.ct.loaded import CTSeries
from services.dicom.ct.provenance import patient_of
from services.dicom.returned.understand import ReturnedSeg
from services.dicom.seg.reader import SegObject
from services.pictures.organ_views import asked_views
from services.pictures.picture import Drawn


def asked_name(segment: int | None, organ: str) -> str:
    """Return how pictures of what is asked about are called: of a segment, or of an organ not returned."""
    return organ if segment is None else f"segment_{segment}"


def keep_asked(content: str, ct: CTSeries, theirs: SegObject, answer: ReturnedSeg, memory: Memory) -> None:
    """Make pictures of the segments in question and keep them; none of a patient who was taken out.

    Parameters
    ----------
    content
        Digest of the SEG, under which they are kept.
    ct
        The series that it lies on.
    theirs, answer
        What came back, and how it was understood.
    memory
        Where to.

    Raises
    ------
    StorageFailed
        If they cannot be kept.
    """
    patient = memory.cases.pseudonym(patient_of(ct) or "")
    if memory.pictures is None or memory.records.erased(patient):
        return
    memory.pictures.keep(patient, content, _drawn(ct, theirs, answer))
    if memory.records.erased(patient):  # while they were made
        memory.pictures.erase(patient)


def _drawn(ct: CTSeries, theirs: SegObject, answer: ReturnedSeg) -> Iterator[Drawn]:
    masks: dict[int | None, BoxedMask] = {one.number: one.mask for one in theirs.segments}
    for question in answer.questions:
        first = question.candidates[0] if question.candidates else ""
        drawn = masks.get(question.segment)
        name = asked_name(question.segment, first)
        yield from asked_views(ct, name, drawn, answer.sent.get(first))
