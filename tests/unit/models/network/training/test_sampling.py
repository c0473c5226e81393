from __future__ import annotations

import numpy as np
import pytest
import torch

from models.network.training.sampling import draw_sample
from models.network.tuning.samples import OrganVoxels
from models.network.voxel_taps import VoxelTaps


def _ball(shape, centre, radius):
    grid = np.indices(shape)
    return sum((g - c) ** 2 for g, c in zip(grid, centre, strict=True)) < radius**2


SHAPE = (24, 32, 32)
PREDICTION, LABEL = _ball(SHAPE, (12, 16, 16), 6), _ball(SHAPE, (12, 16, 19), 6)


def test_weights_add_up_to_every_voxel():
    sample = draw_sample(PREDICTION, LABEL, 1000, np.random.default_rng(0))
    assert sample.weight.sum() == pytest.approx(np.prod(SHAPE), rel=1e-5)
    assert len(np.unique(sample.index)) == len(sample.index)


def test_weighted_sums_are_unbiased():
    draws = []
    for seed in range(200):
        sample = draw_sample(PREDICTION, LABEL, 400, np.random.default_rng(seed))
        draws.append(sample.weight[LABEL.ravel()[sample.index]].sum())
    assert np.mean(draws) == pytest.approx(LABEL.sum(), rel=0.02)


def test_half_is_drawn_where_prediction_or_label_ends():
    from scipy import ndimage

    sample = draw_sample(PREDICTION, LABEL, 1000, np.random.default_rng(0))
    band = np.zeros(SHAPE, bool)
    for mask in (PREDICTION, LABEL):
        band |= ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)
    assert band.ravel()[sample.index].sum() == 500


def test_an_organ_that_is_nowhere_is_sampled_as_background():
    empty = np.zeros(SHAPE, bool)
    sample = draw_sample(empty, empty, 600, np.random.default_rng(0))
    assert len(sample.index) == 100
    assert sample.weight.sum() == pytest.approx(empty.size)


def test_voxels_drawn_together_are_of_one_window_and_each_as_likely_as_any_other():
    window = torch.tensor([0] * 3 + [1] * 9 + [2] * 4)
    taps = VoxelTaps(torch.zeros(16, 1), None, {}, torch.zeros(3, 2), window)
    study = torch.tensor([0] * 3 + [1] * 13)
    voxels = OrganVoxels(taps, torch.zeros(16), torch.ones(16), study)
    random = torch.Generator().manual_seed(0)
    units = voxels.units([0, 1])
    drawn = torch.cat([voxels.draw(units, 16, 4, random).view(-1, 4) for _ in range(2000)])
    assert (window[drawn] == window[drawn[:, :1]]).all()
    often = torch.bincount(drawn.flatten(), minlength=16) / drawn.numel()
    assert often.tolist() == pytest.approx([1 / 16] * 16, abs=0.01)
    assert set(voxels.draw(voxels.units([1]), 64, 16, random).tolist()) <= set(range(3, 16))
