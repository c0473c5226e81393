"""The ladder of tuning on a small network: who judges, what is kept, killed and taken up again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from models.inference.kept_features import KeptFeatures
from models.inference.sampled_features import FeatureSampler
from models.inference.windows import cut, scale_hu, study_origins
from models.network.heads import HeadSpec, build_head, with_taps
from models.network.training.sampling import draw_tiles, gather_tiles
from models.network.tuning import samples
from models.network.tuning.fit import Checkpoints, study_dsc
from models.network.tuning.flops import FlopTally
from models.network.tuning.samples import TuningStudy, extract
from models.network.tuning.tune import _Climb, _Told, level_spec, tune_heads
from models.network.weights import head_from_bytes, head_to_bytes, trunk_from_bytes, trunk_to_bytes
from models.tuning.settings import Doubt, LadderEnd, Level, TuningSettings
from tests.conftest import ROOT
from tests.support.waiting import GUARD_SECONDS

CLIMB = TuningSettings(steps=40, batch_voxels=512, window_voxels=256, learning_rate=4e-2)


@pytest.fixture(autouse=True)
def _one_thread():
    torch.set_num_threads(1)  # on operations as small as these more threads only wait for each other
    yield
    torch.set_num_threads(2)


def study(seed: int, patient: str = "", replayed: bool = False, wrong: bool = False) -> TuningStudy:
    random = np.random.default_rng(seed)
    _, j, i = np.indices((16, 24, 24))
    tube = (j - random.integers(8, 16)) ** 2 + (i - 12) ** 2 < 16
    hu = (-90 + 280 * tube + random.normal(0, 5, tube.shape)).astype(np.int16)
    truth = 255 * (np.roll(tube, 11, axis=2) if wrong else tube).astype(np.uint8)
    return TuningStudy(hu, {"aorta": truth}, patient=patient, replayed=replayed)


def climb(trunk, heads, contract, studies, settings=CLIMB, **more):
    return tune_heads(trunk, heads, studies, ("aorta",), contract, settings, lambda _: None, **more)


@pytest.fixture
def heads():
    return {organ: build_head(HeadSpec(5)).requires_grad_(False).eval() for organ in ("liver", "aorta")}


@pytest.fixture
def studies():
    return [study(n, f"p{n}") for n in range(4)] + [study(n, f"q{n}", replayed=True) for n in (7, 8)]


def test_the_ladder_stops_at_the_first_level_that_meets_the_target(trunk, heads, contract, studies):
    told = TuningSettings(
        **{
            **vars(CLIMB),
            "steps": 100,
            "targets": {"aorta": 0.3},
            "batch_voxels": 4096,
            "highest": Level.BLOCK,
        }
    )
    ladder = climb(trunk, heads, contract, studies, told).ladders["aorta"]
    assert [rung.level for rung in ladder.rungs] == [Level.HEAD, Level.COARSE, Level.NEIGHBOURHOOD]
    assert (ladder.chosen, ladder.end) == (Level.NEIGHBOURHOOD, LadderEnd.TARGET_MET)
    assert [rung.new_dsc < 0.3 for rung in ladder.rungs] == [True, True, False]
    assert None not in (ladder.rungs[0].new_dsc, ladder.rungs[0].old_dsc, ladder.before.old_dsc)
    assert ladder.feature_shift is not None


def test_what_cannot_be_reached_is_climbed_for_and_said(trunk, heads, contract, studies):
    beyond = TuningSettings(**{**vars(CLIMB), "targets": {"aorta": 1.01}})
    result = climb(trunk, heads, contract, studies, beyond, count_flops=True)
    ladder = result.ladders["aorta"]
    assert [rung.level for rung in ladder.rungs] == list(beyond.ladder)
    assert ladder.end in (LadderEnd.HEADS_NOT_ENOUGH, LadderEnd.CLIMB_HIGHER)
    best = max(rung.score for rung in ladder.rungs)
    kept = next(rung for rung in ladder.rungs if rung.level is ladder.chosen)
    assert kept.score >= best - 0.005
    assert kept.score > ladder.before.score
    cost = result.cost
    assert cost.windows_extracted == len(studies) * len(study_origins(studies[0].hu, contract))
    assert cost.extraction_flops > 100 * cost.fit_flops / cost.steps > 0


def test_a_patient_with_several_studies_learns_or_judges(trunk, heads, contract):
    of_one = [study(n, "one") for n in range(3)]
    ladder = climb(trunk, heads, contract, of_one).ladders["aorta"]
    assert (ladder.end, ladder.chosen) == (LadderEnd.NOT_VALIDATED, Level.HEAD)


def test_a_label_that_contradicts_the_others_counts_for_less_and_is_named(trunk, heads, contract):
    told = TuningSettings(**{**vars(CLIMB), "steps": 160, "targets": {"aorta": 0.5}})
    cases = [study(n, f"p{n}") for n in range(7)] + [study(9, "p9", wrong=True)]
    (doubt,) = climb(trunk, heads, contract, cases, told).doubts
    assert (doubt.organ, doubt.study, doubt.code) == ("aorta", 7, "contradicts-the-others")
    assert doubt.measured["dsc"] < 0.3 < doubt.measured["median"]


def test_a_study_in_which_the_organ_is_said_not_to_be_contradicts_nobody(trunk, heads, contract):
    told = TuningSettings(**{**vars(CLIMB), "steps": 160, "targets": {"aorta": 0.5}})
    none = study(9, "p9")
    none = replace(none, truth={"aorta": np.zeros(none.hu.shape, np.uint8)})
    cases = [study(n, f"p{n}") for n in range(7)] + [none]
    assert 7 not in [doubt.study for doubt in climb(trunk, heads, contract, cases, told).doubts]


def test_the_head_that_is_kept_is_fitted_to_the_end_of_the_schedule(trunk, heads, contract, studies):
    told = TuningSettings(**{**vars(CLIMB), "highest": Level.HEAD, "targets": {"aorta": 1.01}})
    kept = climb(trunk, heads, contract, studies, told)
    named = climb(trunk, heads, contract, studies, replace(told, level=Level.HEAD))
    assert kept.ladders["aorta"].rungs[0].steps < told.steps
    assert head_to_bytes(kept.heads["aorta"]) == head_to_bytes(named.heads["aorta"])


def test_a_study_in_doubt_of_a_patient_who_judges_does_not_teach(trunk, heads, contract, studies):
    told = _Told(lambda _: None, 0.0, 1)
    voxels, _ = extract(
        trunk, heads, {"aorta": heads["aorta"].spec}, studies, contract, CLIMB, FlopTally(False)
    )
    of_two = [*studies[:3], replace(studies[3], patient="p0"), *studies[4:]]
    climbing = _Climb(
        "aorta", heads["aorta"], True, voxels["aorta"], of_two, contract, CLIMB, Checkpoints(None),
        FlopTally(False), 1, told,
    )  # fmt: skip
    climbing.doubts = [Doubt("aorta", 3, "contradicts-the-others", {})]
    assert climbing._learning(frozenset({0})) == [1, 2, 4, 5]


def test_a_new_organ_gets_a_head_from_readers_masks_alone(trunk, contract, studies):
    long = TuningSettings(Level.NEIGHBOURHOOD, 120, 1024, 512, 2e-2)
    result = climb(trunk, {}, contract, studies, long)
    ladder = result.ladders["aorta"]
    assert ladder.before.score is None
    assert ladder.rungs[0].train_dsc > 0.7
    assert head_to_bytes(result.heads["aorta"]) == head_to_bytes(
        climb(trunk, {}, contract, studies, long).heads["aorta"]
    )


def test_the_dsc_of_sampled_voxels_is_that_of_all(trunk, heads, contract, studies):
    """Mean over draws against the sums over every voxel."""
    head, few = heads["aorta"], studies[:2]
    spec = {"aorta": head.spec}
    everything = TuningSettings(window_voxels=10**6)
    all_voxels, _ = extract(trunk, heads, spec, few, contract, everything, FlopTally(False))
    assert set(all_voxels["aorta"].weight.tolist()) == {1.0}
    exact = study_dsc(head, all_voxels["aorta"], (0, 1), 0.5, FlopTally(False))
    size = all_voxels["aorta"].truth.double().sum()
    sums, found = [], []
    for seed in range(60):
        drawn, _ = extract(
            trunk, heads, spec, few, contract, TuningSettings(window_voxels=400, seed=seed), FlopTally(False)
        )
        voxels = drawn["aorta"]
        sums.append(float((voxels.weight * voxels.truth).double().sum()))
        found.append(study_dsc(head, voxels, (0, 1), 0.5, FlopTally(False))[0])
    assert np.mean(sums) == pytest.approx(float(size), abs=4 * np.std(sums) / np.sqrt(60) + 1e-6)
    assert np.mean(found) == pytest.approx(exact[0], abs=0.02)


def test_a_private_block_sees_on_tiles_what_it_sees_in_the_window(trunk, heads, contract, output):
    spec = level_spec(Level.BLOCK, heads["aorta"].spec, contract)
    head = with_taps(heads["aorta"], spec)
    assert torch.equal(head(output), heads["aorta"](output)), "it changes nothing at first"
    with torch.no_grad():
        for tensor in head.parameters():
            tensor.add_(0.1 * torch.randn(tensor.shape))
        mask = np.zeros(contract.window_shape, bool)
        mask[4:9, 10:, 10:] = True
        sample = draw_tiles(mask, mask, 10**6, np.random.default_rng(0))
        found = head.on_voxels(gather_tiles(output, spec, sample).tiles(torch.arange(18)))
        exact = head(output)[0, 0].flatten()[torch.from_numpy(sample.index)]
    assert len(found) == mask.size, "every tile of the window is drawn"
    assert torch.allclose(found, exact, atol=1e-4)
    assert head_from_bytes(head_to_bytes(head)).spec == spec


def kept(trunk, heads, contract, of: TuningStudy) -> KeptFeatures:
    """What a segmenter would have kept of a study."""
    places = study_origins(of.hu, contract)
    sampler = FeatureSampler(contract, len(places), "0" * 64)
    global_features = []
    for origin in places:
        window = scale_hu(cut(of.hu, origin, contract.window_shape), contract.hu_window)
        with torch.inference_mode():
            output = trunk(torch.from_numpy(window[None, None]))
            logits = np.stack([heads[organ](output)[0, 0].numpy() for organ in contract.organs])
        coarse = [maps[0].numpy() for maps in output.coarse]
        sampler.add(origin, of.hu.shape, logits, output.features[0].numpy(), coarse)
        global_features.append(output.global_feature[0].numpy())
    found = sampler.result()
    return KeptFeatures(
        np.array(places, np.int32),
        np.stack(global_features),
        found.window,
        found.index,
        found.weight,
        found.taps,
    )


def _warm(of: TuningStudy, features: KeptFeatures, edited: bool) -> TuningStudy:
    mask = np.zeros(of.hu.shape, bool)
    mask[8, 12, 12] = edited
    return TuningStudy(of.hu, of.truth, patient=of.patient, edited={"aorta": mask}, warm=features)


def test_kept_features_serve_and_what_was_edited_is_extracted_again(
    trunk, heads, contract, studies, monkeypatch
):
    monkeypatch.setattr(samples, "FEWEST_KEPT", 50)
    features = [KeptFeatures.from_bytes(kept(trunk, heads, contract, one).to_bytes()) for one in studies[:4]]
    windows = len(study_origins(studies[0].hu, contract))
    level = TuningSettings(Level.NEIGHBOURHOOD, 60, 1024, 512, 2e-2)
    cold = climb(trunk, heads, contract, studies[:4], level)
    warm = climb(
        trunk, heads, contract, [_warm(s, f, False) for s, f in zip(studies, features, strict=False)], level
    )
    again = climb(
        trunk, heads, contract, [_warm(s, f, True) for s, f in zip(studies, features, strict=False)], level
    )
    assert (cold.cost.windows_extracted, cold.cost.windows_warm) == (4 * windows, 0)
    assert (warm.cost.windows_extracted, warm.cost.windows_warm) == (0, 4 * windows)
    assert again.cost.windows_extracted > 0
    assert again.cost.windows_extracted + again.cost.windows_warm == 4 * windows
    reached = [run.ladders["aorta"].rungs[0].train_dsc for run in (cold, warm)]
    assert reached[1] == pytest.approx(reached[0], abs=0.05)


def test_windows_of_an_organ_of_which_few_voxels_were_kept_go_through_the_trunk_again(
    trunk, heads, contract, studies
):
    [study] = [_warm(one, kept(trunk, heads, contract, one), False) for one in studies[:1]]
    inside = study.truth["aorta"].ravel()[study.warm.index] >= 128
    assert 0 < inside.sum() < 100
    specs = {"aorta": heads["aorta"].spec}

    def cost(one: TuningStudy):
        settings = TuningSettings(Level.HEAD, window_voxels=512)
        return extract(trunk, heads, specs, [one], contract, settings, FlopTally(False))[1]

    assert (cost(study).windows_extracted, cost(study).windows_warm) == (1, 0)
    without = {"aorta": np.zeros_like(study.truth["aorta"])}
    assert cost(replace(study, truth=without)).windows_warm == 1, (
        "of an organ that is not there nothing lacks"
    )
    few = np.where(np.isin(np.arange(study.hu.size), study.warm.index[inside]), 255, 0).astype(np.uint8)
    every = {"aorta": few.reshape(study.hu.shape)}
    assert cost(replace(study, truth=every)).windows_warm == 1, "all of a tiny organ is enough"


CHILD = """
import json, os, signal, sys
from pathlib import Path
import torch
from models.contract import ModelContract
from models.network.tuning.tune import tune_heads
from models.network.weights import head_from_bytes, trunk_from_bytes
from tests.unit.models.network.tuning.test_climb import CLIMB, study

