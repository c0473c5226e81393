from __future__ import annotations

import hashlib

import pytest
from scipy.stats import binom

from models.audit import coverage, drawn


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
    assert coverage(15, 20, 0.9).broken
    assert not coverage(16, 20, 0.9).broken, "it may be chance"


def test_a_bound_that_holds_is_called_broken_in_at_most_one_of_twenty():
    for n in (10, 30, 100):
        alarms = sum(binom.pmf(held, n, 0.9) for held in range(n + 1) if coverage(held, n, 0.9).broken)
        assert alarms <= 0.05
