"""The compressed frames of a SEG are read to their last bit, and are as many as it says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from models.errors import Refused
from services.dicom.seg.frames import SegCode
from services.dicom.seg.pixels import stored_frames

SHAPE = (5, 40, 48)

Change = Callable[[list[bytes]], list[bytes]]
CHANGES: dict[str, Change] = {
    "one is cut": lambda frames: [*frames[:2], frames[2][: len(frames[2]) // 2], *frames[3:]],
    "the last one is cut": lambda frames: [*frames[:-1], frames[-1].rstrip(b"\0")[:-3]],
    "one is missing": lambda frames: frames[:-1],
    "one is there twice": lambda frames: [*frames, frames[0]],
    "two are one": lambda frames: [frames[0] + frames[1], *frames[2:]],
}


def seg_in(syntax: UID) -> tuple[Dataset, np.ndarray]:
    """Return fractions of 8 bits in several frames, compressed, and what they are."""
    pixels = np.random.default_rng(1).integers(0, 255, SHAPE).astype(np.uint8)
    seg = Dataset()
    seg.file_meta = FileMetaDataset()
    seg.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    seg.NumberOfFrames, seg.Rows, seg.Columns = SHAPE
    seg.SamplesPerPixel, seg.PhotometricInterpretation, seg.PixelRepresentation = 1, "MONOCHROME2", 0
    seg.BitsAllocated, seg.BitsStored, seg.HighBit = 8, 8, 7
    seg.SOPInstanceUID, seg.PixelData = "1.2.3.4", pixels.tobytes()
    seg["PixelData"].VR = "OB"
    seg.compress(syntax, generate_instance_uid=False)
    return seg, pixels


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("table", [True, False])
def test_frames_of_several_items_each_are_put_together(syntax: UID, table: bool) -> None:
    seg, pixels = seg_in(syntax)
    whole = list(generate_frames(seg.PixelData, number_of_frames=SHAPE[0]))
    seg.PixelData = encapsulate(whole, fragments_per_frame=3, has_bot=table)
    np.testing.assert_array_equal(list(stored_frames(seg, SHAPE[0])), pixels)


@pytest.mark.parametrize(
    "syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword
)
def test_no_frame_of_a_seg_is_filled_up_or_missed(syntax: UID) -> None:
    seg, pixels = seg_in(syntax)
    np.testing.assert_array_equal(list(stored_frames(seg, SHAPE[0])), pixels)
    whole = list(generate_frames(seg.PixelData, number_of_frames=SHAPE[0]))
    for what, change in CHANGES.items():
        for table in (True, False):
            seg.PixelData = encapsulate(change(list(whole)), has_bot=table)
            with pytest.raises(Refused) as refused:
                list(stored_frames(seg, SHAPE[0]))
            assert refused.value.code == SegCode.BAD_PIXEL_DATA, what
            assert "Error" not in refused.value.detail
