"""Windows and sums: all is covered, and what float16 cannot hold is no answer."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import InvalidRelease
from models.nnunet.windows import blended_logits, starts, weight


@given(window=st.integers(8, 64), more=st.integers(0, 200), step=st.sampled_from([0.3, 0.5, 0.8, 1.0]))
def test_windows_cover_all_begin_and_end_with_it_and_are_no_farther_apart_than_a_step(window, more, step):
    places = starts(window + more, window, step)
    assert places[0] == 0
    assert places[-1] == more
    assert all(0 < b - a <= window * step + 1 for a, b in pairwise(places))


def test_a_weight_peaks_at_the_centre_and_is_nowhere_zero():
    own = weight((48, 16, 20))
    assert own.dtype == np.float16
    assert np.unravel_index(own.argmax(), own.shape) == (24, 8, 10)
    assert own.max() == 10
    assert own.min() > 0


@pytest.mark.parametrize("shape", [(5, 5, 5), (8, 8, 8), (11, 20, 3)])
def test_equal_logits_stay_what_they_are_but_for_the_last_digits_of_the_least_weights(shape):
    def constant(window):
        return np.stack([np.full(window.shape[2:], value, np.float32) for value in (1.5, -2.25)])

    found = blended_logits(np.zeros(shape, np.float32), (8, 8, 8), 0.5, constant, 2)
    assert found.shape == (2, *shape)
    for logit, value in zip(found, (1.5, -2.25), strict=True):
        off = np.abs(logit.astype(np.float32) / value - 1)
        assert off.max() < 0.12  # where a corner's weight has one digit
        assert np.quantile(off, 0.8) < 2**-9


def test_a_volume_smaller_than_a_window_lies_in_its_middle_with_zeros_round_it():
    seen = []

    def network(window):
        seen.append(window.copy())
        return np.zeros((1, 8, 8, 8), np.float32)

    blended_logits(np.ones((3, 8, 8), np.float32), (8, 8, 8), 0.5, network, 1)
    assert len(seen) == 1
    assert seen[0][0, 0, :, 0, 0].tolist() == [0, 0, 1, 1, 1, 0, 0, 0]


@pytest.mark.parametrize(
    "answer",
    [
        np.full((2, 8, 8, 8), np.nan, np.float32),
        np.full((2, 8, 8, 8), 1e6, np.float32),
        np.zeros((3, 8, 8, 8), np.float32),
        np.zeros((2, 8, 8, 4), np.float32),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_an_answer_that_is_none_is_refused(answer):
    with pytest.raises(InvalidRelease):
        blended_logits(np.zeros((8, 8, 8), np.float32), (8, 8, 8), 0.5, lambda _: answer.copy(), 2)
