"""Organs outside the catalogue in a SEG of ours, and whether a pair of them lies crosswise.

What names one that comes back is what we gave it: TrackingUID, or where a viewer dropped that its label. Its
type must be its own, or say nothing. As with any organ the voxels must agree.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from models.organs import KEYS, LEFT, RIGHT
from services.dicom.returned.sides import Region
from services.dicom.seg.reader import ReadSegment

KEY = re.compile(r"[a-z][a-z0-9_]{0,63}")
"""How the key of an organ is written."""


def further_key(segment: ReadSegment) -> str | None:
    """Return the key of the organ outside the catalogue that a segment of ours is, by its TrackingID."""
    key = segment.tracking_id or ""
    there = segment.tracking_uid is not None and key not in KEYS
    return key if there and KEY.fullmatch(key) else None


def partners(sent: Mapping[str, ReadSegment]) -> Iterator[tuple[str, str]]:
    """Yield the right and the left organ of each pair outside the catalogue: one type, and no third of it."""
    by_type: dict[object, list[str]] = {}
    for key, segment in sent.items():
        if key not in KEYS and segment.laterality is not None:
            by_type.setdefault(segment.type, []).append(key)
    for keys in by_type.values():
        sides = {sent[key].laterality: key for key in keys}
        if len(keys) == 2 and sides.keys() == {LEFT, RIGHT}:
            yield sides[RIGHT], sides[LEFT]


def lies_crosswise(right: Region, left: Region) -> bool:
    """Tell whether the right one of a pair lies to the left of the other; not where one is empty."""
    return bool(right.voxels and left.voxels) and right.x_mm >= left.x_mm  # LPS x grows to the left
