"""Features kept while serving: the taps tuning would gather, drawn without bias, within a budget."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.contract import ModelContract
from models.inference.sampled_features import (
    BUDGET_BYTES,
    FeatureSampler,
    SampledFeatures,
    draw,
    gather,
    tap_channels,
    told_by,
)
from models.network.heads import HeadSpec
from models.network.training.sampling import VoxelSample, gather_taps
from models.network.trunk import TrunkOutput

ORGANS = ("liver", "spleen")
CONTRACT = ModelContract(
    organs=ORGANS,
    spacing_mm=(3.0, 3.0, 3.0),
    hu_window=(-200.0, 300.0),
    window_shape=(16, 24, 32),
    overlap=0.5,
    thresholds={"liver": 0.5, "spleen": 0.3},
    feature_channels=5,
    coarse_channels=(6, 7, 8),
    global_channels=3,
)
WINDOW = CONTRACT.window_shape


def maps(seed: int = 0) -> tuple[np.ndarray, list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(5, *WINDOW)).astype(np.float32)
    coarse = [
        rng.normal(size=(c, *(n >> level for n in WINDOW))).astype(np.float32)
        for level, c in enumerate(CONTRACT.coarse_channels, 1)
    ]
    return features, coarse


def blobs() -> np.ndarray:
    """Return logits of a liver with a soft edge; there is no spleen."""
    k, j, i = np.indices(WINDOW)
    radius = np.sqrt((k - 8) ** 2 + (j - 12) ** 2 + (i - 14) ** 2)
    return np.stack([6 - radius, np.full(WINDOW, -9.0)]).astype(np.float32)


def sampled(
    origin=(0, 0, 0), shape=(60, 60, 60), windows=1, digest="d", contract=CONTRACT
) -> SampledFeatures:
    sampler = FeatureSampler(contract, windows, digest)
    sampler.add(origin, shape, blobs(), *maps())
    return sampler.result()


def test_taps_are_what_tuning_gathers() -> None:
    features, coarse = maps()
    index = np.random.default_rng(1).choice(features[0].size, 300, replace=False)
    taps = gather(features, coarse, index)
    output = TrunkOutput(
        torch.from_numpy(features[None]), tuple(torch.from_numpy(m[None]) for m in coarse), torch.zeros(1, 3)
    )
    spec = HeadSpec(5, neighbourhood=True, coarse=tuple(enumerate(CONTRACT.coarse_channels, 1)))
    expected = gather_taps(output, spec, VoxelSample(index, np.ones(300, np.float32)))
    got = SampledFeatures(np.zeros(300, np.int32), index.astype(np.int32), np.ones(300, np.float32), taps)
    np.testing.assert_allclose(got.features(CONTRACT), expected.features.numpy(), atol=2e-3)
    np.testing.assert_allclose(got.neighbourhood(CONTRACT), expected.neighbourhood.numpy(), atol=2e-3)
    for level, rows in expected.coarse.items():
        np.testing.assert_allclose(got.coarse(CONTRACT)[level], rows.numpy(), atol=3e-3)


def test_half_lies_where_the_organ_ends_or_is_uncertain_and_weights_stand_for_all_voxels() -> None:
    limits = np.array([0.0, -0.85], np.float32)
    scanned = np.ones(WINDOW, dtype=bool)
    index, weight = draw(told_by(blobs(), limits), scanned, 400, np.random.default_rng(0))
    assert (np.diff(index) > 0).all()
    radius = 6 - blobs()[0].ravel()[index]
    assert 0.45 < (np.abs(radius - 6) < 1.8).mean() < 0.75
    assert weight.sum() == pytest.approx(scanned.size, rel=1e-5)
    estimates = []
    for seed in range(60):
        index, weight = draw(told_by(blobs(), limits), scanned, 400, np.random.default_rng(seed))
        estimates.append((weight * blobs()[0].ravel()[index]).sum())
    assert np.mean(estimates) == pytest.approx(blobs()[0].sum(dtype=np.float64), rel=0.01)


def test_the_same_study_and_release_give_the_same_voxels_and_another_release_others() -> None:
    one, again, other = sampled(), sampled(), sampled(digest="e")
    for name in ("window", "index", "weight", "taps"):
        assert getattr(one, name).tobytes() == getattr(again, name).tobytes()
    assert not np.array_equal(one.index, other.index)


def test_no_voxel_is_drawn_where_nothing_was_scanned() -> None:
    got = sampled(origin=(-4, 50, 0), shape=(60, 60, 20))
    k, j, i = np.unravel_index(got.index, WINDOW)
    assert k.min() >= 4
    assert j.max() < 10
    assert i.max() < 20
    assert got.weight.sum() == pytest.approx(12 * 10 * 20, rel=1e-5)


@pytest.mark.parametrize("windows", [1, 30, 600])
def test_a_study_keeps_within_its_budget(windows: int) -> None:
    wide = replace(CONTRACT, feature_channels=48, coarse_channels=(48, 96, 192))
    sampler = FeatureSampler(wide, windows, "d")
    assert sampler.voxels >= 10
    assert windows * sampler.voxels * (12 + 2 * tap_channels(wide)) <= BUDGET_BYTES


def test_what_does_not_fit_the_contract_is_an_error() -> None:
    got = sampled()
    got.require(CONTRACT, 1)
    with pytest.raises(ValueError, match="no window has"):
        got.require(CONTRACT, 0)
    with pytest.raises(ValueError, match="do not fit"):
        got.require(replace(CONTRACT, feature_channels=6), 1)