torch.set_num_threads(1)
folder, kill_at = Path(sys.argv[1]), int(sys.argv[2])

def report(at):
    if at.step >= kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

contract = ModelContract.from_json(json.loads((folder / "contract.json").read_text()))
heads = {"aorta": head_from_bytes((folder / "head").read_bytes())}
trunk = trunk_from_bytes((folder / "trunk").read_bytes())
studies = [study(n, f"p{n}") for n in range(4)]
tune_heads(trunk, heads, studies, ("aorta",), contract, CLIMB, report, every=1, folder=folder / "run")
"""


def test_a_run_killed_outright_goes_on_and_comes_to_the_same_bytes(trunk, heads, contract, tmp_path):
    (tmp_path / "contract.json").write_text(json.dumps(contract.to_json()))
    (tmp_path / "head").write_bytes(head_to_bytes(heads["aorta"]))
    (tmp_path / "trunk").write_bytes(trunk_to_bytes(trunk))
    trunk, cases = trunk_from_bytes(trunk_to_bytes(trunk)), [study(n, f"p{n}") for n in range(4)]
    whole = climb(trunk, heads, contract, cases, folder=tmp_path / "whole")
    within_the_second_level = CLIMB.steps + 3 * CLIMB.steps // 4
    words = [sys.executable, "-c", CHILD, str(tmp_path), str(within_the_second_level)]
    killed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=GUARD_SECONDS)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-2000:]
    resumed = climb(trunk, heads, contract, cases, folder=tmp_path / "run")
    assert head_to_bytes(resumed.heads["aorta"]) == head_to_bytes(whole.heads["aorta"])
    assert resumed.ladders == whole.ladders
    assert resumed.curve == whole.curve
    assert 0 < resumed.cost.steps < whole.cost.steps


def test_where_nothing_is_gained_the_head_is_left_as_it_is(trunk, heads, contract, studies):
    good = climb(trunk, heads, contract, studies, TuningSettings(Level.NEIGHBOURHOOD, 120, 1024, 512, 2e-2))
    wild = replace(CLIMB, steps=5, learning_rate=1.0, targets={"aorta": 0.05})
    result = climb(trunk, good.heads, contract, studies, wild)
    ladder = result.ladders["aorta"]
    assert (ladder.end, ladder.chosen) == (LadderEnd.NO_GAIN, None)
    assert ladder.rungs[-1].new_dsc < ladder.before.new_dsc
    assert (dict(result.heads), result.curve) == ({}, ())
