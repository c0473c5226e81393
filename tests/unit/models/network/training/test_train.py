from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from models.errors import StorageFailed, TrainingDiverged
from models.geometry import Geometry
from models.network.heads import with_taps
from models.network.training.state import Keep, read_state, whole_state, write_state
from models.network.training.train import (
    TrainingCase,
    TrainingSettings,
    cut_truth,
    logits,
    train,
    training_case,
    warm_cosine,
)
from models.network.tuning.fit import Checkpoints
from models.network.weights import head_to_bytes, trunk_to_bytes
from models.volume import Volume


def _case(seed: int) -> TrainingCase:
    """A bright ball (liver) and a brighter tube (aorta) in fat."""
    random = np.random.default_rng(seed)
    k, j, i = np.indices((20, 28, 28))
    liver = (k - 10) ** 2 + (j - 14) ** 2 + (i - random.integers(8, 12)) ** 2 < 36
    aorta = (j - 20) ** 2 + (i - 20) ** 2 < 9
    hu = np.full(liver.shape, -90.0) + 150 * liver + 280 * aorta + random.normal(0, 5, liver.shape)
    truth = 255 * np.stack([liver, aorta]).astype(np.uint8)
    return TrainingCase(hu.astype(np.int16), truth, (slice(0, 20), slice(0, 28), slice(0, 28)))


SETTINGS = TrainingSettings(steps=40, learning_rate=1e-2, warm_up=5)


def test_training_learns_and_reports_how_long_is_left(contract):
    reports = []
    train([_case(0), _case(1)], contract, SETTINGS, reports.append, every=10)
    assert [r.step for r in reports] == [10, 20, 30, 40]
    assert reports[-1].loss < 0.8 * reports[0].loss
    assert reports[-1].seconds_left == 0
    assert reports[0].seconds_left > 0


def test_the_same_seed_trains_the_same_bits(contract):
    few = TrainingSettings(steps=4, warm_up=1)
    runs = [train([_case(0)], contract, few, lambda _: None) for _ in range(2)]
    assert trunk_to_bytes(runs[0][0]) == trunk_to_bytes(runs[1][0])
    other = train([_case(0)], contract, TrainingSettings(steps=4, warm_up=1, seed=1), lambda _: None)
    assert trunk_to_bytes(other[0]) != trunk_to_bytes(runs[0][0])


def test_a_training_that_runs_away_is_ended_and_keeps_nothing(contract, tmp_path):
    away = TrainingSettings(steps=20, learning_rate=1e30, warm_up=0)
    keep = Keep(tmp_path / "run" / "state", every=20)
    with pytest.raises(TrainingDiverged, match="no finite number"):
        train([_case(0)], contract, away, lambda _: None, keep=keep)
    assert not keep.path.exists()


def test_truth_is_the_covered_fraction_of_a_model_voxel(contract):
    affine = np.zeros((4, 4))
    affine[0, 2] = affine[1, 1] = affine[2, 0] = 2.0
    affine[3, 3] = 1
    geometry = Geometry((40, 40, 40), affine)
    hu = np.full(geometry.shape, 40, dtype=np.int16)
    mask = np.zeros(geometry.shape, bool)
    mask[10:30, 10:30, 10:30] = True
    case = training_case(Volume(hu, geometry), {"liver": mask, "aorta": ~mask & False}, contract)
    assert case.hu.shape == case.truth.shape[1:]
    assert case.truth[0].sum() / 255 * 64 == pytest.approx(mask.sum() * 8, rel=0.01)
    assert case.truth[1].max() == 0
    middle = case.truth[0][10]
    assert middle.max() == 255
    assert ((middle > 0) & (middle < 255)).any()


def test_truth_outside_the_volume_is_nothing():
    truth = np.ones((2, 4, 4, 4), np.uint8)
    window = cut_truth(truth, (-2, 0, 2), (4, 4, 4)).reshape(4, 4, 4, 2)
    assert window[2:, :, :2].all()
    assert window.sum() == 2 * 2 * 4 * 2


def test_the_rate_warms_up_and_falls_to_nothing():
    shares = [warm_cosine(step, 10, 100) for step in range(101)]
    assert shares[0] == 0.1
    assert shares[9] == shares[10] == 1
    assert shares[100] == 0
    assert all(a >= b for a, b in pairwise(shares[10:]))


def _cut_after(step: int):
    def report(at):
        if at.step == step:
            raise KeyboardInterrupt

    return report


