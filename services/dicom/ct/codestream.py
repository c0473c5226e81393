"""What a compressed frame says of its own size, read before a decoder takes memory for it."""

from __future__ import annotations

import struct

from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

Matrix = tuple[int, int, int]
"""Rows, columns and components."""

_JPEG_2000 = b"\xff\x4f\xff\x51"
"""Start of a JPEG 2000 codestream and its size marker (ISO 15444-1 A.4.1, A.5.1)."""

_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start-of-frame markers of JPEG (ISO 10918-1 B.1.1.3) and of JPEG-LS (ISO 14495-1 C.1.1)."""

_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))
"""Markers without a length (ISO 10918-1 B.1.1.3)."""


def matrix_of(frame: bytes, syntax: UID) -> Matrix | None:
    """Return rows, columns and components that a compressed frame names; None for RLE, which names none.

    Parameters
    ----------
    frame
        One frame, out of its fragments.
    syntax
        The transfer syntax it is in.

    Raises
    ------
    ValueError
        If it is no such codestream.
    """
    if syntax == RLELossless:
        return None
    if syntax in JPEG2000TransferSyntaxes:
        return _jpeg_2000(frame)
    if syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        return _jpeg(frame)
    raise ValueError("the transfer syntax is not known")


def _jpeg_2000(frame: bytes) -> Matrix:
    """Read the size marker; a file wrapper (JP2 boxes) is passed over."""
    start = frame.find(_JPEG_2000)
    if start < 0 or len(frame) < start + 42:
        raise ValueError("no JPEG 2000 codestream")
    width, height, left, top = struct.unpack_from(">4I", frame, start + 8)
    (components,) = struct.unpack_from(">H", frame, start + 40)
    return height - top, width - left, components


def _jpeg(frame: bytes) -> Matrix:
    """Walk the marker segments to the start of frame."""
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 4 <= len(frame):
        marker = frame[at + 1]
        if frame[at] != 0xFF:
            break
        if marker == 0xFF:  # a fill byte
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker in _FRAME_MARKERS and at + 10 <= len(frame):
            height, width, components = struct.unpack_from(">HHB", frame, at + 5)
            return height, width, components
        else:
            at += 2 + struct.unpack_from(">H", frame, at + 2)[0]
    raise ValueError("no JPEG codestream")
