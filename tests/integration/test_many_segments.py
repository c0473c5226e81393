"""SEGs of many segments: each costs what it draws, and what would cost more than there is is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
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
from services.dicom.seg.bounded import OpenedSeg, open_seg
from services.dicom.seg.frames import LABEL_MAP_STORAGE, SegCode
from services.dicom.seg.reader import ReadSegment, SegObject, read_seg
from services.dicom.seg.saving import content_digest
from tests.support.many_segments import SIDE, WIDER, corners, drawn_seg, whole_body
from tests.support.result_cases import AFFINES, ct_series

MIB = 2**20
SHAPE = (48, 256, 256)
ORGANS = ("spleen", "right_kidney", "left_kidney", "liver", "stomach")
MANY, DEEP = 117, 4


def opened(seg: Dataset, folder: Path) -> OpenedSeg:
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


def test_a_hundred_segments_are_read_and_compared_by_their_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dense masks of them would take 351 MiB; what is no organ costs neither surface nor distance."""
    series = ct_series(AFFINES["axial"], SHAPE)
    grid = series.volume.geometry
    sent = opened(drawn_seg(series, grid, *whole_body(SHAPE, ORGANS, len(ORGANS), DEEP)), tmp_path)
    frames, labels = whole_body(SHAPE, ORGANS, MANY, DEEP, grown=True)
    saved = opened(drawn_seg(series, grid, frames, labels), tmp_path)
    measured: list[int] = []

    def counted(mask: BoxedMask) -> NDArray[np.intp]:
        measured.append(mask.voxels)
        return surface_voxels(mask)

    monkeypatch.setattr(corrections, "surface_voxels", counted)
    with peak_under(32 * MIB):
        before, after = read_seg(sent, series), read_seg(saved, series)
        assert sum(segment.mask.nbytes for segment in after.segments) <= MANY * DEEP * SIDE * SIDE // 4
        answer = understand(after, before, grid)
        entries = ledger(answer.sent, answer.returned, grid)
        hybrid_labels(answer.sent, answer.returned, entries)
        content_digest(after)
    edited = {one.organ: one.added_voxels for one in entries if one.state is OrganState.EDITED}
    assert edited == {"liver": DEEP * SIDE * WIDER}
    assert {question.segment for question in answer.questions} == set(range(len(ORGANS) + 1, MANY + 1))
    assert measured == [DEEP * SIDE * SIDE, DEEP * SIDE * (SIDE + WIDER)]
    for (number, k), plane in frames.items():
        assert np.array_equal(after.segments[number - 1].mask.plane(k), plane)
    assert sum(segment.mask.voxels for segment in after.segments) == sum(
        map(np.count_nonzero, frames.values())
    )


def test_segments_from_corner_to_corner_are_refused_before_memory_is_taken_for_them(tmp_path: Path) -> None:
    """Of 300 slices of 512 x 512 each takes 9.4 MiB, a bit a voxel; 512 MiB hold 54 of them."""
    shape = (300, 512, 512)
    series = ct_series(AFFINES["axial"], shape)
    fit, too_many = (
        opened(drawn_seg(series, series.volume.geometry, *corners(shape, segments)), tmp_path)
        for segments in (3, 60)
    )
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
    planes = {(1, k): np.ones((16, 20), dtype=bool) for k in range(4)}
    seg = drawn_seg(series, series.volume.geometry, planes, ["s"] * 200)
    seg.file_meta.MediaStorageSOPClassUID = seg.SOPClassUID = LABEL_MAP_STORAGE
    seg.SegmentationType = "LABELMAP"
    seg.BitsAllocated = seg.BitsStored = 8
    seg.HighBit = 7
    for group in seg.PerFrameFunctionalGroupsSequence:
        del group.SegmentIdentificationSequence
    labels = np.arange(4 * 320).reshape(4, 320) % 320
    seg["PixelData"].value = np.where(labels > 200, 0, labels).astype(np.uint8).tobytes()
    whole = opened(seg, tmp_path)
    assert [segment.mask.voxels for segment in read_seg(whole, series).segments] == [4] * 200
    monkeypatch.setattr(seg_masks, "MAX_MASK_BYTES", 300 * PLANE_BYTES)
    with pytest.raises(Refused) as refused:
        read_seg(whole, series)
    assert refused.value.code == SegCode.TOO_LARGE
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
