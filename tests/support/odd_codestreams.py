"""Codestreams as other encoders write them: predictors, restarts, tiles, tables."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate

from tests.support.encodings import Encoder, dcmtk

HTJ2K, BASELINE, LOSSLESS = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.70"


def with_frame(syntax: str, frame_of: Callable[[NDArray[Any]], bytes], **attributes: object) -> Encoder:
    """Return an encoder that makes the frame out of the stored pixels, and sets attributes."""

    def encode(path: Path) -> None:
        dataset = dcmread(path)
        dataset.PixelData = encapsulate([frame_of(dataset.pixel_array)])
        dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
        dataset.file_meta.TransferSyntaxUID = syntax
        for keyword, value in attributes.items():
            setattr(dataset, keyword, value)
        dataset.save_as(path, enforce_file_format=True)

    return encode


def baseline_with_restarts(pixels: NDArray[Any]) -> bytes:
    """Return JPEG of 8 bits with a restart after each three blocks."""
    memory = BytesIO()
    Image.fromarray((pixels >> 4).astype(np.uint8)).save(memory, "JPEG", quality=95, restart_marker_blocks=3)
    return memory.getvalue()


def lossless_with_restarts(pixels: NDArray[Any], rows: int = 5) -> bytes:
    """Return JPEG lossless of 12 bits, first predictor, with a restart after each so many rows.

    Every category has a code of five bits.
    """
    height, width = pixels.shape
    symbols = bytes(range(17))
    counts = bytes([0, 0, 0, 0, 17, *[0] * 11])
    head = (
        b"\xff\xd8\xff\xc3"
        + (11).to_bytes(2)
        + bytes([12, *height.to_bytes(2), *width.to_bytes(2), 1, 1, 0x11, 0])
    )
    head += b"\xff\xc4" + (2 + 17 + 17).to_bytes(2) + b"\0" + counts + symbols
    head += b"\xff\xdd\0\x04" + (rows * width).to_bytes(2) + b"\xff\xda\0\x08\x01\x01\0\x01\0\0"
    parts = [_coded(pixels[start : start + rows]) for start in range(0, height, rows)]
    restarts = [bytes([0xFF, 0xD0 + n % 8]) for n in range(len(parts) - 1)] + [b"\xff\xd9"]
    return head + b"".join(part + marker for part, marker in zip(parts, restarts, strict=True))


def _coded(samples: NDArray[Any]) -> bytes:
    """Return the coded data of some rows (ISO 10918-1 H.1.2, F.1.2.1)."""
    bits = []
    above = 1 << 11
    for row in samples.astype(int):
        predictions = [above, *row[:-1]]
        above = row[0]
        for value, predicted in zip(row, predictions, strict=True):
            difference = int(value - predicted)
            category = abs(difference).bit_length()
            rest = difference if difference >= 0 else difference + (1 << category) - 1
            bits.append(f"{category:05b}" + (f"{rest:0{category}b}" if category else ""))
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8).replace(b"\xff", b"\xff\0")


def tiled(**options: object) -> Callable[[NDArray[Any]], bytes]:
    return lambda pixels: imagecodecs.htj2k_encode(pixels, reversible=True, planar=False, **options)


ODD: dict[str, Encoder] = {
    **{f"JPEG lossless, predictor {n}": dcmtk("dcmcjpeg", "+el", "+sv", str(n)) for n in range(1, 8)},
    "JPEG lossless with restarts": with_frame(LOSSLESS, lossless_with_restarts),
    "JPEG with restarts": with_frame(
        BASELINE, baseline_with_restarts, BitsAllocated=8, BitsStored=8, HighBit=7, RescaleSlope="16"
    ),
    "JPEG-LS, thresholds of its own": dcmtk("dcmcjpls", "+el", "+t1", "9", "+t2", "20", "+t3", "40"),
    "JPEG-LS, near-lossless by dcmtk": dcmtk("dcmcjpls", "+en", "+md", "3"),
    "HTJ2K, tiles": with_frame(HTJ2K, tiled(tile=(16, 16))),
    "HTJ2K, tiles and their table": with_frame(HTJ2K, tiled(tile=(16, 16), tlm=True)),
    "HTJ2K, tile-parts and their table": with_frame(HTJ2K, tiled(tile=(32, 32), tilepart=3, tlm=True)),
}
