"""The sliding window: what it covers, what it skips, and that blending invents nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.body import BODY_HU, body_mask
from models.contract import ModelContract
from models.errors import InvalidRelease, Refused
from models.inference.windows import (
    Prediction,
    axis_starts,
    blend_weight,
    blend_windows,
    cut,
    scale_hu,
    segment_windows,
    study_origins,
)
from models.resampling import AIR_HU

ORGANS = ("liver", "spleen")


def contract(window: tuple[int, int, int] = (16, 16, 16), overlap: float = 0.5) -> ModelContract:
    return ModelContract(
        organs=ORGANS,
        spacing_mm=(3.0, 3.0, 3.0),
        hu_window=(-200.0, 300.0),
        window_shape=window,
        overlap=overlap,
        thresholds=dict.fromkeys(ORGANS, 0.5),
        feature_channels=4,
        coarse_channels=(),
        global_channels=3,
    )


def body(shape: tuple[int, int, int], inset: int = 0) -> np.ndarray:
    hu = np.full(shape, AIR_HU, dtype=np.int16)
    hu[tuple(slice(min(inset, n // 2), max(n - inset, n // 2 + 1)) for n in shape)] = 40
    return hu


def constant(window: np.ndarray) -> Prediction:
    logits = np.empty((2, *window.shape[2:]), dtype=np.float32)
    logits[0], logits[1] = 1.5, -0.75
    return Prediction(logits, np.full(3, window.mean(), dtype=np.float32))


def local(window: np.ndarray) -> Prediction:
    """Answer each voxel from that voxel alone: overlapping windows must agree exactly."""
    voxels = window[0, 0]
    return Prediction(np.stack([voxels * 4 - 2, 1 - voxels * 3]), np.zeros(3, dtype=np.float32))


def sigmoid(x: np.ndarray | float) -> np.ndarray:
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))


@given(
    shape=st.tuples(*[st.integers(5, 45)] * 3),
    inset=st.integers(0, 6),
    overlap=st.sampled_from([0.0, 0.25, 0.5, 0.7]),
)
@settings(max_examples=15, deadline=None)
def test_the_blend_of_a_constant_predictor_is_constant_over_the_whole_body(shape, inset, overlap) -> None:
    hu = body(shape, inset)
    result = blend_windows(hu, contract(overlap=overlap), constant)
    seen = hu > AIR_HU
    for organ, logit in enumerate((1.5, -0.75)):
        assert np.unique(result.probability[organ][seen]).tolist() == [np.float16(sigmoid(logit))]
    assert not result.disagreement.any()
    assert result.global_feature.shape == (len(result.window_origin), 3)


@given(shape=st.tuples(*[st.integers(5, 45)] * 3), seed=st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_a_predictor_that_looks_at_one_voxel_gives_the_same_as_without_windows(shape, seed) -> None:
    hu = np.random.default_rng(seed).integers(-150, 250, shape).astype(np.int16)
    result = blend_windows(hu, contract(), local)
    expected = sigmoid(scale_hu(hu, (-200.0, 300.0)).astype(np.float64) * 4 - 2)
    np.testing.assert_allclose(result.probability[0], expected, atol=5e-4)
    assert result.disagreement.max() < 1e-3


@given(
    side=st.integers(1, 300),
    cut_off=st.tuples(st.integers(0, 300), st.integers(0, 300)),
    window=st.integers(1, 12).map(lambda n: 8 * n),
    overlap=st.floats(0, 0.9),
)
@settings(max_examples=200, deadline=None)
def test_starts_cover_the_extent_and_overlap_as_promised(side, cut_off, window, overlap) -> None:
    first = min(cut_off[0], side - 1)
    stop = max(side - cut_off[1], first + 1)
    starts = axis_starts(first, stop, side, window, overlap)
    assert starts[0] <= first
    assert starts[-1] + window >= stop
    for a, b in pairwise(starts):
        assert 1 <= b - a <= max(1, window * (1 - overlap) + 1e-6)
    if side >= window:
        assert starts[0] >= 0
        assert starts[-1] + window <= side


def test_disagreement_is_the_weighted_standard_deviation_of_the_windows() -> None:
    hu = body((16, 16, 24))
    answers = iter((2.0, -1.0))

    def predict(window: np.ndarray) -> Prediction:
        logits = np.full((2, 16, 16, 16), next(answers), dtype=np.float32)
        return Prediction(logits, np.zeros(3, dtype=np.float32))

    result = blend_windows(hu, contract(), predict)
    assert result.window_origin.tolist() == [[0, 0, 0], [0, 0, 8]]
    weight = blend_weight((16, 16, 16)).astype(np.float64)
    p, w = sigmoid(np.array([2.0, -1.0])), np.array([weight[3, 5, 12], weight[3, 5, 4]])
    mean = (w * p).sum() / w.sum()
    deviation = np.sqrt((w * (p - mean) ** 2).sum() / w.sum())
    assert result.probability[0, 3, 5, 12] == pytest.approx(mean, abs=5e-4)
    assert result.disagreement[0, 3, 5, 12] == pytest.approx(deviation, abs=5e-4)
    assert not result.disagreement[..., :8].any()
    assert not result.disagreement[..., 16:].any()


def test_members_disagreement_is_blended_as_the_probability_is() -> None:
    hu = body((16, 16, 24))
    answers = iter((0.4, 0.1))

    def predict(window: np.ndarray) -> Prediction:
        spread = np.full((16, 16, 16), next(answers), dtype=np.float32)
        return constant(window)._replace(member_spread={1: spread})

    result = blend_windows(hu, contract(), predict)
    weight = blend_weight((16, 16, 16)).astype(np.float64)
    w = np.array([weight[3, 5, 12], weight[3, 5, 4]])
    assert list(result.member_disagreement) == [1]
    found = result.member_disagreement[1]
    assert (found.dtype, found.shape) == (np.float16, hu.shape)
    assert found[3, 5, 12] == pytest.approx((w * [0.4, 0.1]).sum() / w.sum(), abs=5e-4)
    assert np.unique(found[..., :8]) == np.float16(0.4)
    assert np.unique(found[..., 16:]) == np.float16(0.1)
    assert not result.disagreement.any()


def test_members_of_another_shape_or_no_number_are_an_error() -> None:
    def told(spread: np.ndarray) -> None:
        segment_windows(
            body((16, 16, 16)),
            contract(),
            lambda window: constant(window)._replace(member_spread={0: spread}),
        )

    with pytest.raises(InvalidRelease, match="members answered"):
        told(np.zeros((16, 16, 8), np.float32))
    with pytest.raises(InvalidRelease, match="no finite numbers"):
        told(np.full((16, 16, 16), np.nan, np.float32))


def test_what_is_served_is_the_blend_rounded_as_said_with_the_same_voxels_in_every_organ() -> None:
    hu = np.broadcast_to(np.linspace(-200, 300, 28), (20, 24, 28)).astype(np.int16)
    blended, served = blend_windows(hu, contract(), local), segment_windows(hu, contract(), local)
    for whole, rounded in zip(blended.probability, served.probability, strict=True):
        assert np.array_equal(whole >= 0.5, rounded >= 0.5)
        assert 0.001 < np.abs(whole.astype(float) - rounded).max() <= 0.0101
    assert np.abs(blended.disagreement.astype(float) - served.disagreement).max() <= 0.0125


def test_features_are_sampled_from_every_window_only_where_asked() -> None:
    hu = np.random.default_rng(3).integers(-150, 250, (16, 16, 30)).astype(np.int16)
    seen: list[np.ndarray] = []

    def predict(window: np.ndarray) -> Prediction:
        seen.append(window)
        return local(window)

    def maps() -> tuple[np.ndarray, list[np.ndarray]]:
        return np.repeat(seen[-1][0], 4, axis=0), []

    asked = segment_windows(hu, contract(), predict, "digest", maps)
    assert segment_windows(hu, contract(), predict, "digest").samples is None
    samples = asked.samples
    samples.require(contract(), len(asked.window_origin))
    assert np.unique(samples.window).tolist() == list(range(len(asked.window_origin)))
    k, j, i = np.unravel_index(samples.index, (16, 16, 16)) + asked.window_origin[samples.window].T
    expected = scale_hu(hu, (-200.0, 300.0))[k, j, i]
    np.testing.assert_allclose(samples.features(contract())[:, 0], expected, atol=1e-3)


def test_windows_without_body_are_skipped_and_stay_zero() -> None:
    hu = np.full((16, 16, 80), AIR_HU, dtype=np.int16)
    hu[4:12, 4:12, 2:8] = 40
    hu[4:12, 4:12, 70:78] = 40
    hu[7, 7, 2:78] = 40  # a wire: one body, but the corners between are air
    whole = segment_windows(hu, contract(overlap=0.0), constant)
    hu[7, 7, 8:70] = AIR_HU
    largest = segment_windows(hu, contract(overlap=0.0), constant)
    assert len(whole.window_origin) == 5
    assert len(largest.window_origin) == 1
    assert not largest.probability[..., :40].any()


def test_a_gap_deeper_than_a_window_keeps_every_slice_in_its_place() -> None:
    hu = np.full((90, 16, 32), AIR_HU, dtype=np.int16)
    hu[:, 2:14, 18:30] = 40
    hu[4:8, 2:14, 2:30] = 40
    hu[80:86, 2:14, 2:30] = 40
    result = blend_windows(hu, contract(overlap=0.0), local)
    expected = sigmoid(scale_hu(hu, (-200.0, 300.0)).astype(np.float64) * 4 - 2)
    np.testing.assert_allclose(result.probability[0][hu > AIR_HU], expected[hu > AIR_HU], atol=5e-4)


def test_the_body_is_the_largest_region_and_not_the_table() -> None:
    hu = np.full((10, 30, 30), AIR_HU, dtype=np.int16)
    hu[:, 5:20, 5:25] = 40
    hu[:, 26:28] = 200
    assert np.array_equal(body_mask(hu), hu == 40)


def test_a_volume_too_coarse_to_show_the_body_is_evaluated_as_a_whole() -> None:
    hu = np.full((20, 24, 40), BODY_HU, dtype=np.int16)
    with pytest.raises(Refused, match="no-body"):
        body_mask(hu)
    result = segment_windows(hu, contract(), constant)
    assert result.probability.all()
    assert len(result.window_origin) == len(study_origins(hu, contract())) > 1


def test_a_window_outside_the_volume_is_padded_with_air() -> None:
    window = cut(np.full((4, 16, 16), 40, dtype=np.int16), (-6, 0, 0), (16, 16, 16))
    assert np.unique(window[:6]).tolist() == np.unique(window[10:]).tolist() == [AIR_HU]
    assert np.unique(window[6:10]).tolist() == [40]


def test_values_that_are_no_numbers_are_an_error_and_not_an_absent_organ() -> None:
    def broken(window: np.ndarray) -> Prediction:
        answer = constant(window)
        answer.logits[1, 3, 3, 3] = np.nan
        return answer

    with pytest.raises(InvalidRelease, match="no finite numbers"):
        segment_windows(body((16, 16, 16)), contract(), broken)


def test_a_network_of_another_shape_than_the_contract_is_an_error() -> None:
    with pytest.raises(InvalidRelease, match="the contract says"):
        segment_windows(
            body((16, 16, 16)), contract(), lambda window: Prediction(window[0], np.zeros(3, np.float32))
        )


def test_hounsfield_units_are_clipped_and_scaled() -> None:
    hu = np.array([-1024, -200, 50, 300, 3000], dtype=np.int16)
    assert scale_hu(hu, (-200.0, 300.0)).tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("threshold", [0.0, 0.01, 1.0])
def test_a_threshold_in_what_is_served_as_nothing_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="thresholds must be in"):
        replace(contract(), thresholds={"liver": 0.5, "spleen": threshold})
