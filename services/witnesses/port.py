"""What a witness is told, and how that is read again wherever it was kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

EVERY_SECONDS = 300.0
"""Between two tellings: so long a log could be rewritten and no witness know."""

_TOLD = re.compile(r"organloop log head ([0-9]{1,18}) ([0-9a-f]{64})")


@dataclass(frozen=True)
class Head:
    """The last event of the log."""

    number: int
    digest: str


class Witness(Protocol):
    """A place that remembers heads of the log, which the database's owner cannot take back."""

    @property
    def name(self) -> str:
        """What it is called in messages and on record; the same for the same place."""

    def tell(self, head: Head, at: datetime) -> None:
        """Have it remember a head.

        Raises
        ------
        WitnessFailed
            If it could not be told.
        """

    def remembered(self) -> tuple[Head, ...] | None:
        """Return all that it was told, in order; None where it can only be asked by others.

        Raises
        ------
        WitnessFailed
            If it should be there and cannot be read.
        """


def words(head: Head) -> str:
    """Return the words a head is told in, one line of ASCII."""
    return f"organloop log head {head.number} {head.digest}"


def heads_in(text: str) -> Iterator[Head]:
    """Yield the heads in a text, whatever a receiver has written around them."""
    for number, digest in _TOLD.findall(text):
        yield Head(int(number), digest)
