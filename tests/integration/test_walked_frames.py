"""Whatever the bytes of a frame are, those who walk it say in words what is wrong, and say it soon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from services.dicom.compressed.codestream import decoded
from services.dicom.compressed.damage import DamagedFrame, FrameShape
from services.dicom.compressed.frames import frames_of
from tests.support.damaged_frames import ENCODERS, SHAPE, Generator, made, picture
from tests.support.odd_codestreams import ODD

EDITS = 40
NAMES = (
    "RLE (2.5)", "JPEG lossless, first order (70)", "JPEG-LS by CharLS (80)", "JPEG-LS near lossless (81)",
    "JPEG 2000 (90)", "JPEG, 12 bits (51)", "JPEG with restarts", "HTJ2K, tile-parts and their table",
)  # fmt: skip


def edited(frame: bytes, rng: Generator) -> bytes:
    """Change, take out or put in a few bytes, most of them near the beginning, where sizes and tables lie."""
    changed = bytearray(frame)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(0, min(len(changed), int(rng.choice([40, 200, 700, 10**6])))))
        kind = int(rng.integers(3))
        if kind == 0:
            changed[at : at + 2] = rng.bytes(2)
        elif kind == 1:
            del changed[at : at + int(rng.integers(1, 9))]
        else:
            changed[at:at] = bytes([0xFF, int(rng.integers(0x4F, 0x100))]) + rng.bytes(int(rng.integers(6)))
    return bytes(changed)


@pytest.mark.parametrize("name", NAMES)
def test_of_any_bytes_it_is_said_in_words_what_is_wrong(tmp_path: Path, name: str) -> None:
    rng = np.random.default_rng(1)
    whole = made(tmp_path, picture("tissue", rng), (ENCODERS | ODD)[name])
    shape, said = FrameShape(*SHAPE, 16, 12), set()
    for _ in range(EDITS):
        frame = edited(whole.frame, rng)
        try:
            decoded(frame, UID(whole.syntax), shape)
        except DamagedFrame as damage:
            said.add(str(damage))
    assert len(said) > 2
    assert all(" " in words and "Error" not in words for words in said)


def test_of_any_items_it_is_said_in_words_what_is_wrong() -> None:
    rng = np.random.default_rng(2)
    packed = encapsulate([rng.bytes(300), rng.bytes(301)], fragments_per_frame=2)
    dataset, said = Dataset(), set()
    for _ in range(300):
        dataset.PixelData = edited(packed, rng)
        try:
            frames = list(frames_of(dataset, 2))
        except DamagedFrame as damage:
            said.add(str(damage))
        else:
            assert len(frames) == 2
    assert len(said) > 2
