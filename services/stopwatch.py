"""How long each step took."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Stopwatch:
    """Seconds by step, in the order the steps were taken.

    Parameters
    ----------
    clock
        Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time one step; the same name again adds to it."""
        start = self._clock()
        yield
        self._seconds[name] = self._seconds.get(name, 0.0) + self._clock() - start

    def seconds(self) -> dict[str, float]:
        """Return seconds by step, rounded to a millisecond, and their sum as ``total``."""
        steps = {name: round(value, 3) for name, value in self._seconds.items()}
        return steps | {"total": round(sum(self._seconds.values()), 3)}


def time_left(elapsed_seconds: float, done: int, total: int) -> str:
    """Return how long the rest will take if it goes on like this, e.g. ``about 2 min left``.

    Parameters
    ----------
    elapsed_seconds
        Spent on what is done.
    done, total
        Counts, `done` at least 1.
    """
    seconds = elapsed_seconds / done * (total - done)
    return f"about {seconds / 60:.0f} min left" if seconds >= 90 else f"about {seconds:.0f} s left"
