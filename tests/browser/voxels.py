"""A SEG read by hand, apart from every reader of ours: bits, the segment and the image of each frame."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread


@dataclass(frozen=True)
class Change:
    """Voxels of one segment that another object has and this has not, and the reverse."""

    added: int
    removed: int


def masks_of(content: bytes, images: Sequence[str]) -> dict[str, NDArray[np.bool_]]:
    """Return the mask of each segment by its label, axes (slice, row, column).

    Parameters
    ----------
    content
        A SEG file, BINARY and not compressed.
    images
        SOP Instance UIDs of the CT images, in the order of the slices.
    """
    seg = dcmread(io.BytesIO(content))
    assert (seg.SegmentationType, seg.BitsAllocated) == ("BINARY", 1)
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
    assert len(set(labels.values())) == len(labels)
    size = seg.Rows * seg.Columns
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    masks = {label: np.zeros((len(images), seg.Rows, seg.Columns), np.bool_) for label in labels.values()}
    for n, frame in enumerate(seg.PerFrameFunctionalGroupsSequence):
        number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        plane = bits[n * size : (n + 1) * size].reshape(seg.Rows, seg.Columns).astype(np.bool_)
        masks[labels[number]][images.index(str(source))] |= plane
    return masks


def changes(
    before: Mapping[str, NDArray[np.bool_]], after: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Change]:
    """Return what changed of each segment that either object names; nothing changed is left out."""
    found = {}
    for label in before | after:
        old, new = (masks.get(label, np.zeros(1, np.bool_)) for masks in (before, after))
        change = Change(int((new & ~old).sum()), int((old & ~new).sum()))
        if change != Change(0, 0):
            found[label] = change
    return found
