"""The harness of the continual benches: what its figures rest on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.network.trunk import TrunkOutput
from models.organs import ORGANS
from models.phantom.case import make_case
from tests.bench.continual import cohort, published, shared_heads
from tests.bench.continual.cohort import Study
from tests.bench.continual.measuring import flops, mean, means
from tests.bench.continual.methods import training_case
from tests.bench.continual.scale import FULL, KEPT, REVISED, SMALL, once
from tests.bench.continual.tables import lines, published_ratios


def _study() -> Study:
    hu = np.full((8, 10, 12), 40, np.int16)
    empty = np.zeros(hu.shape, bool)
    return Study("B", 1, hu, {organ: empty.copy() for organ in ORGANS})


def test_five_organs_are_kept_and_four_revised():
    assert sorted((*KEPT, *REVISED)) == sorted(ORGANS)
    assert (
        (SMALL.cohort, SMALL.first, SMALL.second) == (FULL.cohort, FULL.first, FULL.second) == (200, 12, 22)
    )


def test_a_site_in_between_has_the_people_of_one_and_the_contrast_of_another():
    a, b, c = (cohort.phantom(site, 3, 10.0) for site in "ABC")
    assert np.array_equal(a.volume.hu, make_case("A", 3, spacing_mm=(10.0,) * 3).volume.hu)
    assert np.array_equal(a.truth["liver"], c.truth["liver"])
    aorta = {name: one.volume.hu[one.truth["aorta"]].mean() for name, one in (("A", a), ("B", b), ("C", c))}
    assert aorta["C"] > aorta["A"] + 50


def test_no_phantom_is_learnt_from_and_measured_on():
    spans = {
        "incumbent": (cohort.INCUMBENT_SEED, FULL.incumbent_cases),
        "cohort": (cohort.COHORT_SEED, FULL.cohort),
        "tests": (cohort.TEST_SEED, max(FULL.tests.values())),
    }
    used = [set(range(first, first + count)) for first, count in spans.values()]
    assert sum(map(len, used)) == len(set.union(*used))


def test_an_organ_without_a_label_has_no_weight():
    study = _study()
    case = training_case(study, {"liver": ~study.truth["liver"]})
    told = [organ for organ, weight in zip(ORGANS, case.weight, strict=True) if weight.any()]
    assert told == ["liver"]
    assert case.truth[ORGANS.index("liver")].min() == 255
    assert training_case(study, study.truth).weight is None


def test_shared_heads_change_together_and_private_ones_do_not():
    torch.manual_seed(0)
    layers = shared_heads.SharedLayers(4, 8, len(ORGANS))
    output = TrunkOutput(torch.rand(1, 4, 3, 3, 3), (), torch.rand(1, 2))
    contract = SMALL.contract("unet")
    heads = shared_heads.heads_of(layers, contract, 8)
    before = {organ: head(output) for organ, head in heads.items()}
    with torch.no_grad():
        layers.layers[0].weight += 0.5  # type: ignore[operator]
    assert all(not torch.equal(heads[organ](output), before[organ]) for organ in ORGANS)
    torch.testing.assert_close(heads["liver"](output), layers(output.features)[:, 4:5])


def test_what_is_kept_is_not_computed_again(tmp_path):
    asked = []
    for _ in range(2):
        found = once(tmp_path / "a" / "b.json", lambda: asked.append(1) or {"organ": [1, None]})
    assert (found, asked) == ({"organ": [1, None]}, [1])


def test_other_sizes_are_kept_elsewhere():
    other = replace(SMALL, spacing_mm=5.0)
    assert other.folder != SMALL.folder


def test_means_leave_out_what_is_neither_there_nor_predicted():
    column = {"dsc": [0.5, None, 1.0]}
    assert mean(column) == 0.75
    assert means({"liver": column, "aorta": {"dsc": [0.25]}}, ("liver", "aorta")) == 0.5


def test_a_multiplication_and_an_addition_are_two_operations():
    a, b = torch.rand(3, 5), torch.rand(5, 7)
    assert flops(lambda: a @ b) == 2 * 3 * 5 * 7


def test_ratios_on_the_published_network_follow_from_their_parts():
    found = {
        "counted": {"training_step": 1000, "extraction": 10},
        "seconds": {"side": 48, "training_step_cpu": 2.0, "extraction_cpu": 0.5},
        "tuning": {
            "head": {"counted": {"fit_flops": 50}, "measured": {"fit_seconds": 8.0}, "cpu": 5.0, "wall": 10.0}
        },
    }
    (row,) = published_ratios(found, steps=100, studies=2)
    windows = 2 * published.WINDOWS_A_STUDY
    assert row["flops_warm"] == 100 * 1000 / 50
    assert row["flops_cold"] == 100 * 1000 / (50 + 10 * windows)
    assert row["seconds_warm"] == 100 * 2.0 * 8 / 4.0
    assert row["seconds_cold"] == pytest.approx(100 * 16 / (4 + windows * 0.5 * 8))
    assert row["seconds_an_organ"] == 1.0


def test_a_table_is_markdown():
    assert lines(("a", "b"), [("1", "2")]) == "| a | b |\n| --- | --- |\n| 1 | 2 |"
