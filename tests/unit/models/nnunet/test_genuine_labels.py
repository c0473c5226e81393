"""What the genuine program answered of made CTs is what is answered here, voxel for voxel."""

from __future__ import annotations

import numpy as np
import pytest

from models.nnunet.whole import evaluate
from tests.conftest import ROOT
from tests.support.planned_networks import CASES, REGIONS, answered

RECORDED = np.load(ROOT / "tests" / "fixtures" / "nnunet" / "labels.npz")


@pytest.mark.parametrize("name", CASES)
def test_every_label_is_that_of_the_genuine_program(name):
    case = CASES[name]
    assert np.abs(case.in_file().astype(np.float64)).sum() == RECORDED[f"{name}, sum of HU"]
    hu, ct, turn = case.in_ct()
    masks = evaluate(hu, ct, case.recipe, case.plan_mm, case.window, answered).masks()
    painted = np.zeros(ct.shape, dtype=np.uint8)
    for number, mask in masks.items():  # regions are painted in their order, the later over the earlier
        painted[mask.dense()] = number + (case.recipe.rule == "regions")
    assert np.count_nonzero(turn.undo(painted) != RECORDED[name]) == 0
    assert len(masks) == len(REGIONS) - 1 if case.recipe.rule == "regions" else len(masks) == 4


def test_the_recorded_labels_have_every_class():
    assert all(len(np.unique(RECORDED[name])) >= 5 for name in CASES)
