from __future__ import annotations

import numpy as np
import pytest

from models.bounds.uncertainty import (
    entropy,
    member_agreement,
    soft_dice_confidence,
    uncertainty_near,
    voxel_error,
)
from models.metrics.dsc import dsc


def test_entropy_is_zero_when_sure_and_ln_2_at_a_half():
    values = entropy(np.array([0.0, 0.5, 1.0, 0.2, 0.8], dtype=np.float16))
    assert values.dtype == np.float32
    assert values == pytest.approx([0.0, np.log(2), 0.0, 0.5004, 0.5004], abs=1e-3)


def test_soft_dice_confidence_is_the_dsc_expected_of_calibrated_probabilities():
    rng = np.random.default_rng(7)
    probability = rng.beta(0.3, 0.9, (30, 30, 30)).astype(np.float16)
    mask = probability >= 0.5
    actual = [dsc(mask, rng.random(mask.shape) < probability) for _ in range(20)]
    assert soft_dice_confidence(probability, mask) == pytest.approx(np.mean(actual), abs=0.003)


def test_half_precision_does_not_saturate_the_sums():
    probability = np.full((64, 64, 64), 0.9, dtype=np.float16)
    assert soft_dice_confidence(probability, probability >= 0.5) == pytest.approx(2 * 0.9 / 1.9, abs=1e-3)


def test_an_empty_mask_has_no_confidence():
    assert soft_dice_confidence(np.full((2, 2, 2), 0.4), np.zeros((2, 2, 2), dtype=bool)) is None
    nothing = np.zeros((2, 2, 2))
    assert uncertainty_near(nothing, nothing, nothing.astype(bool)) is None


def test_a_voxel_errs_by_what_speaks_against_its_mask():
    error = voxel_error(np.array([0.9, 0.6, 0.3]), np.array([True, True, False]))
    assert error == pytest.approx([0.1, 0.4, 0.3])


def test_uncertainty_counts_near_the_organ_only():
    disagreement = np.zeros((20, 20, 20), dtype=np.float16)
    probability = np.zeros(disagreement.shape, dtype=np.float16)
    mask = np.zeros(disagreement.shape, dtype=bool)
    mask[8:12, 8:12, 8:12] = True
    disagreement[0, 0, 0] = probability[0, 0, 0] = 0.5
    assert uncertainty_near(probability, disagreement, mask) == (0.0, 0.0, None)
    assert uncertainty_near(probability, disagreement, mask, disagreement) == (0.0, 0.0, 0.0)
    disagreement[8:12, 8:12, 13] = probability[8:12, 8:12, 13] = 0.5  # two voxels outside
    found = uncertainty_near(probability, disagreement, mask)
    voxels = 64 + 6 * 16 + 6 * 16 + 12 * 4  # the cube, its two shells, the edges of the outer one
    assert found.disagreement == pytest.approx(16 * 0.5 / voxels)
    assert found.entropy == pytest.approx(16 * np.log(2) / voxels)
    told = uncertainty_near(probability, disagreement, mask, disagreement / 2)
    assert told.members == pytest.approx(found.disagreement / 2)


def test_members_that_draw_the_same_agree_wholly_and_a_single_one_says_nothing():
    probability = np.linspace(0, 1, 64, dtype=np.float16).reshape(4, 4, 4)
    assert member_agreement(probability, np.zeros_like(probability)) == 1.0
    assert member_agreement(probability, None) is None
    assert member_agreement(np.zeros_like(probability), np.zeros_like(probability)) is None


def test_agreement_is_the_dice_of_one_member_against_another():
    rng = np.random.default_rng(2)
    depth = rng.normal(0, 2, (1, 20, 20, 20))
    members = 1 / (1 + np.exp(-depth - rng.normal(0, 1, (40, 20, 20, 20))))
    found = member_agreement(members.mean(0), members.std(0))
    pairs = [
        2 * (one * other).sum() / (one**2 + other**2).sum()
        for one, other in zip(members[::2], members[1::2], strict=True)
    ]
    assert found == pytest.approx(np.mean(pairs), abs=0.005)
    assert 0.8 < found < 0.95
