"""SEGs of more segments than anyone wants, made frame by frame: no mask of the whole grid is needed."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from models.geometry import Geometry
from models.organs import organ
from tests.support.seg_cases import item, plain_seg

Frames = dict[tuple[int, int], NDArray[np.bool_]]
"""By number of the segment and slice, axes (row, column)."""

SIDE, WIDER = 24, 6
"""Voxels along row and column of what is drawn, and how many more the liver has once it was edited."""


def drawn_seg(series, grid: Geometry, frames: Frames, labels: list[str]) -> Dataset:
    """Return a BINARY SEG on the slices of a series."""
    one = np.zeros(grid.shape, dtype=bool)
    one[0, 0, 0] = True
    seg = plain_seg(series, {"": one}, grid)
    (group,) = seg.PerFrameFunctionalGroupsSequence
    seg.SegmentSequence = [
        item(SegmentNumber=n, SegmentLabel=label, SegmentAlgorithmType="MANUAL")
        for n, label in enumerate(labels, start=1)
    ]
    groups = []
    for number, k in frames:
        own = deepcopy(group)
        own.FrameContentSequence[0].DimensionIndexValues = [number, k + 1]
        own.SegmentIdentificationSequence[0].ReferencedSegmentNumber = number
        own.PlanePositionSequence[0].ImagePositionPatient = series.images[k].ImagePositionPatient
        groups.append(own)
    seg.PerFrameFunctionalGroupsSequence, seg.NumberOfFrames = groups, len(groups)
    packed = b"".join(np.packbits(plane, bitorder="little").tobytes() for plane in frames.values())
    seg["PixelData"].value = packed + b"\0" * (len(packed) % 2)
    return seg


def whole_body(
    shape: tuple[int, int, int], organs: tuple[str, ...], count: int, deep: int, *, grown: bool = False
) -> tuple[Frames, list[str]]:
    """Return frames and labels of organs and of structures that are none of ours, some slices deep each."""
    labels = [organ(key).label for key in organs] + [f"structure {n}" for n in range(len(organs), count)]
    slices, rows, columns = shape
    frames: Frames = {}
    for n, label in enumerate(labels):
        row, column, first = 5 + n * 37 % (rows - 50), 8 + n * 53 % (columns - 50), n * 7 % (slices - deep)
        wide = SIDE + WIDER if grown and label == "Liver" else SIDE
        plane = np.zeros((rows, columns), dtype=bool)
        plane[row : row + SIDE, column : column + wide] = True
        frames |= {(n + 1, k): plane for k in range(first, first + deep)}
    return frames, labels


def corners(shape: tuple[int, int, int], segments: int) -> tuple[Frames, list[str]]:
    """Return frames and labels of segments each of which is two voxels, in opposite corners of the grid."""
    slices, rows, columns = shape
    first, last = np.zeros((2, rows, columns), dtype=bool)
    first[0, 0] = last[-1, -1] = True
    frames: Frames = {}
    for number in range(1, segments + 1):
        frames |= {(number, 0): first, (number, slices - 1): last}
    return frames, [f"s{number}" for number in range(segments)]
