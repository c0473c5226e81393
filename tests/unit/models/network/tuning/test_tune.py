from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.errors import TrainingDiverged
from models.network.heads import HeadSpec, build_head
from models.network.members import join_members
from models.network.tuning.fit import Checkpoints, fit
from models.network.tuning.flops import FlopTally
from models.network.tuning.samples import TuningStudy, extract
from models.network.tuning.tune import tune_heads
from models.network.weights import head_to_bytes, trunk_to_bytes
from models.tuning.settings import Level, TuningSettings

SETTINGS = TuningSettings(
    Level.NEIGHBOURHOOD, steps=60, batch_voxels=1024, window_voxels=512, learning_rate=2e-2
)


def _study(seed: int, organs=("aorta",)) -> TuningStudy:
    random = np.random.default_rng(seed)
    _, j, i = np.indices((20, 28, 28))
    tube = (j - random.integers(8, 20)) ** 2 + (i - 14) ** 2 < 16
    hu = (-90 + 280 * tube + random.normal(0, 5, tube.shape)).astype(np.int16)
    return TuningStudy(hu, {organ: 255 * tube.astype(np.uint8) for organ in organs})


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # on operations as small as these more threads only wait for each other
    yield
    torch.set_num_threads(2)


@pytest.fixture
def heads():
    return {organ: build_head(HeadSpec(5)).requires_grad_(False).eval() for organ in ("liver", "aorta")}


def _tune(trunk, heads, contract, settings=SETTINGS, organs=("aorta",), studies=None, report=lambda _: None):
    studies = studies or [_study(0), _study(1)]
    return tune_heads(trunk, heads, studies, organs, contract, settings, report)


@pytest.mark.parametrize("level", list(Level))
def test_tuning_learns_at_every_level(trunk, heads, contract, level):
    settings = TuningSettings(level, 60, 1024, 512, 2e-2)
    result = _tune(trunk, heads, contract, settings)
    assert result.ladders["aorta"].chosen is level
    assert result.curve[-1].loss < 0.85 * result.curve[0].loss
    spec = result.heads["aorta"].spec
    assert spec.neighbourhood == (level in (Level.NEIGHBOURHOOD, Level.BLOCK))
    assert bool(spec.block) == (level is Level.BLOCK)
    assert spec.coarse == (() if level is Level.HEAD else ((1, 6), (2, 8), (3, 10)))


def test_a_fit_that_runs_away_is_ended(trunk, heads, contract):
    away = TuningSettings(Level.HEAD, 20, 1024, 512, learning_rate=1e36, warm_up=0, decay=0.0)
    with pytest.raises(TrainingDiverged, match=r"aorta, step \d+: the loss is no finite number"):
        _tune(trunk, heads, contract, away)


@pytest.fixture
def fitted(trunk, heads, contract):
    """Fit the whole head of the aorta to one study; what is said is how."""

    def run(judge=None, pulled=True, **how):
        settings, tally = replace(SETTINGS, **how), FlopTally(False)
        specs = {"aorta": heads["aorta"].spec}
        voxels, _ = extract(trunk, heads, specs, [_study(0)], contract, settings, tally)
        start, kept = heads["aorta"], Checkpoints(None)
        return fit("aorta", "aorta", start, pulled, voxels["aorta"], [0], settings, kept, tally, judge)

    return run


def test_a_fit_ends_where_its_judges_see_no_gain_and_keeps_the_best_look(fitted):
    scores, looks = iter((0.5, 0.7, 0.6, 0.65)), []

    def judge(head):
        looks.append(copy.deepcopy(head))
        return next(scores)

    found = fitted(judge, steps=50, patience=2)
    assert (found.steps, found.taken) == (20, 40)
    assert head_to_bytes(found.head) == head_to_bytes(looks[1])
    assert head_to_bytes(found.head) != head_to_bytes(looks[3])


def test_a_head_is_pulled_back_to_the_incumbents_weights_and_a_new_one_is_not(fitted, heads):
    def moved(**how):
        weights = zip(fitted(**how).head.parameters(), heads["aorta"].parameters(), strict=True)
        return sum(float(((now - before) ** 2).sum()) for now, before in weights)

    free, weakly, strongly = (moved(decay=decay) for decay in (0.0, 2.0, 20.0))
    assert free > 1.2 * weakly > 1.2 * 1.2 * strongly
    assert moved(decay=20.0, pulled=False) == free


def test_nothing_but_the_named_heads_is_touched(trunk, heads, contract):
    before = {organ: head_to_bytes(head) for organ, head in heads.items()}, trunk_to_bytes(trunk)
    result = _tune(trunk, heads, contract)
    assert set(result.heads) == {"aorta"}
    assert ({organ: head_to_bytes(head) for organ, head in heads.items()}, trunk_to_bytes(trunk)) == before
    assert head_to_bytes(result.heads["aorta"]) != before[0]["aorta"]
    assert not any(p.requires_grad for p in result.heads["aorta"].parameters())


