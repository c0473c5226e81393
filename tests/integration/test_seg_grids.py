"""SEGs on another grid than the CT's: taken over where nothing is lost, refused elsewhere."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.corrections.ledger import ledger
from models.errors import Refused
from models.geometry import Geometry
from services.dicom.returned.understand import Status, understand
from services.dicom.seg import masks as seg_masks
from services.dicom.seg.frames import SegCode
from services.dicom.seg.reader import SegObject, read_seg
from tests.support.result_cases import AFFINES, ct_series
from tests.support.seg_cases import plain_seg

SHAPE = (6, 20, 24)


def drawn() -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    masks = {}
    for n, label in enumerate(("Liver", "Stomach", "Spleen")):
        mask = np.zeros(SHAPE, dtype=bool)
        mask[1:5, 2 + 5 * n : 8 + 5 * n, 3:20] = random.random((4, 6, 17)) < 0.7
        masks[label] = mask
    return masks


def regrid(ct: Geometry, *, finer=(1, 1, 1), pad=0, transposed=False) -> Geometry:
    """A grid `finer` along (k, j, i), in plane `pad` of its voxels larger on all sides; corners aligned."""
    factors = np.array(finer, dtype=float)
    affine = np.array(ct.affine)
    affine[:3, :3] = ct.affine[:3, :3] / factors
    start = (1 / factors - 1) / 2 - np.array((0, pad, pad)) / factors
    affine[:3, 3] = ct.to_lps(start)
    shape = tuple(
        round(n * f) + (2 * pad if axis else 0)
        for axis, (n, f) in enumerate(zip(ct.shape, finer, strict=True))
    )
    if transposed:
        affine[:3, [1, 2]] = affine[:3, [2, 1]]
        shape = (shape[0], shape[2], shape[1])
    return Geometry(shape, affine)


def on(grid: Geometry, ct: Geometry, mask: np.ndarray) -> np.ndarray:
    """What a viewer makes of our mask on its grid: the value of the CT voxel that each centre lies in."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    nearest = np.rint(ct.to_index(grid.to_lps(index)) - 1e-9).astype(int)
    inside = ((nearest >= 0) & (nearest < ct.shape)).all(axis=-1)
    at = np.clip(nearest, 0, np.array(ct.shape) - 1)
    return mask[at[..., 0], at[..., 1], at[..., 2]] & inside


def read(series, masks, grid, tmp_path, **how) -> SegObject:
    path = tmp_path / "seg.dcm"
    plain_seg(series, masks, grid, **how).save_as(path, enforce_file_format=True)
    return read_seg(path, series)


GRIDS = {
    "the same": {},
    "twice as fine in plane": {"finer": (1, 2, 2)},
    "three times as fine along all": {"finer": (3, 3, 3)},
    "one and a half times as fine": {"finer": (1, 1.5, 1.5)},
    "padded": {"pad": 4},
    "transposed": {"transposed": True},
    "finer, padded, transposed": {"finer": (2, 2, 4), "pad": 3, "transposed": True},
}


@pytest.mark.parametrize("placed", ["axial", "oblique", "reversed", "feet first", "anisotropic"])
@pytest.mark.parametrize("name", GRIDS)
def test_what_nobody_touched_comes_back_voxel_for_voxel_from_another_grid(name, placed, tmp_path):
    series = ct_series(AFFINES[placed], SHAPE)
    ct, masks = series.volume.geometry, drawn()
    sent = read(series, masks, ct, tmp_path, cite=True)
    for segment, mask in zip(sent.segments, masks.values(), strict=True):
        assert np.array_equal(segment.mask.dense(), mask)
    grid = regrid(ct, **GRIDS[name])
    theirs = {label: on(grid, ct, mask) for label, mask in masks.items()}
    for cite in (False, True):
        back = read(series, theirs, grid, tmp_path, cite=cite)
        assert understand(back, sent, ct).status is Status.UNCHANGED


