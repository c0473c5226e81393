"""A process that ends in the middle, played in this one."""

from __future__ import annotations


class Killed(BaseException):
    """Stands for a process that ends here: no handler of errors may catch it."""
