from __future__ import annotations

import numpy as np
import pytest

from models.judgement.importance import importance_ml

COARSE, FINE = (4.0, 4.0, 4.0), (1.5, 1.5, 1.5)
NOTHING = np.zeros((20, 20, 20), dtype=np.float16)
NOWHERE = NOTHING.astype(bool)


def block(value: float, side: int = 10) -> np.ndarray:
    field = NOTHING.copy()
    field[4 : 4 + side, 4 : 4 + side, 4 : 4 + side] = value
    return field


def test_each_of_the_three_counts_by_itself():
    ml = 1000 * 0.064
    assert importance_ml(block(0.5), NOTHING, NOWHERE, COARSE) == pytest.approx(ml)
    assert importance_ml(NOTHING, block(0.2), NOWHERE, COARSE) == pytest.approx(ml)
    assert importance_ml(NOTHING, NOTHING, block(1) > 0, COARSE) == pytest.approx(ml)


def test_below_the_published_thresholds_nothing_counts():
    assert importance_ml(block(0.99), block(0.09), NOWHERE, COARSE) == 0.0


def test_on_a_fine_grid_what_is_thin_is_opened_away():
    assert importance_ml(block(0.5, side=4), NOTHING, NOWHERE, FINE) == 0.0
    assert importance_ml(block(0.5, side=6), NOTHING, NOWHERE, FINE) == pytest.approx(216 * 1.5**3 / 1000)
    assert importance_ml(block(0.5, side=4), NOTHING, NOWHERE, COARSE) > 0