def test_what_was_edited_on_a_finer_grid_is_counted_in_voxels_of_the_ct(tmp_path):
    series = ct_series(AFFINES["oblique"], SHAPE)
    ct, masks = series.volume.geometry, drawn()
    sent = read(series, masks, ct, tmp_path)
    grid = regrid(ct, finer=(1, 2, 2))
    edited = dict(masks) | {"Stomach": masks["Stomach"].copy()}
    edited["Stomach"][2, 0:3, 0:4] = True
    back = read(series, {label: on(grid, ct, mask) for label, mask in edited.items()}, grid, tmp_path)
    answer = understand(back, sent, ct)
    changed = {e.organ: (e.added_voxels, e.removed_voxels) for e in ledger(answer.sent, answer.returned, ct)}
    assert changed == {"liver": (0, 0), "stomach": (12, 0), "spleen": (0, 0)}


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(AFFINES)), arrays(bool, (2, 3, 5, 7)), st.randoms(use_true_random=False))
def test_masks_written_in_any_order_of_frames_are_read_as_they_were(placed, masks, random):
    """Frames of 35 bits begin anywhere in a byte; empty planes and segments have none."""
    series = ct_series(AFFINES[placed], masks.shape[1:])
    assume(masks.any())
    seg = plain_seg(series, dict(zip(("Liver", "Spleen"), masks, strict=True)), series.volume.geometry)
    order = random.sample(range(int(seg.NumberOfFrames)), int(seg.NumberOfFrames))
    planes = seg.pixel_array.reshape(-1, *masks.shape[2:])[order]
    groups = seg.PerFrameFunctionalGroupsSequence
    seg.PerFrameFunctionalGroupsSequence = [groups[n] for n in order]
    packed = np.packbits(planes.ravel(), bitorder="little").tobytes()
    seg.PixelData = packed + b"\0" * (len(packed) % 2)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "seg.dcm"
        seg.save_as(path, enforce_file_format=True)
        read_back = [segment.mask.dense() for segment in read_seg(path, series).segments]
    assert np.array_equal(read_back, masks)


def crooked(ct: Geometry) -> Geometry:
    turn = np.radians(2.0)
    affine = np.array(ct.affine)
    affine[:3, :3] = np.array(
        [[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]]
    ) @ (ct.affine[:3, :3] / 4)
    affine[:3, 3] = ct.to_lps((0, -10, -10))
    return Geometry((SHAPE[0] * 4, 200, 200), affine)


LOSSY = {
    "coarser in plane": (lambda ct: regrid(ct, finer=(1, 0.5, 0.5)), "larger"),
    "coarser slices": (lambda ct: regrid(ct, finer=(0.5, 2, 2)), "larger"),
    "cropped": (lambda ct: Geometry((6, 18, 22), ct.affine), "cover"),
    "cropped at the start": (lambda ct: regrid(ct, pad=-2), "cover"),
    "turned": (crooked, "axes"),
}


@pytest.mark.parametrize("name", LOSSY)
def test_a_grid_on_which_something_would_be_lost_is_refused(name, tmp_path):
    series = ct_series(AFFINES["axial"], SHAPE)
    make, why = LOSSY[name]
    grid = make(series.volume.geometry)
    mask = np.zeros(grid.shape, dtype=bool)
    mask[:, 3:9, 3:9] = True
    with pytest.raises(Refused, match=why) as refused:
        read(series, {"Liver": mask}, grid, tmp_path)
    assert refused.value.code == SegCode.GRID_MISMATCH
    assert refused.value.measured


@pytest.mark.parametrize(
    ("forget", "code"),
    [
        (lambda seg: delattr(seg, "FrameOfReferenceUID"), SegCode.GRID_MISMATCH),
        (
            lambda seg: delattr(
                seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0], "SpacingBetweenSlices"
            ),
            SegCode.GRID_MISMATCH,
        ),
        (
            lambda seg: delattr(seg.SharedFunctionalGroupsSequence[0], "PlaneOrientationSequence"),
            SegCode.GRID_MISMATCH,
        ),
        (lambda seg: setattr(seg, "FrameOfReferenceUID", "1.2.3"), SegCode.OTHER_FRAME_OF_REFERENCE),
    ],
)
def test_a_grid_that_is_not_stated_in_full_in_our_frame_of_reference_is_refused(forget, code, tmp_path):
    series = ct_series(AFFINES["axial"], SHAPE)
    ct = series.volume.geometry
    grid = regrid(ct, finer=(1, 2, 2))
    seg = plain_seg(series, {"Liver": on(grid, ct, drawn()["Liver"])}, grid)
    forget(seg)
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    with pytest.raises(Refused) as refused:
        read_seg(tmp_path / "seg.dcm", series)
    assert refused.value.code == code


