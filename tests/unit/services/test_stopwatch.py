from __future__ import annotations

import pytest

from services.stopwatch import time_left


@pytest.mark.parametrize(
    ("elapsed", "done", "left"),
    [(3.0, 1, "about 27 s left"), (90.0, 3, "about 4 min left"), (5.0, 10, "about 0 s left")],
)
def test_the_time_left_goes_on_as_it_went(elapsed: float, done: int, left: str) -> None:
    assert time_left(elapsed, done, 10) == left
