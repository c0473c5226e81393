"""SEGs of many segments: each costs what it draws, and what would cost more than there is is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset

from models.corrections import ledger as corrections
from models.corrections.ledger import OrganState, hybrid_labels, ledger
from models.errors import Refused
from models.masks import PLANE_BYTES, BoxedMask
from models.organs import organ
from models.surfaces import surface_voxels
from services.dicom.returned.understand import understand
from services.dicom.seg import masks as seg_masks
from services.dicom.seg.bounded import open_seg
from services.dicom.seg.frames import LABEL_MAP_STORAGE, SegCode
from services.dicom.seg.reader import ReadSegment, SegObject, read_seg
from services.dicom.seg.saving import content_digest
from tests.support.result_cases import AFFINES, ct_series
from tests.support.seg_cases import item, plain_seg

MIB = 2**20
SHAPE = (48, 256, 256)
ORGANS = ("spleen", "right_kidney", "left_kidney", "liver", "stomach")
MANY, DEEP = 117, 4


Frames = dict[tuple[int, int], NDArray[np.bool_]]
"""By number of the segment and slice, axes (row, column)."""


def drawn_seg(series, frames: Frames, labels: list[str]) -> Dataset:
    """Return a SEG of frames; masks of the whole grid are never made."""
    one = np.zeros(series.volume.geometry.shape, dtype=bool)
    one[0, 0, 0] = True
    seg = plain_seg(series, {"": one}, series.volume.geometry)
    (group,) = seg.PerFrameFunctionalGroupsSequence
    seg.SegmentSequence = [
        item(SegmentNumber=n, SegmentLabel=label, SegmentAlgorithmType="MANUAL")
        for n, label in enumerate(labels, start=1)
    ]
    groups = []
    for number, k in frames:
        groups.append(deepcopy(group))
        groups[-1].FrameContentSequence[0].DimensionIndexValues = [number, k + 1]
        groups[-1].SegmentIdentificationSequence[0].ReferencedSegmentNumber = number
        position = series.images[k].ImagePositionPatient
        groups[-1].PlanePositionSequence[0].ImagePositionPatient = position
    seg.PerFrameFunctionalGroupsSequence, seg.NumberOfFrames = groups, len(groups)
    packed = b"".join(np.packbits(one, bitorder="little").tobytes() for one in frames.values())
    seg["PixelData"].value = packed + b"\0" * (len(packed) % 2)
    return seg


def opened(seg: Dataset, folder: Path):
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    seg.save_as(path, enforce_file_format=True)
    return open_seg(path)


@contextmanager
def peak_under(limit: int) -> Iterator[None]:
    """Fail if more bytes are held at once than that, of arrays and objects."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak / MIB:.1f} MiB"


def whole_body(grown: bool) -> tuple[Frames, list[str]]:
    """Return frames and labels of five organs and of what else a whole-body tool draws, 4 x 24 x 24 each."""
    labels = [organ(key).label for key in ORGANS] + [f"structure {n}" for n in range(len(ORGANS), MANY)]
    frames: Frames = {}
    for n, label in enumerate(labels):
        row, column, first = 5 + n * 37 % 200, 8 + n * 53 % 200, n * 7 % (SHAPE[0] - DEEP)
        wide = 30 if grown and label == "Liver" else 24
        drawn = np.zeros(SHAPE[1:], dtype=bool)
        drawn[row : row + 24, column : column + wide] = True
        frames |= {(n + 1, k): drawn for k in range(first, first + DEEP)}
    return frames, labels


