"""Baseline and extended JPEG: four blocks of ours behind the coded data show whether all others were there.

A decoder of lossy JPEG fills up what is missing without a word. It is given a frame with a few rows more,
and marks where the coded data of the frame end. Only if exactly the blocks of the image come before them,
the marks are what it finds in the rows beyond.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from imagecodecs import Jpeg8Error, jpeg8_decode
from numpy.typing import NDArray

from services.dicom.compressed.jpeg import HuffmanTable, JpegFrame

_BLOCK = 8

_SIGNS = (1, -1, -1, 1)
"""How each mark differs from the block before it: one brighter, one as before, one darker, one as before.

One of the two shows wherever the last block of the image lies on the scale.
"""

_LEAST_BLOCKS = 2 * len(_SIGNS)
"""So many are asked for behind the image: behind the marks, too, has to be what is filled up."""

_LEAST_STEP = 4
"""Stored values by which a mark has to differ, so that rounding does not hide it."""

_MOST_ROWS = 65500
"""More the decoder does not take."""


def decoded_with_marks(frame: bytes, said: JpegFrame) -> NDArray[Any] | None:
    """Decode a frame with marks behind its coded data.

    Parameters
    ----------
    frame
        One frame, out of its fragments.
    said
        What it says of itself: baseline or extended JPEG, one component.

    Returns
    -------
    NDArray or None
        Axes (row, column), unsigned integers of 8 or 16 bits, where the marks prove that the coded data are
        those of all blocks and no more. None where they do not, or cannot be used: the blocks have to be
        counted then.

    Notes
    -----
    Source: ISO 10918-1 F.1.2 (codes of a block), A.2 (blocks of one component), F.1.2.3 (bits that fill up).
    """
    across = -(-said.columns // _BLOCK)
    whole = _BLOCK * -(-said.rows // _BLOCK)
    rows = whole + _BLOCK * -(-_LEAST_BLOCKS // across)
    marks = _Marks.of(said)
    coded = said.intervals[0].rstrip(b"\xff").replace(b"\xff\x00", b"\xff")
    if marks is None or not coded or said.restart_interval or rows > _MOST_ROWS:
        return None
    head = bytearray(frame[: said.coded_from])
    struct.pack_into(">H", head, said.rows_at, rows)
    for filled in range(_filled_up(coded), -1, -1):  # as a rule the last code ends with a zero
        longer = bytes(head) + _stuffed(coded, filled, marks.bits) + b"\xff\xd9"
        try:
            stored = jpeg8_decode(longer)
        except Jpeg8Error:
            return None
        if marks.shown_by(stored[whole:]):
            return stored[: said.rows]
    return None


@dataclass(frozen=True)
class _Marks:
    """The blocks behind the coded data.

    Parameters
    ----------
    bits
        Their codes.
    step
        Stored values by which each differs from the one before.
    precision
        Bits of a stored value.
    """

    bits: str
    step: int
    precision: int

    @classmethod
    def of(cls, said: JpegFrame) -> _Marks | None:
        """Return the marks that a frame's own tables can code; None where there are none."""
        first, others = said.huffman.get((0, said.dc_table)), said.huffman.get((1, said.ac_table))
        quantum = said.dc_steps.get(said.quantisation, 0)
        if first is None or others is None or not _code(others, 0):
            return None
        for category in range(said.precision + 3, 0, -1):
            code, value = _code(first, category), (1 << category) - 1
            step = value * quantum // _BLOCK
            if code and _LEAST_STEP <= step <= 1 << (said.precision - 1):
                end = _code(others, 0)
                by_sign = {1: code + "1" * category + end, -1: code + "0" * category + end}
                return cls("".join(by_sign[sign] for sign in _SIGNS), step, said.precision)
        return None

    def shown_by(self, beyond: NDArray[Any]) -> bool:
        """Tell whether the rows behind the image begin with the marks, and are filled up after them."""
        rows, columns = beyond.shape[0] // _BLOCK, -(-beyond.shape[1] // _BLOCK)
        wide = np.pad(beyond, ((0, 0), (0, columns * _BLOCK - beyond.shape[1])), "edge")
        blocks = wide.reshape(rows, _BLOCK, columns, _BLOCK).swapaxes(1, 2).reshape(rows * columns, -1)
        behind = len(_SIGNS) + 1  # the bits that fill up the last byte make a block of their own
        least, most = blocks.min(axis=1).astype(int), blocks.max(axis=1).astype(int)
        if (least != most)[: len(_SIGNS)].any() or (blocks[behind:] != 1 << (self.precision - 1)).any():
            return False
        brighter, before, darker, again = (int(value) for value in least[: len(_SIGNS)])
        top = (1 << self.precision) - 1
        return (
            before == again
            and abs(brighter - min(before + self.step, top)) <= 1
            and abs(darker - max(before - self.step, 0)) <= 1
        )


def _code(table: HuffmanTable, wanted: int) -> str:
    """Return the code of a symbol as bits; empty where it has none."""
    return next((f"{code:0{length}b}" for length, code, symbol in table.codes() if symbol == wanted), "")


def _filled_up(coded: bytes) -> int:
    """Return how many ones the last byte ends with: so many bits at most only fill it up, seven of them."""
    bits = f"{coded[-1]:08b}"
    return min(7, len(bits) - len(bits.rstrip("1")))


def _stuffed(coded: bytes, filled: int, marks: str) -> bytes:
    """Return coded data without the bits that fill them up, and with the marks; zeros are stuffed in."""
    bits = f"{coded[-1]:08b}"[: 8 - filled] + marks
    bits += "1" * (-len(bits) % 8)
    end = int(bits, 2).to_bytes(len(bits) // 8)
    return (coded[:-1] + end).replace(b"\xff", b"\xff\x00")
