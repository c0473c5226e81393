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
        if name in self._known:
            result = work()
        else:
            from torch.utils.flop_counter import FlopCounterMode

            with FlopCounterMode(display=False) as counter:
                result = work()
            self._known[name] = counter.get_total_flops()
        self.total += self._known[name]
        return result