def test_a_run_that_was_killed_ends_with_the_same_bits(contract, tmp_path):
    cases, how = [_case(0), _case(1), _case(2)], TrainingSettings(steps=8, warm_up=1)
    whole = train(cases, contract, how, lambda _: None)
    keep = Keep(tmp_path / "run", every=3)
    for _ in range(2):  # killed at step 4, taken up at 3, killed again
        with pytest.raises(KeyboardInterrupt):
            train(cases, contract, how, _cut_after(4), every=1, keep=keep)
    steps = []
    resumed = train(cases, contract, how, lambda at: steps.append(at.step), every=1, keep=keep)
    assert steps == [4, 5, 6, 7, 8]
    assert trunk_to_bytes(resumed[0]) == trunk_to_bytes(whole[0])
    assert [head_to_bytes(h) for h in resumed[1].values()] == [head_to_bytes(h) for h in whole[1].values()]


def test_a_damaged_state_is_said_and_not_passed_over(contract, tmp_path):
    keep = Keep(tmp_path / "run")
    keep.path.write_bytes(b"no state")
    with pytest.raises(StorageFailed, match="delete"):
        train([_case(0)], contract, TrainingSettings(steps=1), lambda _: None, keep=keep)


def test_a_state_in_which_a_bit_has_flipped_is_no_state(tmp_path):
    keep, state = Keep(tmp_path / "run"), {"step": 3, "weights": {"a": torch.arange(400.0)}}
    write_state(keep, state)
    content = keep.path.read_bytes()
    at = content.index(state["weights"]["a"].numpy().tobytes())
    keep.path.write_bytes(content[: at + 99] + bytes([content[at + 99] ^ 1]) + content[at + 100 :])
    assert not torch.equal(torch.load(keep.path)["weights"]["a"], state["weights"]["a"]), "torch is content"
    with pytest.raises(StorageFailed, match="delete"):
        read_state(keep)
    (tmp_path / "fit.pt").write_bytes(keep.path.read_bytes())
    assert Checkpoints(tmp_path).load("fit") is None
    for end in range(0, len(content), 97):
        assert whole_state(content[:end]) is None
    assert whole_state(content)["step"] == 3


def test_an_organ_that_is_not_labelled_teaches_nothing(contract):
    whole = _case(0)
    weight = np.full_like(whole.truth, 255)
    weight[1] = 0
    how = TrainingSettings(steps=3, warm_up=1, weight_decay=0.0)
    untruth = whole.truth.copy()
    untruth[1] = 255 - untruth[1]
    runs = [
        train([TrainingCase(whole.hu, truth, whole.body, weight)], contract, how, lambda _: None)
        for truth in (whole.truth, untruth)
    ]
    assert trunk_to_bytes(runs[0][0]) == trunk_to_bytes(runs[1][0])
    told = train([whole], contract, how, lambda _: None)
    assert trunk_to_bytes(told[0]) != trunk_to_bytes(runs[0][0])


def test_a_run_goes_on_from_given_weights_and_leaves_them_as_they_are(contract):
    few = TrainingSettings(steps=2, warm_up=1)
    trunk, heads = train([_case(0)], contract, few, lambda _: None)
    richer = {organ: with_taps(head, replace(head.spec, neighbourhood=True)) for organ, head in heads.items()}
    before = trunk_to_bytes(trunk)
    on, on_heads = train([_case(0)], contract, few, lambda _: None, start=(trunk, richer))
    assert trunk_to_bytes(trunk) == before != trunk_to_bytes(on)
    assert all(head.spec.neighbourhood for head in on_heads.values())
    still, _ = train(
        [_case(0)],
        contract,
        TrainingSettings(steps=1, warm_up=0, learning_rate=0.0),
        lambda _: None,
        start=(trunk, richer),
    )
    assert trunk_to_bytes(still) == before


def test_heads_with_more_taps_and_heads_without_answer_alike(contract):
    torch.manual_seed(0)
    trunk, heads = train([_case(0)], contract, TrainingSettings(steps=1), lambda _: None)
    output = trunk(torch.rand(1, 1, *contract.window_shape))
    plain = list(heads.values())
    richer = [with_taps(head, replace(head.spec, neighbourhood=True)) for head in plain]
    torch.testing.assert_close(logits(plain, output), logits(richer, output), atol=1e-5, rtol=1e-5)


@pytest.fixture(autouse=True)
def _two_threads():
    torch.set_num_threads(2)
