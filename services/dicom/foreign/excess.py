"""What lies behind the last frame of native pixels: padding that the standard lets stand there.

Source: PS3.5 8.1.1: a receiver is prepared for excess padding at the end of PixelData.
"""

from __future__ import annotations

from contextlib import suppress

from pydicom import Dataset
from pydicom.dataelem import RawDataElement

from services.dicom.foreign.head import PIXEL_DATA

_WORD_BYTES = 8
"""Writers fill up to words of so many bytes at most, besides whole blocks."""


def without_excess(dataset: Dataset) -> None:
    """Cut native pixels to the frames that the header names, in place, where only zeros follow.

    What follows and is not zero, or may be rows or columns that the header denies, and a header that does not
    say how many there are, is left to who decodes, and refuses another length.
    """
    if PIXEL_DATA not in dataset or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    element: object = dataset.get_item(PIXEL_DATA, keep_deferred=True)
    value = getattr(element, "value", None)
    if not isinstance(value, bytes):
        return
    with suppress(TypeError, ValueError, AttributeError, LookupError, NotImplementedError):
        frames, samples = int(dataset.get("NumberOfFrames") or 1), int(dataset.get("SamplesPerPixel") or 1)
        plane = samples * int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated)
        wanted = (frames * plane + 7) // 8
        wanted += wanted % 2
        if not 0 < wanted < len(value) or any(value[wanted:]):
            return
        sides = [
            frames * samples * int(dataset.BitsAllocated) * int(side)
            for side in (dataset.Rows, dataset.Columns)
        ]
        if any(_is_whole(8 * len(value) - frames * plane, side) for side in sides):
            return
        if not _may_fill_each_frame(value, frames, plane):
            if isinstance(element, RawDataElement):
                dataset[PIXEL_DATA] = element._replace(value=value[:wanted], length=wanted)
            else:
                dataset[PIXEL_DATA].value = value[:wanted]


def _is_whole(excess_bits: int, side_bits: int) -> bool:
    """Tell whether what follows is as much as whole rows, or columns: then the header may deny some.

    Each row would begin a little later than the one before, and nothing else would show it: round a body
    there is often nothing but zeros.
    """
    return excess_bits >= side_bits and excess_bits % side_bits < 8 * 2


def _may_fill_each_frame(value: bytes, frames: int, plane_bits: int) -> bool:
    """Tell whether each frame may have been filled to whole bytes, against PS3.5 8.1.1, as some writers do.

    Then no frame but the first lies where it should, and nobody can tell as long as all that would be filled
    is zero. Other lengths than that, or a word more, are not made so.
    """
    stride, used = (plane_bits + 7) // 8, plane_bits % 8
    if not used or frames == 1 or not 0 <= len(value) - frames * stride <= _WORD_BYTES:
        return False
    return not any(value[end - 1] >> used for end in range(stride, frames * stride + 1, stride))


class BehindPixels:
    """Stops a parser behind the pixels: nothing there is needed, and it may be no DICOM."""

    def __init__(self) -> None:
        self._met = False

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        """Tell whether the parser stops before an element."""
        met, self._met = self._met, self._met or int(tag) == PIXEL_DATA
        return met
