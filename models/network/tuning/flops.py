"""What work costs, by torch's own counter: one multiplication and addition are two FLOP."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class FlopTally:
    """Adds up the FLOP of pieces of work; pieces of one name are counted once and then multiplied.

    Counting makes a piece many times slower, and its first use loads much of torch.

    Parameters
    ----------
    counting
        False: nothing is counted, and the total stays 0.
    """

    def __init__(self, counting: bool = True) -> None:
        self._counting = counting
        self._known: dict[str, int] = {}
        self.total = 0

    def run(self, name: str, work: Callable[[], Result]) -> Result:
        """Do a piece of work and add what it costs.

        Parameters
        ----------
        name
            Stands for the kind of work and its shapes.
        work
            What is done.
        """
        if not self._counting:
            return work()
        result = work() if name in self._known else self._learn(name, work)
        self.total += self._known[name]
        return result

    def count(self, name: str, work: Callable[[], object]) -> None:
        """Add what a piece of work costs that is done elsewhere; here only the first of its name is.

        Parameters
        ----------
        name, work
            As of `run`.
        """
        if self._counting:
            if name not in self._known:
                self._learn(name, work)
            self.total += self._known[name]

    def _learn(self, name: str, work: Callable[[], Result]) -> Result:
        from torch.utils.flop_counter import FlopCounterMode

        with FlopCounterMode(display=False) as counter:
            result = work()
        self._known[name] = counter.get_total_flops()
        return result