def test_a_head_is_tuned_alike_whatever_else_is_tuned(trunk, heads, contract):
    few = TuningSettings(Level.NEIGHBOURHOOD, steps=5, batch_voxels=512, window_voxels=256)
    studies = [_study(0, ("aorta", "liver")), _study(1, ("aorta",))]
    alone = _tune(trunk, heads, contract, few, ("aorta",), studies)
    both = _tune(trunk, heads, contract, few, ("liver", "aorta"), studies)
    assert head_to_bytes(alone.heads["aorta"]) == head_to_bytes(both.heads["aorta"])


def test_without_steps_to_speak_of_the_incumbent_answers(trunk, heads, contract, output):
    still = TuningSettings(
        Level.NEIGHBOURHOOD, steps=1, batch_voxels=512, window_voxels=256, learning_rate=0.0
    )
    result = _tune(trunk, heads, contract, still)
    assert torch.equal(result.heads["aorta"](output), heads["aorta"](output))


def test_progress_counts_every_organs_steps_and_ends_at_no_time_left(trunk, heads, contract):
    reports = []
    few = TuningSettings(Level.NEIGHBOURHOOD, steps=10, batch_voxels=256, window_voxels=128)
    studies = [_study(0, ("aorta", "liver"))]
    _tune(trunk, heads, contract, few, ("liver", "aorta"), studies, reports.append)
    assert [r.step for r in reports] == [10, 20]
    assert reports[-1].steps == 20
    assert reports[-1].seconds_left == 0


def test_an_organ_that_no_study_labels_cannot_be_tuned(trunk, heads, contract):
    with pytest.raises(ValueError, match="liver is labelled in no study"):
        _tune(trunk, heads, contract, organs=("liver",))


def _half_wrong(seed: int, weight: int) -> TuningStudy:
    """A study whose lower half says the opposite, and counts that much."""
    study = _study(seed)
    truth = study.truth["aorta"].copy()
    truth[:10] = 255 - truth[:10]
    counts = np.full_like(truth, 255)
    counts[:10] = weight
    return TuningStudy(study.hu, {"aorta": truth}, {"aorta": counts})


def test_a_voxel_without_weight_teaches_nothing(trunk, heads, contract):
    told = _tune(trunk, heads, contract, studies=[_half_wrong(0, 0), _half_wrong(1, 0)])
    misled = _tune(trunk, heads, contract, studies=[_half_wrong(0, 255), _half_wrong(1, 255)])
    assert told.curve[-1].loss < 0.7 * told.curve[0].loss
    assert misled.curve[-1].loss > 1.5 * told.curve[-1].loss


def test_full_weight_is_no_weight(trunk, heads, contract):
    few = TuningSettings(Level.NEIGHBOURHOOD, steps=5, batch_voxels=512, window_voxels=256)
    weighted = [
        TuningStudy(s.hu, s.truth, {"aorta": np.full_like(s.truth["aorta"], 255)})
        for s in (_study(0), _study(1))
    ]
    one, other = (_tune(trunk, heads, contract, few, studies=studies) for studies in (None, weighted))
    assert head_to_bytes(one.heads["aorta"]) == head_to_bytes(other.heads["aorta"])


def test_members_are_tuned_at_once_each_by_its_own_loss(trunk, heads, contract):
    members = [build_head(heads["aorta"].spec) for _ in range(3)]
    few = TuningSettings(steps=30, batch_voxels=512, window_voxels=256, decay=0.0)
    result = _tune(trunk, {"aorta": join_members(members)}, contract, few)
    assert result.heads["aorta"].spec.members == 3
    assert result.curve[-1].loss < result.curve[0].loss
    moved = result.heads["aorta"].state_dict()["features.weight"]
    start = join_members(members).state_dict()["features.weight"]
    apart = [(one - other).abs().max() for one, other in zip(moved.chunk(3), start.chunk(3), strict=True)]
    assert min(apart) > 0.01


def test_a_head_that_makes_its_weights_from_the_window_learns_and_makes_them_once_a_window(trunk, contract):
    spec = HeadSpec(5, form="text-driven", global_channels=14)
    heads = {"aorta": build_head(spec).requires_grad_(False).eval()}
    studies = [_study(n) for n in range(3)]
    how = TuningSettings(Level.HEAD, 40, 512, 256, 1e-2)
    result = tune_heads(
        trunk, heads, studies, ("aorta",), contract, how, lambda _: None, every=5, count_flops=True
    )
    assert result.curve[-1].loss < 0.8 * result.curve[0].loss
    a_voxel = 3 * 2 * 14 * sum(heads["aorta"].sizes)  # of one voxel's weights, forwards and backwards
    assert result.cost.fit_flops < 40 * 512 * a_voxel / 3
