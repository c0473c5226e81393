"""How the steps of a plain function are taken: at once, or each as what a flow shows and tries again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Step(Protocol):
    """Takes one step."""

    def __call__(self, name: str, work: Callable[[], T], again: bool) -> T:
        """Do the work and return what it returns.

        Parameters
        ----------
        name
            What is shown of it.
        work
            What is done; repeating it must do no harm.
        again
            Whether it is tried again where a server or a disk was away.
        """
        ...


def at_once(name: str, work: Callable[[], T], again: bool) -> T:
    """Do the work, here and now."""
    return work()
