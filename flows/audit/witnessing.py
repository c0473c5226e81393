"""Telling the head of the log to the witnesses, and comparing the log with what they remember."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.errors import StorageFailed, WitnessFailed
from services.records.chain import AuditFault, anchor_faults
from services.records.entries.log import Line
from services.records.port import Records
from services.records.transactions import local_now
from services.witnesses.port import Head, Witness, heads_in

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Told:
    """What became of telling one witness; `trouble` is empty where it was told."""

    witness: str
    trouble: str = ""


@dataclass(frozen=True)
class Witnessed:
    """The document of the `audit witness` verb: the head, None of an empty log, and each witness."""

    head: Head | None
    witnesses: tuple[Told, ...]


def tell_witnesses(witnesses: Iterable[Witness], records: Records, at: datetime | None = None) -> Witnessed:
    """Tell every witness the head of the log, and put on record how that went; one that fails stops none.

    Parameters
    ----------
    witnesses
        Whom to tell.
    records
        Whose log.
    at
        When; None: now.
    """
    known = tuple(witnesses)
    last = records.head() if known else None
    if last is None:
        return Witnessed(None, ())
    head, told = Head(last.number, last.digest), []
    for one in known:
        trouble = ""
        try:
            one.tell(head, at or local_now())
        except WitnessFailed as failed:
            trouble = str(failed)
            _log.warning("%s", failed)
        records.note_witness(one.name, head.number, head.digest, trouble)
        told.append(Told(one.name, trouble))
    return Witnessed(head, tuple(told))


def witness_faults(lines: Sequence[Line], witnesses: Iterable[Witness]) -> list[AuditFault]:
    """Return what the witnesses that can be asked remember and the log does not hold."""
    faults = []
    for one in witnesses:
        try:
            remembered = one.remembered()
        except WitnessFailed as failed:
            faults.append(AuditFault("witness-unreadable", one.name, str(failed)))
        else:
            faults += faults_of(lines, remembered or (), one.name)
    return faults


def kept_elsewhere(lines: Sequence[Line], path: Path) -> list[AuditFault]:
    """Return what a receiver has kept, in a file of any form, and the log does not hold.

    Raises
    ------
    StorageFailed
        If the file cannot be read, or holds no head of a log.
    """
    try:
        heads = tuple(heads_in(path.read_text(errors="replace")))
    except OSError as error:
        raise StorageFailed(f"what was witnessed cannot be read: {error.strerror}") from error
    if not heads:
        raise StorageFailed(f"{path.name} holds no head of a log: is it the receiver's file?")
    return faults_of(lines, heads, path.name)


def faults_of(lines: Sequence[Line], heads: Iterable[Head], source: str) -> list[AuditFault]:
    """Return the first head that the log does not hold, and how many more there are."""
    known = dict.fromkeys((head.number, head.digest) for head in heads)
    faults = anchor_faults(lines, known, source)
    if len(faults) < 2:
        return faults
    first = faults[0]
    more = f"{first.detail}; {len(faults) - 1} more of its heads are not in the log"
    return [AuditFault(first.code, first.what, more)]
