"""Whether Huffman-coded data were all there and used up: their bits are counted against what was decoded."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.dicom.compressed.damage import DamagedFrame
from services.dicom.compressed.jpeg import HuffmanTable, JpegFrame

FILLED = "the coded data end before the pixels do"
LEFT_OVER = "coded data are left over behind the last pixel"
NO_CODE = "the coded data hold a code that their table does not have"

_NO_BITS = 255
"""Of a category that has no code."""

_CATEGORIES = np.ceil(
    np.log2(np.abs(np.arange(65536, dtype=np.uint16).view(np.int16).astype(np.int32)) + 1)
).astype(np.uint8)
"""Of each difference modulo 65536, the category that its code names (ISO 10918-1 table H.2)."""

_VALUE_BITS = np.array([*range(16), 0])
"""How many bits follow the code of each category; of the last, for 32768 alone, none."""


def require_used_up(coded: bytes, used_bits: int) -> None:
    """Raise `DamagedFrame` unless coded data are as long as what was read of them.

    Parameters
    ----------
    coded
        The data of one restart interval, with the zeros that are stuffed in after FF (ISO 10918-1 F.1.2.3).
        Up to seven bits fill the last byte; some encoders add bytes 00 or FF.
    used_bits
        Bits that the decoded image takes.
    """
    coded = coded.rstrip(b"\xff")  # each other one is followed by a zero
    rest = len(coded) - coded.count(b"\xff") - -(-used_bits // 8)
    if rest < 0:
        raise DamagedFrame(FILLED)
    if coded[len(coded) - rest :].strip(b"\0\xff"):
        raise DamagedFrame(LEFT_OVER)


def require_lossless_used_up(frame: JpegFrame, decoded: NDArray[np.generic]) -> None:
    """Raise `DamagedFrame` unless the coded data are exactly what the decoded pixels are coded with.

    Parameters
    ----------
    frame
        Of JPEG lossless, one component.
    decoded
        Axes (row, column), integers of 8 or 16 bits: what a decoder made of it. Differences to the
        prediction, and with them the code of each pixel, follow from it; a decoder that filled up what
        was missing made pixels that take more bits than there are.

    Notes
    -----
    Source: ISO 10918-1 H.1.2.
    """
    samples: NDArray[np.uint16] = decoded.view(f"u{decoded.dtype.itemsize}").astype(np.uint16)
    if frame.precision < 16:
        samples &= np.uint16((1 << frame.precision) - 1)
    samples >>= np.uint16(frame.point_transform)
    rows, columns = samples.shape
    interval = frame.restart_interval or rows * columns
    if interval % columns:
        raise DamagedFrame("the restart interval of the compressed frame is not one of whole rows")
    frame.require_intervals(rows * columns)
    lengths = _bits_by_difference(frame.table(0, frame.dc_table))
    step = interval // columns
    first = 1 << (frame.precision - frame.point_transform - 1)
    for n, coded in enumerate(frame.intervals):
        differences = _differences(samples[n * step : (n + 1) * step], frame.selection, first)
        bits = lengths.take(differences)
        if bits.max() == _NO_BITS:
            raise DamagedFrame(NO_CODE)
        require_used_up(coded, int(bits.sum(dtype=np.int64)))


@lru_cache(maxsize=8)
def _bits_by_difference(table: HuffmanTable) -> NDArray[np.uint8]:
    """Return how many bits each difference modulo 65536 takes, code and value (ISO 10918-1 table H.2)."""
    codes = np.full(17, _NO_BITS, np.uint8)
    for length, _, symbol in table.codes():
        if symbol <= 16:
            codes[symbol] = length
    bits = np.where(codes == _NO_BITS, _NO_BITS, codes + _VALUE_BITS).astype(np.uint8)
    return bits.take(_CATEGORIES)


def _differences(samples: NDArray[np.uint16], selection: int, first: int) -> NDArray[np.uint16]:
    """Return what each sample differs from its prediction, modulo 65536 (ISO 10918-1 table H.1)."""
    difference = samples.copy()
    difference[0, 0] = int(samples[0, 0]) - first & 0xFFFF
    difference[0, 1:] -= samples[0, :-1]
    difference[1:, 0] -= samples[:-1, 0]
    if selection == 1:
        difference[1:, 1:] -= samples[1:, :-1]
        return difference
    wide = samples.astype(np.int32)
    left, above, corner = wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1]
    predictions = {
        2: lambda: above,
        3: lambda: corner,
        4: lambda: left + above - corner,
        5: lambda: left + ((above - corner) >> 1),
        6: lambda: above + ((left - corner) >> 1),
        7: lambda: (left + above) >> 1,
    }
    if selection not in predictions:
        raise DamagedFrame(f"the compressed frame names predictor {selection}, which there is not")
    difference[1:, 1:] -= predictions[selection]().astype(np.uint16)
    return difference
