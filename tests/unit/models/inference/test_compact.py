"""Compact results: masks keep their bits on any grid, and what was rounded travels without loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from models.bounds.reliability import AS_SERVED, calibrated
from models.bounds.uncertainty import soft_dice_confidence, uncertainty_near
from models.geometry import Geometry
from models.inference.compact import DISAGREEMENT_RANGE, PackedField, keep_side, pack, round_served, unpack
from models.resampling import patch_on_ct

SHAPE = (17, 23, 19)


def smooth(seed: int, sharpness: float = 6.0, offset: float = -3.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a probability with an organ or two in it, and a disagreement, as a segmenter gives them."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=SHAPE), 2.5)
    p = 1 / (1 + np.exp(-(field / field.std() * sharpness + offset)))
    spread = np.abs(ndimage.gaussian_filter(rng.normal(size=SHAPE), 1)) * np.sqrt(p * (1 - p))
    return p.astype(np.float16), np.minimum(spread, 0.5).astype(np.float16)


def rounded(p: np.ndarray, spread: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    p, spread = p.copy(), spread.copy()
    round_served(p, [spread], threshold)
    return p, spread


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8])
def test_rounding_to_float16_takes_no_voxel_into_the_mask_or_out_of_it(threshold: float) -> None:
    limit = np.float32(np.float16(threshold))
    exact = (limit + np.linspace(-1e-3, 1e-3, 4001)).astype(np.float32)
    half = exact.astype(np.float16)
    assert np.count_nonzero((half >= threshold) != (exact >= limit)) > 200  # numpy rounds to the nearest
    nearest = half.copy()
    keep_side(half, exact, threshold)
    assert np.array_equal(half >= threshold, exact >= limit)
    assert np.abs(half.astype(np.float32) - nearest.astype(np.float32)).max() < 6e-4


@given(
    seed=st.integers(0, 10_000),
    sharpness=st.sampled_from([0.5, 2.0, 6.0, 30.0]),
    threshold=st.sampled_from([0.3, 0.4, 0.5, 0.8]),
    turn=st.floats(-0.4, 0.4),
    step=st.floats(0.4, 2.5),
)
@settings(max_examples=60, deadline=None)
def test_a_mask_keeps_its_bits_on_any_grid(seed, sharpness, threshold, turn, step) -> None:
    p, spread = smooth(seed, sharpness)
    q, _ = rounded(p, spread, threshold)
    assert np.array_equal(p >= threshold, q >= threshold)
    model = Geometry(SHAPE, np.diag([3.0, 3.0, 3.0, 1.0])[[2, 1, 0, 3]])
    c, s = np.cos(turn), np.sin(turn)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.diag([3.0, 3.0, 3.0])[[2, 1, 0]] * step
    affine[:3, 3] = (1.3, -2.1, 0.7)
    ct = Geometry(tuple(int(n / step) for n in SHAPE), affine)
    masks = []
    for field in (p, q):
        mask = np.zeros(ct.shape, dtype=bool)
        patch, box = patch_on_ct(field, model, ct)
        mask[box] = patch >= threshold
        masks.append(mask)
    assert np.array_equal(*masks)


@given(seed=st.integers(0, 10_000), sharpness=st.sampled_from([0.5, 2.0, 6.0, 30.0]))
@settings(max_examples=40, deadline=None)
def test_what_is_rounded_changes_by_no_more_than_is_said(seed, sharpness) -> None:
    p, spread = smooth(seed, sharpness)
    q, rough = rounded(p, spread, 0.5)
    change = np.abs(q.astype(float) - p.astype(float))
    assert change[p <= 0.01].max(initial=0) <= 0.01001
    assert change[p > 0.01].max(initial=0) <= 0.0025
    assert np.abs(rough.astype(float) - spread.astype(float))[q > 0].max(initial=0) <= 0.00125
    assert not rough[q == 0].any()
    mask = p >= 0.5
    if mask.any():
        before, after = calibrated(p, AS_SERVED), calibrated(q, AS_SERVED)
        sdc = soft_dice_confidence(before, mask)
        assert soft_dice_confidence(after, mask) == pytest.approx(sdc, abs=1e-3)
        said, told = uncertainty_near(before, spread, mask), uncertainty_near(after, rough, mask)
        assert told.entropy == pytest.approx(said.entropy, abs=2e-3)
        assert told.disagreement == pytest.approx(said.disagreement, abs=5e-3)


def test_an_organ_that_is_nowhere_is_zero_everywhere() -> None:
    p, spread = rounded(np.full(SHAPE, 0.009, np.float16), np.full(SHAPE, 0.05, np.float16), 0.5)
    assert not p.any()
    assert not spread.any()


@given(seed=st.integers(0, 10_000), organs=st.integers(1, 3), round_first=st.booleans())
@settings(max_examples=30, deadline=None)
def test_a_packed_field_is_unpacked_bit_for_bit(seed, organs, round_first) -> None:
    pairs = [smooth(seed + n, offset=-60 if n == 1 else -3) for n in range(organs)]
    if round_first:
        pairs = [rounded(*pair, 0.5) for pair in pairs]
    for fields, full in zip(zip(*pairs, strict=True), (1.0, DISAGREEMENT_RANGE), strict=True):
        field = np.stack(fields)
        packed = pack(field, full)
        assert unpack(packed, SHAPE, full).tobytes() == field.tobytes()
        if round_first:
            assert len(packed.exact) <= 0.8 * len(packed.code) or not len(packed.code)


@pytest.mark.parametrize(
    "broken",
    [
        PackedField(
            np.array([[0, 0, 0, 2, 2, 99]], np.int32), np.zeros(396, np.uint8), np.zeros(0, np.float16)
        ),
        PackedField(np.array([[0, 0, 0, 2, 2, 2]], np.int32), np.zeros(7, np.uint8), np.zeros(0, np.float16)),
        PackedField(
            np.array([[0, 0, 0, 1, 1, 1]], np.int32), np.full(1, 255, np.uint8), np.zeros(0, np.float16)
        ),
        PackedField(
            np.array([[0, 0, 0, 1, 1, 1]], np.int32), np.full(1, 240, np.uint8), np.zeros(0, np.float16)
        ),
        PackedField(np.array([[5, 0, 0, 2, 2, 2]], np.int32), np.zeros(0, np.uint8), np.zeros(0, np.float16)),
    ],
    ids=["outside", "too-few-codes", "too-few-values", "no-step", "reversed"],
)
def test_a_packed_field_that_does_not_add_up_is_an_error(broken: PackedField) -> None:
    with pytest.raises(ValueError, match=r"do not fill|does not lie|codes are"):
        unpack(broken, SHAPE, 1.0)
