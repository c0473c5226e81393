"""Compressed frames decoded one by one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID

from services.dicom.compressed.codestream import decoded
from services.dicom.compressed.damage import DamagedFrame, FrameShape
from services.dicom.compressed.frames import frames_of

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
        Axes (row, column), as `services.dicom.compressed.codestream.decoded`.

    Raises
    ------
    DamagedFrame
        If a frame is missing, cut, contradicts the header, or its coded data are not those of its pixels.
    """
    syntax = UID(dataset.file_meta.TransferSyntaxUID)
    raw = shape.rows * shape.columns * shape.bits_allocated // 8
    for frame in frames_of(dataset, count):
        if len(frame) > FRAME_GROWTH * raw + FRAME_HEAD_BYTES:
            raise DamagedFrame(f"{len(frame)} bytes are said to be compressed from {raw}")
        yield decoded(frame, syntax, shape)
