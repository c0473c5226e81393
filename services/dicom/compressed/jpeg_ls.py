"""JPEG-LS: what was decoded is encoded again, and has to give the same data."""

from __future__ import annotations

import struct
from typing import Any

import jpeg_ls
import libjpeg
import numpy as np
from numpy.typing import NDArray

from services.dicom.compressed.damage import DamagedFrame
from services.dicom.compressed.huffman_bits import FILLED, LEFT_OVER
from services.dicom.compressed.jpeg import JpegFrame, walk_jpeg

_FOLLOWS = b"\x6a\x55\x3c\x69" * 16
"""What is put behind coded data: more bits than a pixel may take, of both kinds."""

_RESET = 64
_PRESETS = ">B5H"
"""Of the parameters of a frame: which they are, the largest value, three thresholds, and a count."""


def require_used_up(frame: bytes, said: JpegFrame, decoded: NDArray[np.generic]) -> None:
    """Raise `DamagedFrame` unless the coded data of a frame were all there.

    Parameters
    ----------
    frame
        Of JPEG-LS, one component.
    said
        What it says of itself.
    decoded
        Axes (row, column), integers of 8 or 16 bits: what a decoder made of it.

    Notes
    -----
    Lossless JPEG-LS leaves an encoder no choice (ISO 14495-1 annex A): the pixels, encoded again, are the
    same data, and those of a decoder that filled up what was missing are not. Near-lossless does, in runs;
    and the encoder at hand knows neither restarts nor other parameters than the standard's. Of those frames
    it is only asked whether a pixel depends on what follows the data; data left over are not seen.
    """
    _refuse_left_to_the_decoder(said.presets)
    samples: NDArray[Any] = decoded.view(f"u{decoded.dtype.itemsize}") & ((1 << said.precision) - 1)
    if said.selection or said.restart_interval or said.presets not in (b"", _standard_presets(said)):
        _require_same_whatever_follows(frame, said, samples)
    else:
        _require_same_when_encoded(said, samples)


def _refuse_left_to_the_decoder(presets: bytes) -> None:
    """Refuse parameters that are zero, by which a decoder is to take its own, and what are none at all.

    The one at hand takes zeros for numbers, and gives another picture without a word (ISO 14495-1 C.2.4.1.1).
    """
    if not presets:
        return
    if len(presets) != struct.calcsize(_PRESETS) or presets[0] != 1 or 0 in struct.unpack(_PRESETS, presets):
        raise DamagedFrame("the compressed frame has JPEG-LS parameters that are not read here")


def _require_same_when_encoded(said: JpegFrame, samples: NDArray[Any]) -> None:
    wide = 1 if said.precision <= 8 else 2
    pixels = samples.astype(f"<u{wide}").tobytes()
    again = jpeg_ls.encode_buffer(pixels, said.rows, said.columns, 1, said.precision)
    (expected,), (coded,) = walk_jpeg(bytes(again)).intervals, said.intervals
    whole = len(expected) - 1  # the bits that fill the last byte are the encoder's own
    if len(coded) < len(expected) or coded[:whole] != expected[:whole]:
        raise DamagedFrame(FILLED)
    if coded[len(expected) :].strip(b"\0\xff"):
        raise DamagedFrame(LEFT_OVER)


def _require_same_whatever_follows(frame: bytes, said: JpegFrame, samples: NDArray[Any]) -> None:
    longer = frame[: said.coded_until] + _FOLLOWS + frame[said.coded_until :]
    try:
        again = libjpeg.decode(longer)
    except RuntimeError as error:
        raise DamagedFrame(FILLED) from error
    if not np.array_equal(again, samples):
        raise DamagedFrame(FILLED)


def _standard_presets(said: JpegFrame) -> bytes:
    """Return the segment of the parameters that hold where a frame brings none (ISO 14495-1 C.2.4.1.1)."""
    most, near = (1 << said.precision) - 1, said.selection
    if most >= 128:
        factor = (min(most, 4095) + 128) // 256
        wanted = [factor + 2 + 3 * near, 4 * factor + 3 + 5 * near, 17 * factor + 4 + 7 * near]
    else:
        factor = 256 // (most + 1)
        steps = ((2, 3, 3), (3, 7, 5), (4, 21, 7))
        wanted = [max(least, step // factor + times * near) for least, step, times in steps]
    thresholds, least = [], near + 1
    for value in wanted:
        least = value if least <= value <= most else least
        thresholds.append(least)
    return struct.pack(_PRESETS, 1, most, *thresholds, _RESET)
