"""A SEG read by hand, apart from every reader of ours: bits or labels, and the image of each frame."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread


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
        A SEG file: BINARY and not compressed, as 3.12 of OHIF writes it and we do, or LABELMAP, as 3.13 does.
    images
        SOP Instance UIDs of the CT images, in the order of the slices.
    """
    seg = dcmread(io.BytesIO(content))
    labels = {int(item.SegmentNumber): str(item.SegmentLabel) for item in seg.SegmentSequence}
    assert len(set(labels.values())) == len(labels)
    masks = {label: np.zeros((len(images), seg.Rows, seg.Columns), np.bool_) for label in labels.values()}
    planes = _labels(seg) if seg.SegmentationType == "LABELMAP" else _bits(seg)
    for frame, plane in zip(seg.PerFrameFunctionalGroupsSequence, planes, strict=True):
        source = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        k = images.index(str(source))
        if seg.SegmentationType == "LABELMAP":
            for number in set(np.unique(plane).tolist()) - {0}:
                masks[labels[number]][k] |= plane == number
        else:
            number = int(frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
            masks[labels[number]][k] |= plane.astype(np.bool_)
    return masks


def _labels(seg: Dataset) -> NDArray[np.integer]:
    """Return the label of each pixel, axes (frame, row, column)."""
    assert seg.BitsAllocated in (8, 16)
    labels: NDArray[np.integer] = seg.pixel_array.reshape(-1, seg.Rows, seg.Columns)
    return labels


def _bits(seg: Dataset) -> NDArray[np.uint8]:
    """Return each frame of a BINARY SEG, axes (frame, row, column)."""
    assert (seg.SegmentationType, seg.BitsAllocated) == ("BINARY", 1)
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")
    voxels = int(seg.NumberOfFrames) * seg.Rows * seg.Columns
    return bits[:voxels].reshape(-1, seg.Rows, seg.Columns)


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
