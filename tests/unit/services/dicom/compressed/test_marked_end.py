"""Marks behind the coded data of lossy JPEG: found behind all blocks, and behind no fewer and no more."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from imagecodecs import jpeg8_decode, jpeg8_encode
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import JPEGBaseline8Bit

from services.dicom.compressed.codestream import decoded
from services.dicom.compressed.damage import DamagedFrame, FrameShape
from services.dicom.compressed.dct_blocks import require_all_blocks
from services.dicom.compressed.jpeg import walk_jpeg
from services.dicom.compressed.marked_end import decoded_with_marks


def picture(rows: int, columns: int, seed: int, most: int) -> NDArray[np.uint16]:
    """Return a smooth picture with noise in its middle, and one value round it."""
    rng = np.random.default_rng(seed)
    around = rng.choice([0, most, most // 3])
    pixels = np.full((rows, columns), around, np.uint16)
    inside = pixels[rows // 4 : -rows // 4 or None, columns // 4 : -columns // 4 or None]
    inside[...] = rng.integers(0, most + 1, inside.shape)
    return pixels


def baseline(pixels: NDArray[np.uint16], quality: int, optimize: bool) -> bytes:
    memory = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(memory, "JPEG", quality=quality, optimize=optimize)
    return memory.getvalue()


@given(
    st.integers(3, 90), st.integers(3, 90), st.integers(0, 99), st.integers(20, 100), st.booleans(), st.data()
)
@settings(max_examples=60, deadline=None)
def test_what_is_proven_by_marks_the_count_of_blocks_confirms(
    rows: int, columns: int, seed: int, quality: int, optimize: bool, data: st.DataObject
) -> None:
    frame = baseline(picture(rows, columns, seed, 255), quality, optimize)
    whole = decoded_with_marks(frame, walk_jpeg(frame))
    if whole is not None:
        np.testing.assert_array_equal(whole, jpeg8_decode(frame))
    scan = walk_jpeg(frame).coded_from
    at = data.draw(st.integers(scan, len(frame) - 3))
    for changed in (frame[:at] + b"\xff\xd9", frame[:at] + frame[scan : at + 9] + frame[at:]):
        try:
            said = walk_jpeg(changed)
        except DamagedFrame:
            continue
        if decoded_with_marks(changed, said) is not None:
            require_all_blocks(said)  # it raises where a block is missing or left over


def test_as_a_rule_marks_are_enough() -> None:
    """Else each slice costs ten times the processor time, for its blocks are counted."""
    for seed in range(20):
        eight = baseline(picture(64, 80, seed, 255), 90, False)
        twelve = jpeg8_encode(picture(64, 80, seed, 4095), level=90, bitspersample=12)
        for frame in (eight, twelve):
            assert decoded_with_marks(frame, walk_jpeg(frame)) is not None, seed


def test_where_the_tables_have_no_code_for_marks_the_blocks_are_counted() -> None:
    pixels = np.full((24, 24), 128, np.uint16)
    frame = baseline(pixels, 90, True)
    assert decoded_with_marks(frame, walk_jpeg(frame)) is None
    shape = FrameShape(24, 24, 8, 8)
    np.testing.assert_array_equal(decoded(frame, JPEGBaseline8Bit, shape), pixels)
