"""The chain of events: each carries the digest of the one before and of itself.

A changed line no longer has its digest; a dropped, inserted or reordered one breaks a link. Only the end
can be cut off unseen, so an anchor is kept elsewhere: an export, or a promotion's evidence pack.
Source: Haber and Stornetta 1991, J. Cryptology 3:99.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from services.records.entries.log import Line

FIRST = "0" * 64
"""What the first event has in place of a digest before it."""


@dataclass(frozen=True)
class AuditFault:
    """One thing that is not as it was recorded.

    Parameters
    ----------
    code
        `line-changed`, `line-missing`, `line-order`, `truncated`; or what `flows.audit` finds in files.
    what
        Which line or file.
    detail
        One sentence.
    """

    code: str
    what: str
    detail: str


def link(
    number: int,
    at: datetime,
    what: str,
    who: str,
    payload: Mapping[str, object],
    key: str | None,
    previous: str,
) -> str:
    """Return the digest of an event: SHA-256 of all its fields and the digest before it.

    Parameters
    ----------
    number, at, what, who, payload, key
        As `services.records.entries.log.Line`.
    previous
        Digest of the event before; `FIRST` for the first.
    """
    fields = json.loads(json.dumps([number, at.isoformat(), what, who, payload, key, previous]))
    return hashlib.sha256(json.dumps(fields, sort_keys=True, allow_nan=False).encode()).hexdigest()


def digest_of(event: Line) -> str:
    """Return the digest an event should bear, by what it says."""
    return link(event.number, event.at, event.what, event.who, event.payload, event.key, event.previous)


def chain_faults(events: Iterable[Line], behind: tuple[int, str] = (0, FIRST)) -> list[AuditFault]:
    """Return every place where the chain is broken.

    Parameters
    ----------
    events
        All of them behind one, in the order of their numbers.
    behind
        Number and digest of that one; by default the chain begins with its first.
    """
    faults = []
    number, before = behind
    for event in events:
        line = f"event {event.number}"
        if event.number != number + 1:
            code = "line-missing" if event.number > number + 1 else "line-order"
            faults.append(AuditFault(code, line, f"it follows event {number}"))
        elif event.previous != before:
            faults.append(AuditFault("line-order", line, "it was not written after the line before it"))
        if digest_of(event) != event.digest:
            faults.append(AuditFault("line-changed", line, "it does not say what its digest was taken of"))
        before, number = event.digest, event.number
    return faults


def line_fault(event: Line, before: str | None) -> AuditFault | None:
    """Return what is wrong with one line, whatever stands elsewhere; None if nothing is.

    Parameters
    ----------
    event
        The line.
    before
        Digest that the line before it bears; None where there is none.
    """
    line = f"event {event.number}"
    if digest_of(event) != event.digest:
        return AuditFault("line-changed", line, "it does not say what its digest was taken of")
    if event.number > 1 and before is None:
        return AuditFault("line-missing", line, f"event {event.number - 1} is not there")
    if event.previous != (before or FIRST):
        return AuditFault("line-order", line, "it was not written after the line before it")
    return None


def anchor_faults(
    events: Sequence[Line], anchors: Iterable[tuple[int, str]], source: str
) -> list[AuditFault]:
    """Return what an anchor kept elsewhere knows and the chain does not.

    Parameters
    ----------
    events
        The chain.
    anchors
        Numbers and digests, e.g. of the last event when it was exported.
    source
        Where the anchor was kept, for the sentence.
    """
    digests = {event.number: event.digest for event in events}
    last = max(digests, default=0)
    faults = []
    for number, digest in sorted(anchors):
        if number > last:
            detail = f"{source} knows event {number}; the log ends with {last}"
            faults.append(AuditFault("truncated", f"event {number}", detail))
        elif digests.get(number) != digest:
            detail = f"{source} knows event {number} with another digest"
            faults.append(AuditFault("line-changed", f"event {number}", detail))
    return faults


def exported(event: Line) -> str:
    """Return an event as one line of JSON."""
    line = {
        "number": event.number,
        "at": event.at.isoformat(),
        "what": event.what,
        "who": event.who,
        "payload": event.payload,
        "key": event.key,
        "previous": event.previous,
        "digest": event.digest,
    }
    return json.dumps(line, sort_keys=True)


def imported(line: str) -> Line:
    """Return the event of an exported line.

    Raises
    ------
    ValueError
        If the line is none.
    """
    try:
        fields = json.loads(line)
        return Line(**{**fields, "at": datetime.fromisoformat(fields["at"])})
    except (KeyError, TypeError) as error:
        raise ValueError(f"no exported event: {error}") from error
