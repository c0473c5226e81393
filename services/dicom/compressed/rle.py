"""RLE: decoded here, for a segment has to give exactly its plane of bytes (PS3.5 annex G)."""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

from services.dicom.compressed.damage import DamagedFrame, FrameShape

_HEADER_BYTES = 64


def decode_rle(frame: bytes, shape: FrameShape) -> NDArray[np.generic]:
    """Return the pixels of a frame.

    Parameters
    ----------
    frame
        One frame, of one sample a pixel.
    shape
        What the header says of it.

    Returns
    -------
    NDArray
        Axes (row, column), integers of as many bits as are allocated.

    Raises
    ------
    DamagedFrame
        If there is not one segment for each byte of a pixel, one gives fewer bytes or more than there are
        pixels, or more than zeros are left over.
    """
    planes = shape.bits_allocated // 8
    if len(frame) < _HEADER_BYTES:
        raise DamagedFrame("the compressed frame ends within its header")
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != planes:
        raise DamagedFrame(f"the compressed frame has {count} segment(s), {planes} should be there")
    if any(offsets[count:]) or offsets[0] != _HEADER_BYTES or offsets[:count] != sorted(set(offsets[:count])):
        raise DamagedFrame("the header of the compressed frame does not lead to its segments")
    size = shape.rows * shape.columns
    ends = [*offsets[1:count], len(frame)]
    pixels = np.empty((size, planes), np.uint8)
    for n, (start, end) in enumerate(zip(offsets, ends, strict=False)):
        pixels[:, planes - 1 - n] = np.frombuffer(_unpacked(frame[start:end], size), np.uint8)
    kind = f"<{'i' if shape.signed else 'u'}{planes}"
    return pixels.view(kind).reshape(shape.rows, shape.columns)


def _unpacked(segment: bytes, size: int) -> bytearray:
    """Return a segment's bytes (PS3.5 G.3.2): so many, and nothing but padding behind."""
    unpacked, at = bytearray(), 0
    add = unpacked.extend
    try:
        while len(unpacked) < size:
            control = segment[at]
            if control < 128:
                end = at + 2 + control
                add(segment[at + 1 : end])
                at = end
            elif control > 128:
                add(segment[at + 1 : at + 2] * (257 - control))
                at += 2
            else:
                at += 1
    except IndexError:
        raise DamagedFrame("a segment of the compressed frame ends before the pixels do") from None
    if len(unpacked) != size or at > len(segment):
        raise DamagedFrame("a segment of the compressed frame holds another number of pixels")
    if segment[at:].strip(b"\0\x80"):
        raise DamagedFrame("compressed data are left over behind the last pixel")
    return unpacked
