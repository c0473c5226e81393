"""A label map with several frames on a slice, as OHIF 3.13 writes what overlaps: their union, exactly."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pydicom import Dataset

from models.errors import Refused
from services.dicom.seg.frames import LABEL_MAP_STORAGE, SegCode
from services.dicom.seg.reader import read_seg
from tests.support.result_cases import AFFINES, ct_series
from tests.support.seg_cases import item, plain_seg

SHAPE = (3, 4, 5)
SEGMENTS = 3
SERIES = ct_series(AFFINES["oblique"], SHAPE)


def label_map(frames: list[tuple[int, NDArray[np.uint8]]]) -> Dataset:
    """Write frames, each a slice k and its labels, axes (row, column), image and position of each stated."""
    grid = SERIES.volume.geometry
    seg = plain_seg(SERIES, {"any": np.ones(SHAPE, bool)}, grid, cite=True)
    seg.file_meta.MediaStorageSOPClassUID = seg.SOPClassUID = LABEL_MAP_STORAGE
    seg.SegmentationType, seg.DimensionIndexSequence = "LABELMAP", []
    seg.SegmentSequence = [
        item(SegmentNumber=n, SegmentLabel=f"s{n}", SegmentAlgorithmType="MANUAL")
        for n in range(1, SEGMENTS + 1)
    ]
    by_slice = list(seg.PerFrameFunctionalGroupsSequence)
    for group in by_slice:
        del group.SegmentIdentificationSequence
    seg.PerFrameFunctionalGroupsSequence = [by_slice[k] for k, _ in frames]
    seg.NumberOfFrames, seg.BitsAllocated, seg.BitsStored, seg.HighBit = len(frames), 8, 8, 7
    content = b"".join(plane.astype(np.uint8).tobytes() for _, plane in frames)
    seg.add_new("PixelData", "OB", content + b"\0" * (len(content) % 2))
    return seg


def read(seg: Dataset) -> list[NDArray[np.bool_]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "seg.dcm"
        seg.save_as(path, enforce_file_format=True)
        return [segment.mask.dense() for segment in read_seg(path, SERIES).segments]


def refusal(seg: Dataset) -> str:
    with pytest.raises(Refused) as refused:
        read(seg)
    return refused.value.code


@settings(max_examples=40, deadline=None)
@given(st.lists(arrays(np.uint8, SHAPE, elements=st.integers(0, SEGMENTS)), min_size=1, max_size=SEGMENTS))
def test_a_voxel_is_in_a_segment_when_any_layer_says_so(layers: list[NDArray[np.uint8]]) -> None:
    frames = [(k, layer[k]) for layer in layers for k in range(SHAPE[0])]
    found = read(label_map(frames))
    for number, mask in enumerate(found, start=1):
        assert np.array_equal(mask, np.any([layer == number for layer in layers], axis=0)), number


def two_layers() -> Dataset:
    """Segment 1 twice on slice 1, in different places."""
    one, other = np.zeros(SHAPE[1:], np.uint8), np.zeros(SHAPE[1:], np.uint8)
    one[0], other[2] = 1, 1
    return label_map([(1, one), (1, other)])


def test_a_frame_that_says_its_place_once_may_have_strayed_and_is_no_layer() -> None:
    assert [mask.sum() for mask in read(two_layers())] == [2 * SHAPE[2], 0, 0]
    for unsaid in ("PlanePositionSequence", "DerivationImageSequence"):
        seg = two_layers()
        delattr(seg.PerFrameFunctionalGroupsSequence[1], unsaid)
        assert refusal(seg) == SegCode.MALFORMED


@pytest.mark.parametrize("other", [2, 0], ids=["another segment", "nothing"])
@pytest.mark.parametrize("unsaid", ["PlanePositionSequence", "DerivationImageSequence"])
def test_nor_may_a_strayed_frame_bring_another_segment_or_hide_that_there_is_none(
    unsaid: str, other: int
) -> None:
    """Frames of one slice that are no layers say the same, or one of them is of another slice."""
    here, strayed = np.zeros(SHAPE[1:], np.uint8), np.zeros(SHAPE[1:], np.uint8)
    here[0], strayed[2] = 1, other
    for frames in ([(1, here), (1, strayed)], [(1, strayed), (1, here)]):
        seg = label_map(frames)
        delattr(seg.PerFrameFunctionalGroupsSequence[1], unsaid)
        assert refusal(seg) == SegCode.MALFORMED
    seg = label_map([(1, here), (1, here)])
    delattr(seg.PerFrameFunctionalGroupsSequence[1], unsaid)
    assert [mask.sum() for mask in read(seg)] == [SHAPE[2], 0, 0]


def test_a_layer_whose_position_is_not_that_of_its_image_is_refused() -> None:
    seg = two_layers()
    beside = SERIES.images[2].ImagePositionPatient
    seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence = [item(ImagePositionPatient=beside)]
    assert refusal(seg) == SegCode.POSITION_MISMATCH


def test_more_frames_than_slices_and_segments_are_refused_before_they_are_decoded() -> None:
    plane = np.ones(SHAPE[1:], np.uint8)
    frames = [(k, plane) for k in range(SHAPE[0])] * SEGMENTS
    assert read(label_map(frames))[0].all()
    assert refusal(label_map([*frames, (0, plane)])) == SegCode.MALFORMED
