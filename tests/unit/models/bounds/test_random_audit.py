from __future__ import annotations

import hashlib

import numpy as np
import pytest
from scipy.stats import binom

from models.bounds.random_audit import coverage, drawn


def pseudonym(n: int) -> str:
    return hashlib.sha256(str(n).encode()).hexdigest()


def test_the_share_is_drawn_and_the_draw_repeats():
    picked = [n for n in range(20_000) if drawn(pseudonym(n), 0.05)]
    assert len(picked) == pytest.approx(1000, abs=100)
    assert picked == [n for n in range(20_000) if drawn(pseudonym(n), 0.05)]
    assert not any(drawn(pseudonym(n), 0.0) for n in range(1000))
    assert all(drawn(pseudonym(n), 1.0) for n in range(1000))


def test_a_greater_share_holds_the_smaller():
    assert all(drawn(pseudonym(n), 0.1) for n in range(5000) if drawn(pseudonym(n), 0.05))


def test_a_bound_is_broken_only_when_shown():
    assert not coverage(0, 0, 0.9).broken
    assert (coverage(0, 0, 0.9).low, coverage(0, 0, 0.9).high) == (0.0, 1.0)
    assert coverage(13, 20, 0.9).broken
    assert not coverage(14, 20, 0.9).broken, "it may be chance"
    assert not coverage(13, 20, 0.9, bounds=9).broken, "in one of nine it may be"
    assert coverage(0, 3, 0.9, bounds=9).broken


def test_the_interval_holds_the_coverage_as_often_as_it_says():
    for n in (10, 30, 100):
        found = [coverage(held, n, 0.9) for held in range(n + 1)]
        assert sum(binom.pmf(one.held, n, 0.9) for one in found if one.high < 0.9) <= 0.05
        assert sum(binom.pmf(one.held, n, 0.9) for one in found if one.low > 0.9) <= 0.05


@pytest.mark.parametrize("coverage_held", [0.9, 0.93])
def test_bounds_that_hold_raise_no_alarm_however_often_they_are_looked_at(coverage_held):
    """Nine bounds, looked at after each of 150 studies: one alarm in twenty sites at most."""
    rng = np.random.default_rng(0)
    broken = [[coverage(held, n, 0.9, 9).broken for held in range(n + 1)] for n in range(151)]
    held = np.cumsum(rng.random((300, 9, 150)) < coverage_held, axis=2)
    ever = [any(broken[n + 1][row[n]] for row in site for n in range(150)) for site in held]
    assert np.mean(ever) <= 0.05


def test_a_bound_that_holds_in_seven_of_ten_is_found_out_within_a_hundred_studies():
    rng = np.random.default_rng(1)
    held = np.sum(rng.random((300, 100)) < 0.7, axis=1)
    assert np.mean([coverage(int(one), 100, 0.9, 9).broken for one in held]) >= 0.9
