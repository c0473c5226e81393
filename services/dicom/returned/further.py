"""Segments of organs outside the catalogue: ours by TrackingID, shown to readers, and no lesson yet.

What comes back of one as it was sent says nothing. One that was changed is asked about, for nothing can be
learnt from it yet: the only answer is that it is none of the catalogue's.
"""

from __future__ import annotations

from services.dicom.returned.claims import Claim, Doubt, Question, Theirs, is_further
from services.dicom.seg.reader import ReadSegment, SegObject


def set_apart(claims: list[Claim], theirs: Theirs, sent: SegObject) -> list[Claim]:
    """Return the claims without any of a segment that is an organ outside the catalogue.

    It is one by its TrackingUID, or where a viewer dropped that by label and type.
    """
    further = [segment for segment in sent.segments if is_further(segment)]
    apart = list(claims)
    for n, (segment, _) in enumerate(theirs):
        own = next((one for one in further if _is_same(segment, one)), None)
        if own is not None:
            unchanged = segment.mask == own.mask
            apart[n] = (
                None if unchanged else Question(segment.number, segment.label, (), Doubt.NOT_RECOGNISED)
            )
    return apart


def _is_same(segment: ReadSegment, own: ReadSegment) -> bool:
    if segment.tracking_uid is not None:
        return segment.tracking_uid == own.tracking_uid
    return (segment.label, segment.type) == (own.label, own.type)
