"""Compressed frames decoded one by one, each known to be whole before and proven used up after."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import UID, RLELossless

from services.dicom.compressed.codestream import walked
from services.dicom.compressed.damage import DamagedFrame, FrameShape
from services.dicom.compressed.frames import frames_of
from services.dicom.compressed.rle import decode_rle

DECODER = "pylibjpeg"
"""The one decoder of all but RLE: where it gives up, none that is more lenient is asked."""

FRAME_GROWTH, FRAME_HEAD_BYTES = 1.25, 64 * 1024
"""A compressed frame may be so much longer than its pixels; a longer one is no image."""


def decoded_frames(dataset: Dataset, shape: FrameShape, count: int) -> Iterator[NDArray[Any]]:
    """Yield the stored values of each frame of an image.

    Parameters
    ----------
    dataset
        With file meta information, PixelData and what describes it; its transfer syntax is a compressed one.
    shape
        What its header says of each frame.
    count
        How many frames the header says there are.

    Yields
    ------
    NDArray
        Axes (row, column), of the type the decoder gives; no pixel was filled up.

    Raises
    ------
    DamagedFrame
        If a frame is missing, cut, contradicts the header, or its coded data are not those of its pixels.
    Exception
        What pydicom makes of what its decoder refuses.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    decoded = (
        None
        if syntax == RLELossless
        else iter_pixels(dataset, raw=True, correct_unused_bits=False, decoding_plugin=DECODER)
    )
    size = (shape.rows, shape.columns)
    raw = shape.rows * shape.columns * shape.bits_allocated // 8
    for frame in frames_of(dataset, count):
        if len(frame) > FRAME_GROWTH * raw + FRAME_HEAD_BYTES:
            raise DamagedFrame(f"{len(frame)} bytes are said to be compressed from {raw}")
        if decoded is None:
            yield decode_rle(frame, shape)
            continue
        coded = walked(frame, syntax, shape)
        stored = next(decoded)
        if stored.shape != size:
            raise DamagedFrame(f"the pixels form {stored.shape}, not rows and columns of the header")
        coded.require_used_up(stored)
        yield stored