@pytest.mark.parametrize("limit", ["MAX_FRAME_PIXELS", "MAX_OWN_VOXELS"])
def test_a_grid_of_its_own_is_bounded_before_any_frame_is_unpacked(limit, tmp_path, monkeypatch):
    """Of one frame of 65,535 x 65,535 the bits would be a gigabyte, and its pixels four."""
    series = ct_series(AFFINES["axial"], SHAPE)
    ct = series.volume.geometry
    grid = regrid(ct, finer=(1, 2, 2))
    masks = {"Liver": on(grid, ct, drawn()["Liver"])}
    frame = grid.shape[1] * grid.shape[2]
    frames = int(np.count_nonzero(masks["Liver"].any(axis=(1, 2))))
    most = {"MAX_FRAME_PIXELS": frame, "MAX_OWN_VOXELS": frame * frames}[limit]
    monkeypatch.setattr(seg_masks, limit, most)
    assert read(series, masks, grid, tmp_path).segments[0].mask.any()
    monkeypatch.setattr(seg_masks, limit, most - 1)
    monkeypatch.setattr(seg_masks, "stored_frames", lambda *_: pytest.fail("a frame is unpacked"))
    with pytest.raises(Refused, match="own grid") as refused:
        read(series, masks, grid, tmp_path)
    assert refused.value.code == SegCode.TOO_LARGE
    assert (refused.value.measured["frame_pixels"], refused.value.measured["voxels"]) == (
        frame,
        frame * frames,
    )


def test_a_frame_that_cites_an_image_it_does_not_lie_on_is_refused(tmp_path):
    series = ct_series(AFFINES["axial"], SHAPE)
    ct = series.volume.geometry
    grid = regrid(ct, finer=(1, 2, 2))
    seg = plain_seg(series, {"Liver": on(grid, ct, drawn()["Liver"])}, grid, cite=True)
    source = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = series.images[-1].SOPInstanceUID
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    with pytest.raises(Refused) as refused:
        read_seg(tmp_path / "seg.dcm", series)
    assert refused.value.code == SegCode.POSITION_MISMATCH


def test_frames_that_are_no_regular_stack_are_refused(tmp_path):
    series = ct_series(AFFINES["axial"], SHAPE)
    ct = series.volume.geometry
    grid = regrid(ct, finer=(1, 2, 2))
    seg = plain_seg(series, {"Liver": on(grid, ct, drawn()["Liver"])}, grid)
    seg.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient[0] += 0.4
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    with pytest.raises(Refused, match="regular stack") as refused:
        read_seg(tmp_path / "seg.dcm", series)
    assert refused.value.measured["off_mm"] == 0.4


def test_a_segment_drawn_once_whose_index_names_another_is_refused(tmp_path: Path) -> None:
    """As many frames as segments: the index tells segments, and is no number of frames."""
    masks = {label: np.zeros(SHAPE, dtype=bool) for label in ("Liver", "Spleen")}
    masks["Liver"][1, 2:6, 3:9] = masks["Spleen"][3, 2:6, 3:9] = True
    series = ct_series(AFFINES["axial"], SHAPE)
    seg = plain_seg(series, masks, series.volume.geometry)
    for frame in seg.PerFrameFunctionalGroupsSequence:
        frame.SegmentIdentificationSequence[0].ReferencedSegmentNumber = 1
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    with pytest.raises(Refused) as refused:
        read_seg(tmp_path / "seg.dcm", series)
    assert refused.value.code == SegCode.MALFORMED
