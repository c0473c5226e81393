"""The pixels of a SEG, laid into one mask per segment on the CT grid."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scipy.ndimage import find_objects

from models.errors import Refused
from models.masks import BoxedMask, MaskByPlanes
from services.dicom.seg.frames import CTSlices, Frame, Place, SegCode
from services.dicom.seg.grid import OwnGrid, states_its_grid
from services.dicom.seg.pixels import stored_frames

_SEGMENT_NUMBER_TAG = 0x0062000B

MAX_MASK_BYTES = 2**29
"""Most memory that the masks of one SEG may take, a bit a voxel of their boxes: sixteen that reach from
corner to corner of a thousand slices of 512 x 512, or as many organs as there are."""

MAX_FRAME_PIXELS, MAX_OWN_VOXELS = 2**26, 2**32
"""Of a SEG on a grid of its own: most pixels of one frame, of which one at a time is unpacked, and of all."""

FRACTION_INSIDE = 0.5
"""Least part of MaximumFractionalValue at which a voxel belongs to a segment.

The same for occupancy (half of the voxel is covered) and for probability (inside is as likely as not).
"""


class Masks:
    """The mask of each segment, as its planes come; how much memory all take is known before each is kept."""

    def __init__(self, numbers: Iterable[int], slices: CTSlices) -> None:
        self.numbers = tuple(numbers)
        self._shape = (len(slices.origin), slices.rows, slices.columns)
        self._empty = BoxedMask.empty(self._shape)
        self._drawn: dict[int, MaskByPlanes] = {}
        self._bytes = 0

    def write(self, number: int, k: int, plane: BoxedMask, *, layered: bool = False) -> None:
        """Lay one plane down; refuse another one in the same place, and more than fits the memory.

        Where the frames of a slice are layers, what is laid is the union.
        """
        mask = self._drawn.setdefault(number, MaskByPlanes(self._shape))
        before = mask.nbytes
        if layered:
            mask.unite(k, plane)
        elif not mask.lay(k, plane):
            raise Refused(SegCode.MALFORMED, "two frames of one segment on one slice differ")
        self._bytes += mask.nbytes - before
        if self._bytes > MAX_MASK_BYTES:
            raise Refused(
                SegCode.TOO_LARGE, "what the SEG draws takes more memory than there is for it",
                {"bytes": self._bytes, "limit_bytes": MAX_MASK_BYTES, "segments_read": len(self._drawn)},
            )  # fmt: skip

    def take(self, number: int) -> BoxedMask:
        """Return the mask of a segment, once: its planes are let go."""
        drawn = self._drawn.pop(number, None)
        return drawn.whole() if drawn is not None and drawn.any() else self._empty


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
    most = len(slices.origin) * max(1, len(masks.numbers))
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
        layers = _layers(frames, places)
    maximum = float(seg.MaximumFractionalValue) if kind == "FRACTIONAL" else 0.0
    if maximum >= 2 ** int(seg.BitsAllocated):
        raise Refused(SegCode.MALFORMED, "MaximumFractionalValue is more than a pixel can hold")
    on_slice: dict[int, frozenset[int]] = {}  # segments of a label map's slices that are no layers
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
            planes = dict(_label_planes(pixels, declared, nothing))
            if place.k not in layers and on_slice.setdefault(place.k, frozenset(planes)) != set(planes):
                raise Refused(SegCode.MALFORMED, "two frames on one slice hold different segments")
            for number, plane in planes.items():
                masks.write(number, place.k, plane, layered=place.k in layers)
        else:
            inside = pixels >= maximum * FRACTION_INSIDE if maximum else pixels > 0
            masks.write(numbers[n], place.k, BoxedMask.of(inside[None]))


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
    pixels = int(seg.Rows) * int(seg.Columns)
    if pixels > MAX_FRAME_PIXELS or pixels * len(frames) > MAX_OWN_VOXELS:
        raise Refused(
            SegCode.TOO_LARGE, "the SEG's own grid is too large",
            {"frame_pixels": pixels, "limit_frame_pixels": MAX_FRAME_PIXELS,
             "voxels": pixels * len(frames), "limit_voxels": MAX_OWN_VOXELS},
        )  # fmt: skip
    grid = OwnGrid(seg, frames, slices)
    return [grid.place(frame) for frame in frames]


def _layers(frames: Sequence[Frame], places: Sequence[Place]) -> frozenset[int]:
    """Return the slices on which a label map has several frames, each of which says twice where it lies.

    OHIF 3.13 writes segments that overlap so: one frame for each layer, on which none overlap. One segment
    may be on two of them. A frame that names its image or its position alone may have strayed there, and is
    no layer: such frames of one slice must hold the same.
    """
    on_slice: dict[int, list[Frame]] = {}
    for frame, place in zip(frames, places, strict=True):
        if place.k is not None:
            on_slice.setdefault(place.k, []).append(frame)
    return frozenset(
        k for k, layers in on_slice.items() if len(layers) > 1 and all(map(_placed_twice, layers))
    )


def _placed_twice(frame: Frame) -> bool:
    position = frame.value("PlanePositionSequence", "ImagePositionPatient")
    return len(frame.cited()) == 1 and position is not None


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
    if most and (other not in (0, most) or np.count_nonzero(stored) != np.count_nonzero(stored == most)):
        raise Refused(SegCode.MALFORMED, "a BINARY SEG has more than two pixel values")
    return most or other


def _label_planes(
    pixels: NDArray, numbers: Set[int], background: Set[int]
) -> Iterator[tuple[int, BoxedMask]]:
    """Yield the mask of each segment in one frame of a label map, with its number."""
    labels = pixels[None].astype(np.intp)
    if not set(np.flatnonzero(np.bincount(labels.ravel())).tolist()) <= numbers | background:
        raise Refused(SegCode.MALFORMED, "a pixel belongs to no declared segment")
    for number, box in enumerate(find_objects(labels), start=1):
        if box is not None and number in numbers:
            yield number, BoxedMask.part(labels[box] == number, box, labels.shape)


def _segment_number(frame: Frame, numbers: Set[int]) -> int:
    number = frame.value("SegmentIdentificationSequence", "ReferencedSegmentNumber")
    if number is None and len(numbers) == 1:
        return next(iter(numbers))
    if not isinstance(number, int) or number not in numbers:
        raise Refused(SegCode.MALFORMED, "a frame belongs to no declared segment")
    return number
