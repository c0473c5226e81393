from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.tuning.ladder import FORGETS, LEVEL_WORTH, choose, meets, split, worth_keeping
from models.tuning.settings import LadderEnd, Level, Rung, TuningSettings

BEFORE = Rung(None, 0, 0.5, 0.5, 0.9)


def _rung(level: Level, new: float | None, old: float | None = 0.9, train: float = 0.7) -> Rung:
    return Rung(level, 100, train, new, old)


def test_the_lowest_level_that_meets_the_target_is_kept():
    rungs = [_rung(Level.HEAD, 0.79), _rung(Level.COARSE, 0.81), _rung(Level.NEIGHBOURHOOD, 0.9)]
    assert choose(rungs, BEFORE, 0.8) == (rungs[1], LadderEnd.TARGET_MET)


@pytest.mark.parametrize(("lost", "met"), [(FORGETS - 0.001, True), (FORGETS + 0.001, False)])
def test_a_level_that_forgets_the_old_site_does_not_meet_the_target(lost, met):
    assert meets(_rung(Level.HEAD, 0.95, 0.9 - lost), BEFORE, 0.8) is met


def test_a_level_worse_than_the_incumbent_does_not_meet_a_target_that_the_incumbent_met():
    before = Rung(None, 0, 0.97, 0.97, 0.9)
    rungs = [_rung(Level.HEAD, 0.91), _rung(Level.COARSE, 0.97 - LEVEL_WORTH)]
    assert choose(rungs, before, 0.9) == (rungs[1], LadderEnd.TARGET_MET)
    assert choose(rungs[:1], before, 0.9) == (rungs[0], LadderEnd.NO_GAIN)


def test_without_the_target_the_lowest_level_about_as_good_as_the_best_is_kept():
    rungs = [_rung(Level.HEAD, 0.6), _rung(Level.COARSE, 0.7), _rung(Level.BLOCK, 0.7 + LEVEL_WORTH)]
    assert choose(rungs, BEFORE, 0.8)[0] is rungs[1]


@pytest.mark.parametrize(
    ("rungs", "end"),
    [
        ([_rung(Level.HEAD, 0.6), _rung(Level.COARSE, 0.61)], LadderEnd.HEADS_NOT_ENOUGH),
        ([_rung(Level.HEAD, 0.6), _rung(Level.COARSE, 0.7)], LadderEnd.CLIMB_HIGHER),
        ([_rung(Level.HEAD, 0.6), _rung(Level.BLOCK, 0.7)], LadderEnd.HEADS_NOT_ENOUGH),
        ([_rung(Level.HEAD, 0.6), _rung(Level.COARSE, 0.61, train=0.85)], LadderEnd.MORE_STUDIES),
        ([_rung(Level.HEAD, 0.85, 0.8), _rung(Level.COARSE, 0.7)], LadderEnd.FORGETS),
        ([_rung(Level.HEAD, 0.85, 0.8), _rung(Level.COARSE, 0.82)], LadderEnd.TARGET_MET),
        ([_rung(Level.HEAD, None, None)], LadderEnd.NOT_VALIDATED),
    ],
)
def test_why_the_target_was_missed_is_told_apart(rungs, end):
    assert choose(rungs, BEFORE, 0.8)[1] is end


def test_of_levels_without_the_target_one_that_keeps_the_old_site_comes_before_one_that_forgets():
    rungs = [_rung(Level.HEAD, 0.6, 0.89), _rung(Level.COARSE, 0.75, 0.87)]
    assert choose(rungs, BEFORE, 0.8)[0] is rungs[0]
    both = [_rung(Level.HEAD, 0.6, 0.8), _rung(Level.COARSE, 0.75, 0.87)]
    assert choose(both, BEFORE, 0.8) == (both[1], LadderEnd.FORGETS)


@pytest.mark.parametrize(("new", "old", "worth"), [(0.51, 0.6, False), (0.75, 0.87, True), (0.5, 0.89, True)])
def test_a_head_that_forgets_more_than_it_gains_does_not_take_the_incumbents_place(new, old, worth):
    assert worth_keeping(_rung(Level.HEAD, new, old), BEFORE) is worth


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=20),
    st.floats(0.01, 0.99),
    st.integers(0, 99),
)
def test_some_patients_judge_and_some_learn_and_none_does_both(patients, share, seed):
    judging = split(patients, share, np.random.default_rng(seed))
    assert judging <= set(patients)
    assert judging != set(patients)
    assert bool(judging) is (len(set(patients)) > 1)
    assert judging == split(patients[::-1], share, np.random.default_rng(seed))


def test_the_ladder_ends_where_it_is_told_to():
    assert TuningSettings().ladder == (Level.HEAD, Level.COARSE, Level.NEIGHBOURHOOD)
    assert TuningSettings(highest=Level.BLOCK).ladder == tuple(Level)
    assert TuningSettings(Level.COARSE).ladder == (Level.COARSE,)


def test_a_head_that_would_be_worse_than_the_incumbents_is_left_as_it_is():
    before = Rung(None, 0, 0.97, 0.97, 0.9)
    worse, better = _rung(Level.HEAD, 0.97 - LEVEL_WORTH - 0.001), _rung(Level.HEAD, 0.98)
    assert not worth_keeping(worse, before)
    assert worth_keeping(better, before)
    assert worth_keeping(_rung(Level.HEAD, None, None), before), "nobody judged: the gate will"
    assert worth_keeping(worse, Rung(None, 0, None, None, None)), "a new organ"
