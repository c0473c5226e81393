"""The log as people look through it, as flows and pages see it.

A part of `services.records.port`; what holds of all its methods holds here.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

from services.records.entries.log import Line, Sought


class Searching(Protocol):
    """Lines of the log, the newest first."""

    def sought(self, sought: Sought, *, before: int | None = None, at_most: int = 100) -> tuple[Line, ...]:
        """Return the lines that are wanted, the newest first.

        Parameters
        ----------
        sought
            Which.
        before
            Only those that are older than the line of this number; None begins with the newest.
        at_most
            So many.
        """

    def line(self, number: int) -> Line | None:
        """Return the line of that number; None if there is none."""

    def digests(self, numbers: Collection[int]) -> Mapping[int, str]:
        """Return the digests that lines bear, by number; those that are not there are left out."""

    def names_in_log(self) -> tuple[str, ...]:
        """Return the names under which anything is on record, sorted."""

    def kinds_since(self, after: int) -> frozenset[str]:
        """Return which kinds of events came behind a line."""