def test_a_hundred_segments_are_read_and_compared_by_their_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dense masks of them would take 351 MiB; what is no organ costs neither surface nor distance."""
    series = ct_series(AFFINES["axial"], SHAPE)
    (frames, labels), (grown, _) = whole_body(grown=False), whole_body(grown=True)
    ours = {key: segment for key, segment in frames.items() if key[0] <= len(ORGANS)}
    sent = opened(drawn_seg(series, ours, labels[: len(ORGANS)]), tmp_path)
    saved = opened(drawn_seg(series, grown, labels), tmp_path)
    measured: list[int] = []

    def counted(mask: BoxedMask) -> NDArray[np.intp]:
        measured.append(mask.voxels)
        return surface_voxels(mask)

    monkeypatch.setattr(corrections, "surface_voxels", counted)
    with peak_under(32 * MIB):
        before, after = read_seg(sent, series), read_seg(saved, series)
        assert sum(segment.mask.nbytes for segment in after.segments) < MANY * DEEP * 24 * 5
        answer = understand(after, before, series.volume.geometry)
        entries = ledger(answer.sent, answer.returned, series.volume.geometry)
        hybrid_labels(answer.sent, answer.returned, entries)
        content_digest(after)
    assert {one.organ: one.added_voxels for one in entries if one.state is OrganState.EDITED} == {
        "liver": DEEP * 24 * 6
    }
    assert {question.segment for question in answer.questions} == set(range(len(ORGANS) + 1, MANY + 1))
    assert measured == [DEEP * 24 * 24, DEEP * 24 * 30]
    for (number, k), drawn in grown.items():
        assert np.array_equal(after.segments[number - 1].mask.plane(k), drawn)
    assert {segment.mask.voxels for segment in after.segments} == {DEEP * 24 * 24, DEEP * 24 * 30}


def corners(series, segments: int) -> Dataset:
    """Return a SEG each of whose segments is two voxels, in opposite corners of the grid."""
    rows, columns = series.volume.geometry.shape[1:]
    first, last = np.zeros((2, rows, columns), dtype=bool)
    first[0, 0] = last[-1, -1] = True
    frames: Frames = {}
    for number in range(1, segments + 1):
        frames |= {(number, 0): first, (number, len(series.images) - 1): last}
    return drawn_seg(series, frames, [f"s{n}" for n in range(segments)])


def test_segments_from_corner_to_corner_are_refused_before_memory_is_taken_for_them(tmp_path: Path) -> None:
    """Of 300 slices of 512 x 512 each takes 9.4 MiB, a bit a voxel; 512 MiB hold 54 of them."""
    series = ct_series(AFFINES["axial"], (300, 512, 512))
    fit, too_many = (opened(corners(series, segments), tmp_path) for segments in (3, 60))
    with peak_under(48 * MIB):
        assert [segment.mask.voxels for segment in read_seg(fit, series).segments] == [2, 2, 2]
    with peak_under(32 * MIB), pytest.raises(Refused) as refused:
        read_seg(too_many, series)
    assert refused.value.code == SegCode.TOO_LARGE
    assert refused.value.measured == {
        "bytes": 55 * 300 * 512 * 512 // 8,
        "limit_bytes": seg_masks.MAX_MASK_BYTES,
        "segments_read": 55,
    }


def test_labels_by_the_hundred_on_every_slice_count_though_each_is_a_voxel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plane of one voxel takes a byte, and the objects round it a kilobyte."""
    series = ct_series(AFFINES["axial"], (4, 16, 20))
    seg = drawn_seg(series, {(1, k): np.ones((16, 20), dtype=bool) for k in range(4)}, ["s"] * 200)
    seg.SOPClassUID = seg.file_meta.MediaStorageSOPClassUID = LABEL_MAP_STORAGE
    seg.SegmentationType = "LABELMAP"
    seg.BitsAllocated = seg.BitsStored = 8
    seg.HighBit = 7
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.SegmentIdentificationSequence
    labels = np.arange(4 * 320).reshape(4, 320) % 320
    seg["PixelData"].value = np.where(labels > 200, 0, labels).astype(np.uint8).tobytes()
    whole = opened(seg, tmp_path)
    read = read_seg(whole, series).segments
    assert [segment.mask.voxels for segment in read] == [4] * 200
    monkeypatch.setattr(seg_masks, "MAX_MASK_BYTES", 300 * PLANE_BYTES)
    with pytest.raises(Refused) as refused:
        read_seg(whole, series)
    assert refused.value.measured["bytes"] == 300 * (PLANE_BYTES + 1)


def noise(*at: slice) -> NDArray[np.bool_]:
    mask = np.zeros((11, 9, 13), dtype=bool)
    mask[at] = (np.arange(mask[at].size) * 7919 % 11 < 5).reshape(mask[at].shape)
    return mask


def test_the_digest_of_a_segs_content_is_that_which_is_on_record() -> None:
    """It says whether a save is known: another value would make every save on record a new one."""
    liver, kidney = organ("liver"), organ("left_kidney")
    drawn = (noise(slice(2, 10), slice(1, 8), slice(0, 12)), noise(slice(10, 11), slice(0, 9), slice(12, 13)))
    segments = (
        ReadSegment(1, "Liver", liver.type, None, "1.2.3", "MANUAL", BoxedMask.of(drawn[0])),
        ReadSegment(
            2, "Left kidney", kidney.type, kidney.laterality, None, "SEMIAUTOMATIC", BoxedMask.of(drawn[1])
        ),
        ReadSegment(7, "Größe", None, None, None, "", BoxedMask.empty((11, 9, 13))),
    )
    digest = content_digest(SegObject("1.9", "1.8", segments))
    assert digest == "08f2bfee5548941441ed6c212fb0a485c802eabbe4d1d94fe3d7d954f9529f10"
    bits = sha256()
    for segment, dense in zip(segments, (*drawn, np.zeros((11, 9, 13), bool)), strict=True):
        named = (
            segment.number, segment.label, segment.type, segment.laterality, segment.tracking_uid,
            segment.algorithm_type, dense.shape,
        )  # fmt: skip
        bits.update(repr(named).encode() + np.packbits(dense).tobytes())
    assert digest == bits.hexdigest()
