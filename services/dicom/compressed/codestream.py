"""One compressed frame, whatever it is coded with: walked before it is decoded, and proven used up after."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from services.dicom.compressed import jpeg_ls
from services.dicom.compressed.damage import DamagedFrame, FrameShape
from services.dicom.compressed.dct_blocks import require_all_blocks
from services.dicom.compressed.huffman_bits import require_lossless_used_up
from services.dicom.compressed.jpeg import JPEG_LS, LOSSLESS, JpegFrame, walk_jpeg
from services.dicom.compressed.jpeg_2000 import walk_jpeg_2000


@dataclass(frozen=True)
class WalkedFrame:
    """A frame that is whole as far as its markers and lengths tell, and of the size the header says.

    Parameters
    ----------
    content
        Its bytes.
    jpeg
        What it says of itself; None where it is none of JPEG's.
    """

    content: bytes
    jpeg: JpegFrame | None = None

    def require_used_up(self, decoded: NDArray[np.generic]) -> None:
        """Raise `DamagedFrame` unless the coded data were all there and no pixel was filled up.

        Parameters
        ----------
        decoded
            Axes (row, column): what the decoder made of the frame.

        Notes
        -----
        Of JPEG 2000 nothing is left to ask: its decoder is strict, and gives up on data that end early.
        """
        if self.jpeg is None:
            return
        if self.jpeg.process == JPEG_LS:
            jpeg_ls.require_used_up(self.content, self.jpeg, decoded)
        elif self.jpeg.process == LOSSLESS:
            require_lossless_used_up(self.jpeg, decoded)
        else:
            require_all_blocks(self.jpeg)


def walked(frame: bytes, syntax: UID, shape: FrameShape) -> WalkedFrame:
    """Walk a frame to its end, before a decoder takes memory for it.

    Parameters
    ----------
    frame
        One frame, out of its fragments.
    syntax
        The transfer syntax it is in. RLE has no size of its own, and is walked as it is decoded.
    shape
        What the header says of it.

    Raises
    ------
    DamagedFrame
        If it is none of that syntax, is cut, goes on behind its end, or is of another size.
    """
    if syntax == RLELossless:
        return WalkedFrame(frame)
    if syntax in JPEG2000TransferSyntaxes:
        image = walk_jpeg_2000(frame)
        shape.require(image.rows, image.columns, image.components, image.precision)
        return WalkedFrame(frame)
    if syntax not in JPEGTransferSyntaxes and syntax not in JPEGLSTransferSyntaxes:
        raise DamagedFrame("nothing here reads the transfer syntax of the compressed frame")
    jpeg = walk_jpeg(frame)
    shape.require(jpeg.rows, jpeg.columns, jpeg.components, jpeg.precision)
    if shape.signed and jpeg.precision < shape.bits_stored and jpeg.process != JPEG_LS:
        raise DamagedFrame(
            f"the compressed frame is of {jpeg.precision} bits a pixel, {shape.bits_stored} have the sign"
        )
    return WalkedFrame(frame, jpeg)
