"""The pixels of a SEG, laid into one mask per segment on the CT grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from models.corrections.scopes import Mask
from models.errors import Refused
from services.dicom.seg.frames import CTSlices, Frame, Place, SegCode
from services.dicom.seg.grid import OwnGrid, states_its_grid
from services.dicom.seg.pixels import stored_frames

_SEGMENT_NUMBER_TAG = 0x0062000B

MAX_MASK_BYTES = 2**32
"""Most memory that the masks of one SEG may take: sixteen organs on a thousand slices of 512 x 512."""

FRACTION_INSIDE = 0.5
"""Least part of MaximumFractionalValue at which a voxel belongs to a segment.

The same for occupancy (half of the voxel is covered) and for probability (inside is as likely as not).
"""


class Masks:
    """The mask of each segment; memory is taken only for those in which something is drawn."""

    def __init__(self, numbers: Iterable[int], slices: CTSlices) -> None:
        self.numbers = tuple(numbers)
        self._empty = np.zeros((len(slices.origin), slices.rows, slices.columns), dtype=bool)
        self._empty.setflags(write=False)
        self._drawn: dict[int, Mask] = {}
        self._written: set[tuple[int, int]] = set()

    def __getitem__(self, number: int) -> Mask:
        return self._drawn.get(number, self._empty)

    def write(self, number: int, k: int, plane: NDArray[np.bool_]) -> None:
        """Lay one plane down; refuse another one in the same place, and more than fits the memory."""
        if (number, k) in self._written and not np.array_equal(self[number][k], plane):
            raise Refused(SegCode.MALFORMED, "two frames of one segment on one slice differ")
        self._written.add((number, k))
        if not plane.any():
            return
        if number not in self._drawn:
            if (len(self._drawn) + 1) * self._empty.nbytes > MAX_MASK_BYTES:
                raise Refused(
                    SegCode.TOO_LARGE, "the SEG has more segments than there is memory for",
                    {"limit_bytes": MAX_MASK_BYTES},
                )  # fmt: skip
            self._drawn[number] = np.zeros_like(self._empty)
        self._drawn[number][k] = plane


def fill(
    masks: Masks,
    seg: Dataset,
    kind: object,
    frames: Sequence[Frame],
    slices: CTSlices,
    background: Set[int],
) -> None:
    """Lay every frame's pixels into the masks of its segments.

    Parameters
    ----------
    masks
        Of the declared segments, empty.
    seg
        The object, with PixelData.
    kind
        Its SegmentationType.
    frames
        The functional groups of each frame, at least one.
    slices
        The CT's.
    background
        Numbers declared as the background of a label map.

    Raises
    ------
    Refused
        With a `SegCode`, if a frame has no certain place, segment or pixels.
    """
    if kind not in ("BINARY", "FRACTIONAL", "LABELMAP"):
        raise Refused(SegCode.MALFORMED, "the SEG does not say how its pixels are to be read")
    # Every frame has its place and its segment before the first is decoded: refusing is cheap.
    places = _places(seg, frames, slices)
    most = len(slices.origin) * (1 if kind == "LABELMAP" else max(1, len(masks.numbers)))
    if sum(place.k is not None for place in places) > most:
        raise Refused(
            SegCode.MALFORMED, "there are more frames than slices and segments",
            {"frames": len(frames), "at_most": most},
        )  # fmt: skip
    declared = frozenset(masks.numbers)
    numbers = [] if kind == "LABELMAP" else [_segment_number(frame, declared) for frame in frames]
    _require_indices_agree(seg, frames, numbers)
    if kind == "LABELMAP":
        padding = seg.get("PixelPaddingValue")
        if padding is not None and int(padding) in declared:
            raise Refused(SegCode.MALFORMED, "a segment has the number of the background")
        nothing = background | {0} | ({int(padding)} if padding is not None else set())
    maximum = float(seg.MaximumFractionalValue) if kind == "FRACTIONAL" else 0.0
    if maximum >= 2 ** int(seg.BitsAllocated):
        raise Refused(SegCode.MALFORMED, "MaximumFractionalValue is more than a pixel can hold")
    other = 0  # the one value besides 0 that stands for the segment in a BINARY SEG
    for n, (place, stored) in enumerate(zip(places, stored_frames(seg, len(frames)), strict=True)):
        if kind == "FRACTIONAL" and not (maximum > 0 and stored.max() <= maximum):
            raise Refused(SegCode.MALFORMED, "a pixel is above MaximumFractionalValue")
        if kind == "BINARY":
            other = _binary_value(stored, other)
        if place.k is None:
            continue
        pixels = place.on_ct(stored)
        if kind == "LABELMAP":
            planes = _label_planes(pixels, declared, nothing)
        else:
            planes = {numbers[n]: pixels >= maximum * FRACTION_INSIDE if maximum else pixels > 0}
        for number, plane in planes.items():
            masks.write(number, place.k, plane)


def _places(seg: Dataset, frames: Sequence[Frame], slices: CTSlices) -> list[Place]:
    """Return where each frame lies, on the grid of the CT slices or, if it has one, on its own."""
    # Where the CT names none, a writer makes one up (it must have one): its positions are of no known frame.
    frame = seg.get("FrameOfReferenceUID")
    same_frame = bool(frame) and frame == slices.frame_of_reference_uid
    try:
        slices.require_matrix(int(seg.Rows), int(seg.Columns))
        return [slices.place(frame, same_frame) for frame in frames]
    except Refused as refused:
        if refused.code != SegCode.GRID_MISMATCH or not (same_frame and states_its_grid(seg, frames)):
            raise
    if int(seg.Rows) * int(seg.Columns) * len(frames) > MAX_MASK_BYTES:
        raise Refused(SegCode.TOO_LARGE, "the SEG's own grid is too large", {"limit_bytes": MAX_MASK_BYTES})
    grid = OwnGrid(seg, frames, slices)
    return [grid.place(frame) for frame in frames]


def _require_indices_agree(seg: Dataset, frames: Sequence[Frame], numbers: Sequence[int]) -> None:
    """Refuse a SEG whose DimensionIndexValues tell its frames' segments apart in another way.

    They are for display: those that tell no segments apart, and those of positions, decide nothing.

    Notes
    -----
    Source: PS3.3 C.7.6.17 (multi-frame dimension): equal values, equal index.
    """
    pointers = [item.get("DimensionIndexPointer") for item in seg.get("DimensionIndexSequence") or ()]
    if not numbers or _SEGMENT_NUMBER_TAG not in pointers:
        return
    at = pointers.index(_SEGMENT_NUMBER_TAG)
    values = [frame.value("FrameContentSequence", "DimensionIndexValues") for frame in frames]
    if any(value is None for value in values):
        return
    all_values = [np.atleast_1d(np.array(value, dtype=np.int64)) for value in values]
    if any(value.shape != (len(pointers),) for value in all_values):
        return
    indices = [int(value[at]) for value in all_values]
    if len(set(indices)) == len(frames) > len(seg.SegmentSequence):  # numbers of frames, not of segments
        return
    pairs = set(zip(indices, numbers, strict=True))
    if len(set(indices)) > 1 and not len(pairs) == len(set(indices)) == len(set(numbers)):
        raise Refused(SegCode.MALFORMED, "frames and their dimension indices name different segments")


def _binary_value(stored: NDArray, other: int) -> int:
    """Return the one value besides 0 in a BINARY frame, given that of the frames before."""
    most = int(stored.max())
    if most and (other not in (0, most) or stored[stored > 0].min() != most):
        raise Refused(SegCode.MALFORMED, "a BINARY SEG has more than two pixel values")
    return most or other


def _label_planes(pixels: NDArray, numbers: Set[int], background: Set[int]) -> Mapping[int, Mask]:
    """Return the mask of each segment in one frame of a label map, by segment number."""
    present = {int(number) for number in np.unique(pixels)}
    if not present <= numbers | background:
        raise Refused(SegCode.MALFORMED, "a pixel belongs to no declared segment")
    return {number: pixels == number for number in sorted(present & numbers)}


def _segment_number(frame: Frame, numbers: Set[int]) -> int:
    number = frame.value("SegmentIdentificationSequence", "ReferencedSegmentNumber")
    if number is None and len(numbers) == 1:
        return next(iter(numbers))
    if not isinstance(number, int) or number not in numbers:
        raise Refused(SegCode.MALFORMED, "a frame belongs to no declared segment")
    return number
