from __future__ import annotations

import numpy as np
import pytest

from models.metrics.dsc import Outcome, dsc, outcome

EMPTY = np.zeros((4, 4, 4), dtype=bool)
FULL = ~EMPTY


def test_half_of_one_mask_in_a_mask_twice_as_large():
    half = EMPTY.copy()
    half[:2] = True
    assert dsc(half, FULL) == 2 * 32 / (32 + 64)
    assert dsc(FULL, FULL) == 1.0


def test_an_organ_missing_on_one_side_scores_zero_and_on_both_is_not_scored():
    assert dsc(EMPTY, FULL) == 0.0
    assert dsc(FULL, EMPTY) == 0.0
    assert dsc(EMPTY, EMPTY) is None


@pytest.mark.parametrize(
    ("predicted", "true", "expected"),
    [
        (True, True, Outcome.PRESENT),
        (False, True, Outcome.MISSED),
        (True, False, Outcome.HALLUCINATED),
        (False, False, Outcome.ABSENT),
    ],
)
def test_presence_is_scored_apart(predicted, true, expected):
    assert outcome(predicted, true) is expected


def test_masks_that_are_not_boolean_or_differ_in_shape_are_refused():
    with pytest.raises(ValueError, match="bool"):
        dsc(FULL.astype(np.uint8), FULL)
    with pytest.raises(ValueError, match="one shape"):
        dsc(FULL[:3], FULL)
