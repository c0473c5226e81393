from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.tuning.replay import choose_replay, take_turns


def test_where_all_fit_all_are_replayed():
    assert choose_replay(np.zeros(3), np.zeros((3, 2)), 3) == (0, 1, 2)


def test_among_like_studies_the_important_ones_and_among_important_ones_the_unlike():
    features = np.array([[0.0], [0.1], [10.0], [0.2]])
    assert choose_replay(np.array([5.0, 9.0, 3.0, 8.0]), features, 2) == (1, 2)
    assert choose_replay(np.array([1.0, 3.0, 2.0]), np.zeros((3, 1)), 2)[0] == 1


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 99))
def test_as_many_as_the_budget_says_are_chosen_once_each_and_always_the_same(studies, budget, seed):
    random = np.random.default_rng(seed)
    worth, features = random.random(studies) * random.integers(0, 2), random.normal(size=(studies, 3))
    chosen = choose_replay(worth, features, budget)
    assert len(set(chosen)) == len(chosen) == min(studies, budget)
    assert set(chosen) <= set(range(studies))
    assert chosen == choose_replay(worth, features, budget)


def test_organs_take_turns_and_a_study_that_teaches_both_is_taken_once():
    assert take_turns([[5, 1, 2, 3], [1, 9]], 4) == (5, 1, 2, 9)
    assert take_turns([[5, 1], [7]], 10) == (5, 7, 1)
    assert take_turns([[], []], 3) == ()


def test_where_all_fit_the_most_important_still_comes_first():
    """Organs take turns: of each not all are taken, though each alone would fit."""
    assert choose_replay(np.array([1.0, 5.0, 9.0]), np.array([[0.0], [1.0], [2.0]]), 3)[0] == 2
    assert choose_replay(np.empty(0), np.empty((0, 2)), 3) == ()
