"""The stored pixels of a SEG, frame by frame, never more than its frames can hold."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import UID, ExplicitVRBigEndian

from models.errors import Refused
from services.dicom.compressed.damage import DamagedFrame, FrameShape
from services.dicom.compressed.decoding import decoded_frames
from services.dicom.seg.bounded import BROKEN_DATASET
from services.dicom.seg.frames import SegCode


def stored_frames(seg: Dataset, frames: int) -> Iterator[NDArray]:
    """Yield the stored pixels of each frame.

    Parameters
    ----------
    seg
        The object, with PixelData.
    frames
        How many it has.

    Yields
    ------
    ndarray
        Axes (row, column), unsigned integers as stored.

    Raises
    ------
    Refused
        `bad-pixel-data` if the data are not exactly so many planes, or cannot be decoded.

    Notes
    -----
    Source: PS3.5 8.1.1 and annex D (packed bits run on from frame to frame), 8.2 (compressed).
    """
    rows, columns, bits = int(seg.Rows), int(seg.Columns), int(seg.BitsAllocated)
    syntax = UID(seg.file_meta.TransferSyntaxUID)
    samples, signed = seg.get("SamplesPerPixel", 1), seg.get("PixelRepresentation", 0)
    if bits not in (1, 8, 16) or samples != 1 or signed != 0:
        raise Refused(SegCode.BAD_PIXEL_DATA, "the pixels are not unsigned integers of 1, 8 or 16 bits")
    try:
        if syntax.is_encapsulated:
            planes = decoded_frames(seg, FrameShape(rows, columns, max(bits, 8), bits), frames)
        else:
            _require_length(len(seg.PixelData), frames * rows * columns * bits)
            unpacked = bits == 1
            planes = (
                _unpacked(seg, syntax, frames, (rows, columns)) if unpacked else iter_pixels(seg, raw=True)
            )
        for plane in planes:
            if plane.shape != (rows, columns):
                raise Refused(SegCode.BAD_PIXEL_DATA, "the pixel data are not one plane per frame")
            yield plane
    except DamagedFrame as error:
        raise Refused(SegCode.BAD_PIXEL_DATA, str(error)) from error
    except BROKEN_DATASET as error:
        raise Refused(SegCode.BAD_PIXEL_DATA, "the pixel data cannot be decoded") from error


def _require_length(length: int, bits: int) -> None:
    """Refuse pixel data of another length: there is no telling where a frame of theirs begins."""
    expected = (bits + 7) // 8
    if length not in (expected, expected + expected % 2):
        raise Refused(
            SegCode.BAD_PIXEL_DATA,
            "the pixel data have another length than their frames",
            {"bytes": length, "expected_bytes": expected},
        )


def _unpacked(seg: Dataset, syntax: UID, frames: int, shape: tuple[int, int]) -> Iterator[NDArray]:
    """Unpack bits one frame at a time, wherever in a byte it begins; pydicom 3.0 can do so only at once."""
    packed = np.frombuffer(seg.PixelData, dtype=np.uint8)
    if syntax == ExplicitVRBigEndian and seg["PixelData"].VR == "OW":
        packed = packed.reshape(-1, 2)[:, ::-1].ravel()
    size = shape[0] * shape[1]
    for start in range(0, frames * size, size):
        part = packed[start // 8 : (start + size + 7) // 8]
        yield np.unpackbits(part, bitorder="little")[start % 8 :][:size].reshape(shape)
