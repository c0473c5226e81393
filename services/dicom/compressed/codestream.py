"""One compressed frame, whatever it is coded with: walked, decoded, and proven to hold all of its pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from imagecodecs import Jpeg2kError, Jpeg8Error, JpeglsError, jpeg2k_decode, jpeg8_decode, jpegls_decode
from numpy.typing import NDArray
from pydicom.uid import (
    JPEG2000MC,
    UID,
    JPEG2000MCLossless,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from services.dicom.compressed.damage import DamagedFrame, FrameShape
from services.dicom.compressed.dct_blocks import require_all_blocks
from services.dicom.compressed.huffman_bits import require_lossless_used_up
from services.dicom.compressed.jpeg import JPEG_LS, LOSSLESS, walk_jpeg
from services.dicom.compressed.jpeg_2000 import walk_jpeg_2000
from services.dicom.compressed.rle import decode_rle

_JPEG_2000 = frozenset(JPEG2000TransferSyntaxes) - {JPEG2000MC, JPEG2000MCLossless}
_JPEG_LS = frozenset(JPEGLSTransferSyntaxes)

COMPRESSED = frozenset((RLELossless, *JPEGTransferSyntaxes)) | _JPEG_LS | _JPEG_2000
"""Transfer syntaxes of compressed frames that are read here."""

_BYTES_A_PIXEL = 16
"""No decoder takes more for its work."""


def decoded(frame: bytes, syntax: UID, shape: FrameShape) -> NDArray[Any]:
    """Return the stored values of a frame, none of which a decoder filled up.

    A frame is walked to its end before a decoder takes memory for it.

    Parameters
    ----------
    frame
        One frame, out of its fragments.
    syntax
        The transfer syntax it is in.
    shape
        What the header says of it.

    Returns
    -------
    NDArray
        Axes (row, column), integers of 8 or 16 bits, of the sign that the header says.

    Raises
    ------
    DamagedFrame
        If it is none of that syntax, is cut, goes on behind its end, is of another size, or its coded data
        are not those of its pixels.
    """
    if syntax not in COMPRESSED:
        raise DamagedFrame("nothing here reads the transfer syntax of the compressed frame")
    if syntax == RLELossless:
        return decode_rle(frame, shape)
    stored = _decoded(frame, syntax, shape)
    if stored.shape != (shape.rows, shape.columns):
        raise DamagedFrame(f"the pixels form {stored.shape}, not rows and columns of the header")
    return stored.view(f"{'i' if shape.signed else 'u'}{stored.dtype.itemsize}")


def _decoded(frame: bytes, syntax: UID, shape: FrameShape) -> NDArray[Any]:
    if syntax in _JPEG_2000:
        image = walk_jpeg_2000(frame)
        shape.require(image.rows, image.columns, image.components, image.precision)
        return _asked(jpeg2k_decode, frame, shape)  # strict: it gives up on data that end early
    said = walk_jpeg(frame)
    shape.require(said.rows, said.columns, said.components, said.precision)
    if said.process == JPEG_LS:
        return _asked(jpegls_decode, frame, shape)  # strict too, and on data that are left over
    if shape.signed and said.precision < shape.bits_stored:
        raise DamagedFrame(
            f"the compressed frame is of {said.precision} bits a pixel, {shape.bits_stored} have the sign"
        )
    # The decoder of JPEG fills up what is missing: all of it has to be there.
    if said.process == LOSSLESS:
        stored = _asked(jpeg8_decode, frame, shape)
        require_lossless_used_up(said, stored)
        return stored
    require_all_blocks(said)
    return _asked(jpeg8_decode, frame, shape)


def _asked(decoder: Callable[[bytes], NDArray[Any]], frame: bytes, shape: FrameShape) -> NDArray[Any]:
    """Return what a decoder makes of a frame.

    A decoder that gets no memory says the same as of damaged data. So it is asked twice, and each time
    whether there was memory enough: else a machine that is short of it would say of a sound CT that it is
    damaged.
    """
    for _ in range(2):
        try:
            return decoder(frame)
        except (Jpeg2kError, Jpeg8Error, JpeglsError):
            np.empty(_BYTES_A_PIXEL * shape.rows * shape.columns, np.uint8)  # raises MemoryError
    raise DamagedFrame("the coded data of the compressed frame cannot be decoded")
