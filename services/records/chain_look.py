"""The chain looked through as it grows: a batch at a time, and each line once a look."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from services.records.chain import FIRST, AuditFault, chain_faults, exported
from services.records.entries.log import Line
from services.records.port import Log

BATCH = 1000
"""Lines read at a time: others wait for the database no longer than that takes."""

SHOWN = 100
"""Faults that are remembered; of further ones only the number."""


@dataclass(frozen=True)
class Looked:
    """How far a look has come.

    Parameters
    ----------
    number, digest
        Of the last line that was looked at; 0 and that of no line before the first.
    faults
        The first `SHOWN` places where the chain is broken.
    more
        How many there are beside.
    """

    number: int = 0
    digest: str = FIRST
    faults: tuple[AuditFault, ...] = ()
    more: int = 0


def look_on(log: Log, looked: Looked) -> Looked:
    """Look through the lines behind those that were looked at, at most `BATCH`; the same where none is.

    Raises
    ------
    StorageFailed
        If the log cannot be read.
    """
    lines = log.lines(looked.number, BATCH)
    if not lines:
        return looked
    found = (*looked.faults, *chain_faults(lines, (looked.number, looked.digest)))
    last = lines[-1]
    return replace(
        looked,
        number=last.number,
        digest=last.digest,
        faults=found[:SHOWN],
        more=looked.more + len(found[SHOWN:]),
    )


def every_line(log: Log) -> Iterator[Line]:
    """Yield every line of the log in order, read a batch at a time.

    Raises
    ------
    StorageFailed
        If the log cannot be read.
    """
    after = 0
    while lines := log.lines(after, BATCH):
        yield from lines
        after = lines[-1].number


def exported_lines(log: Log) -> Iterator[str]:
    """Yield every line of the log as `organloop audit export` writes it; raises as `every_line`."""
    for line in every_line(log):
        yield exported(line) + "\n"
