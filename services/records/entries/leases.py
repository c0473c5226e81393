"""The right to do one thing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Lease:
    """The right to do one thing, until somebody else gets it.

    Parameters
    ----------
    name
        Of the thing, e.g. ``segment:<study UID>``; at most 128 characters.
    holder
        Who has it: names one process or run, and no other.
    token
        Grows each time the lease is given out; a holder with an older one is followed by another.
    """

    name: str
    holder: str
    token: int
