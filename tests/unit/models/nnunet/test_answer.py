"""What is served of a CT: masks of the logits, and probabilities on a grid that lies where they do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.inference.segmentation import Segmentation
from models.inference.windows import Prediction
from models.nnunet.answer import answer
from models.nnunet.whole import evaluate
from models.recipe import DIRECTIONS
from tests.support.planned_networks import CASES, CLASSES, Planned, answered

FEATURE = np.array([1, 2], dtype=np.float32)
SOFTMAX = [name for name, case in CASES.items() if case.recipe.rule == "softmax"]


def canonical(case: Planned) -> tuple[float, float, float]:
    along = {DIRECTIONS[letter][0]: side for letter, side in zip(case.recipe.axes, case.plan_mm, strict=True)}
    return along[2], along[1], along[0]


def contract(case: Planned) -> ModelContract:
    organs = tuple(organ for organ in case.recipe.classes if organ is not None)
    return ModelContract(
        organs=organs,
        spacing_mm=canonical(case),
        hu_window=(-1000, 1000),
        window_shape=case.window,
        overlap=0.5,
        thresholds=dict.fromkeys(organs, 0.5),
        feature_channels=1,
        coarse_channels=(),
        global_channels=2,
        recipe=case.recipe,
    )


def predict(window, organs=4, own=lambda logits: logits):
    """Answer with the network's logits, and as every head's own with what is made of them."""
    logits = answered(window)
    return Prediction(own(logits)[CLASSES - organs :], FEATURE, {}, logits)


def asked(case: Planned, tuned=(), own=lambda logits: logits) -> Segmentation:
    hu, ct, _ = case.in_ct()
    organs = len(case.recipe.organs)
    return answer(hu, ct, contract(case), lambda window: predict(window, organs, own), "digest", tuned)


@pytest.mark.parametrize("name", CASES)
def test_masks_are_those_of_the_logits_and_lie_where_the_probabilities_do(name):
    case = CASES[name]
    hu, ct, _ = case.in_ct()
    found = asked(case)
    assert found.drawn is not None
    whole = evaluate(hu, ct, case.recipe, case.plan_mm, case.window, answered).masks()
    assert list(found.drawn.on_ct.values()) == list(whole.values())
    grid = found.drawn.geometry
    axes = np.eye(3)[::-1] * grid.spacing_mm  # k to the head, j posterior, i to the left
    assert np.allclose(grid.affine[:3, :3], axes, atol=1e-6)
    for channel, mask in found.drawn.on_ct.items():
        on_grid = found.drawn.on_grid[channel]
        volumes = mask.voxels * ct.voxel_ml, on_grid.voxels * grid.voxel_ml
        assert volumes[0] == pytest.approx(volumes[1], rel=0.2)
        drawn = on_grid.dense()
        p = found.probability[channel].astype(float)
        assert p.shape == grid.shape
        assert p[drawn].mean() > p[~drawn].mean() + 0.2
    largest = max(found.drawn.on_ct, key=lambda n: found.drawn.on_ct[n].voxels)
    centres = [
        geometry.to_lps(masks[largest].centre())
        for geometry, masks in ((ct, found.drawn.on_ct), (grid, found.drawn.on_grid))
    ]
    assert np.abs(centres[0] - centres[1]).max() < 0.5  # the others are scattered voxels


@pytest.mark.parametrize("name", SOFTMAX)
def test_probabilities_are_those_of_the_softmax_and_no_more_than_one_in_all(name):
    found = asked(CASES[name])
    total = found.probability.astype(np.float32).sum(axis=0)
    assert total.max() <= 1 + 4 / 225
    assert found.disagreement.min() >= 0
    assert 0 < found.disagreement.max() <= 0.5
    assert not found.disagreement[found.probability == 0].any()


def test_one_window_disagrees_with_nobody():
    case = Planned((20, 30, 30), (3, 3, 3))
    found = asked(case)
    assert found.window_origin.tolist() == [[-6, -1, -1]]
    assert not found.disagreement.any()


def test_a_window_has_one_feature_however_often_it_is_mirrored():
    found = asked(CASES["smaller than a window, mirrored"])
    assert found.global_feature.shape == (len(found.window_origin), 2)


@pytest.mark.parametrize("name", ["resampled", "regions", "TotalSegmentator"])
def test_a_head_that_answers_as_the_network_did_changes_nothing(name):
    case = CASES[name]
    plain = asked(case)
    again = asked(case, {"2"})
    assert plain.drawn is not None
    assert again.drawn is not None
    assert again.drawn.on_ct == plain.drawn.on_ct
    assert again.drawn.on_grid == plain.drawn.on_grid
    assert np.allclose(again.probability, plain.probability, atol=3.01 / 225)  # up to 0.01 becomes 0
    assert np.array_equal(again.disagreement, plain.disagreement)


@pytest.mark.parametrize("name", ["resampled", "regions", "TotalSegmentator"])
def test_a_tuned_head_changes_its_own_organ_alone_to_the_bit(name):
    case = CASES[name]
    channel = contract(case).organs.index("2")
    plain = asked(case)
    tuned = asked(case, {"2"}, lambda logits: logits + np.float32(0.7))  # of the others nobody is asked
    assert plain.drawn is not None
    assert tuned.drawn is not None
    for other in range(len(plain.probability)):
        if other != channel:
            assert tuned.drawn.on_ct[other] == plain.drawn.on_ct[other]
            assert np.array_equal(tuned.probability[other], plain.probability[other])
            assert np.array_equal(tuned.disagreement[other], plain.disagreement[other])
    grown, before = tuned.drawn.on_ct[channel], plain.drawn.on_ct[channel]
    assert not (before - grown).any()
    assert grown.voxels > 1.05 * before.voxels


@pytest.mark.parametrize("name", ["resampled", "TotalSegmentator"])
def test_a_tuned_head_that_yields_leaves_every_voxel_that_another_organ_had_at_import(name):
    case = CASES[name]
    yielding = replace(case, asked=case.asked | {"conflicts": "yield"})
    channel = contract(case).organs.index("2")
    plain, *tuned = (
        asked(case),
        *(asked(one, {"2"}, lambda z: z + np.float32(0.7)) for one in (case, yielding)),
    )
    for grid in ("on_ct", "on_grid"):
        before, both, left = (getattr(one.drawn, grid) for one in (plain, *tuned))
        others = [n for n in before if n != channel]
        assert all(left[n] == before[n] for n in others)
        taken = [(both[channel] & before[n]).voxels for n in others]
        assert min(taken) > 0
        assert [(left[channel] & before[n]).voxels for n in others] == [0] * len(others)
        meant = both[channel]
        for n in others:
            meant = meant - before[n]
        assert left[channel] == meant
        assert left[channel].voxels > before[channel].voxels, "it still takes what nobody had"
    assert np.array_equal(tuned[0].probability, tuned[1].probability)
    others = [n for n in range(len(plain.disagreement)) if n != channel]
    assert np.array_equal(tuned[1].disagreement[others], plain.disagreement[others])
    votes = [one.disagreement[channel] for one in tuned]
    assert not np.array_equal(*votes), "a window, too, votes for what it claims"


def test_an_answer_of_another_shape_is_refused():
    case = Planned((20, 30, 30), (3, 3, 3))
    hu, ct, _ = case.in_ct()
    with pytest.raises(InvalidRelease, match="a feature of"):
        answer(hu, ct, contract(case), lambda w: predict(w)._replace(global_feature=FEATURE[:1]))
    with pytest.raises(InvalidRelease, match="no logits of its own"):
        answer(hu, ct, contract(case), lambda w: predict(w)._replace(frozen=None))
    with pytest.raises(InvalidRelease, match="the network answered"):
        answer(hu, ct, contract(case), lambda w: predict(w)._replace(frozen=answered(w)[: CLASSES - 1]))
    with pytest.raises(InvalidRelease, match="no recipe"):
        answer(hu, ct, replace(contract(case), recipe=None), predict)


@pytest.mark.parametrize("name", CASES)
def test_a_volume_on_the_model_grid_is_answered_on_all_of_it(name):
    case = CASES[name]
    hu = np.zeros((30, 34, 38), dtype=np.int16)
    hu[3:-1, 2:, :-4] = np.random.default_rng(1).integers(-900, 900, (26, 32, 34))
    found = answer(hu, None, contract(case), lambda w: predict(w, len(case.recipe.organs)))
    assert found.drawn is not None
    assert found.drawn.geometry.shape == hu.shape
    assert np.allclose(found.drawn.geometry.spacing_mm, canonical(case))
    assert np.allclose(found.drawn.geometry.affine[:3, 3], 0)
    assert list(found.drawn.on_ct.values()) == list(found.drawn.on_grid.values())
    assert not found.probability[:, :3].any()
    assert all(mask.any() for mask in found.drawn.on_ct.values())
