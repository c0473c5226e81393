from __future__ import annotations

import numpy as np
import pytest

from models.bounds.proposals import MOST_MARGIN, propose


def drawn(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.beta(40, 4, n)


TRUE_TENTH = float(np.quantile(drawn(np.random.default_rng(0), 10**6), 0.1))


@pytest.mark.parametrize("n", [22, 60])
def test_nine_of_ten_cases_reach_the_target_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    found = [propose(drawn(rng, n)).interval for _ in range(300)]
    slack = 3 * np.sqrt(0.1 * 0.9 / 300)
    assert np.mean([low > TRUE_TENTH for low, _ in found]) <= 0.1 + slack
    assert np.mean([high < TRUE_TENTH for _, high in found]) <= 0.1 + slack


def test_with_22_cases_the_worst_is_the_target():
    values = np.linspace(0.8, 0.95, 22)
    found = propose(values[::-1])
    assert (found.cases, found.dsc_target, found.missing) == (22, 0.8, "")
    assert found.interval[0] == 0.8 < found.interval[1]
    assert found.median == pytest.approx(0.875, abs=1e-3)


def test_with_fewer_nothing_is_proposed_and_what_is_missing_is_said():
    found = propose(np.linspace(0.8, 0.95, 21))
    assert (found.dsc_target, found.gate_margin, found.interval, found.cases) == (None, None, None, 21)
    assert found.missing == "21 cases with independent truth; 22 are the fewest that show anything"


def test_the_margin_is_small_beside_what_differs_from_case_to_case():
    values = drawn(np.random.default_rng(1), 200)
    found = propose(values)
    assert 0.7 * 0.2 * values.std() < found.gate_margin < 0.2 * values.std()
    assert propose(np.random.default_rng(2).random(100)).gate_margin == MOST_MARGIN == 0.02


def test_a_missed_organ_has_no_target_and_cases_that_do_not_differ_no_margin():
    missed = propose([0.0] * 5 + [0.9] * 30)
    assert (missed.dsc_target, missed.gate_margin) == (None, 0.02)
    assert "missed altogether" in missed.missing
    same = propose([0.9] * 30)
    assert (same.dsc_target, same.gate_margin) == (0.9, None)
    assert "hardly differ" in same.missing
    assert propose([1.0] * 30).dsc_target is None


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_what_is_no_dsc_is_refused(value):
    with pytest.raises(ValueError, match="one DSC"):
        propose([value] * 30)
