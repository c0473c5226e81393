"""Whether the log and the files it speaks of are as they were recorded.

Every line of the log, every file whose digest a line names, and every row that a line has announced. What
else lies in the home, e.g. a log file or a server's cache, is no evidence of anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from dataclasses import replace as replace_fields
from pathlib import Path

from flows.audit.files import (
    Events,
    Evidence,
    decision_faults,
    erased_cases,
    of_kind,
    pack_anchor_faults,
    pack_faults,
    release_faults,
    score_faults,
)
from flows.audit.witnessing import kept_elsewhere, witness_faults
from models.errors import StorageFailed
from services.files import replace
from services.records.chain import AuditFault, anchor_faults, chain_faults, exported, imported
from services.records.chain_look import every_line
from services.records.entries.cases import Case, Purpose, manifest_digest
from services.records.entries.log import Line
from services.records.events.cases import CaseAdded, SetFrozen
from services.records.events.event import Event, Recorded
from services.records.events.serving import IncumbentChanged
from services.records.log import recorded
from services.records.port import Log
from services.records.seals import sealed_rows
from services.witnesses.port import Head


@dataclass(frozen=True)
class Verified:
    """The document of the `audit verify` verb.

    Parameters
    ----------
    events
        How many.
    head
        The last; None without one.
    faults
        What is not as it was recorded.
    older_rows
        Rows whose events, of versions without seals, name no digest. What those events say of them is so;
        what they leave out cannot be compared. Agreements between readers they leave out altogether: any
        without a digest counts here. `organloop prepare` seals them as it finds them.
    """

    events: int
    head: Head | None
    faults: tuple[AuditFault, ...]
    older_rows: int = 0


@dataclass(frozen=True)
class Exported:
    """The document of the `audit export` verb: the file, how many events, the last (None without one)."""

    path: str
    events: int
    head: Head | None


def verify(evidence: Evidence, against: Path | None = None, witnessed: Path | None = None) -> Verified:
    """Look through the log and the files it speaks of.

    Parameters
    ----------
    evidence
        What to look through.
    against
        An earlier `export`, kept elsewhere: only an anchor shows that the end was cut off.
    witnessed
        What a syslog receiver has kept. Witnesses that can be asked are asked by themselves.

    Raises
    ------
    StorageFailed
        If the records or the export cannot be read.
    """
    lines = evidence.records.lines()
    on_record, unread = _read(lines)
    events = [one.said for one in on_record]
    rows = sealed_rows(on_record, evidence.records.guarded_rows())
    looks: tuple[Look, ...] = (
        release_faults,
        decision_faults,
        pack_faults,
        _sets,
        score_faults,
        _cases,
        _served,
    )
    faults = (
        *chain_faults(lines),
        *unread,
        *rows.faults,
        *pack_anchor_faults(lines, evidence),
        *([] if against is None else _against(lines, against)),
        *([] if witnessed is None else kept_elsewhere(lines, witnessed)),
        *witness_faults(lines, evidence.witnesses),
        *(fault for look in looks for fault in _looked(look, events, evidence)),
    )
    return Verified(len(lines), _head(lines), faults, len(rows.older))


def export(log: Log, path: Path) -> Exported:
    """Write every event as a line of JSON, to be kept elsewhere.

    Raises
    ------
    StorageFailed
        If the file cannot be written.
    """
    lines = tuple(every_line(log))
    replace(path, "".join(exported(line) + "\n" for line in lines).encode())
    return Exported(str(path), len(lines), _head(lines))


Look = Callable[[Events, Evidence], Iterable[AuditFault]]


def _looked(look: Look, events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Yield what a look finds; a row that holds what no program writes hides nothing of the others."""
    try:
        yield from look(events, evidence)
    except (ValueError, TypeError, KeyError) as error:
        kind = type(error).__name__
        yield AuditFault("row-unreadable", "rows of the records", f"what they hold is none of ours: {kind}")


def _head(lines: tuple[Line, ...]) -> Head | None:
    return Head(lines[-1].number, lines[-1].digest) if lines else None


def _read(lines: tuple[Line, ...]) -> tuple[list[Recorded[Event]], list[AuditFault]]:
    """Return what the lines say, and which of them tell nothing of their kind."""
    events: list[Recorded[Event]] = []
    faults = []
    for line in lines:
        try:
            one = recorded(line)
        except StorageFailed as error:
            faults.append(AuditFault("line-unreadable", f"event {line.number}", str(error)))
        else:
            events += [] if one is None else [one]
    return events, faults


def _against(lines: tuple[Line, ...], path: Path) -> list[AuditFault]:
    try:
        kept = [imported(line) for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise StorageFailed(f"the export {path.name} cannot be read: {error}") from error
    broken = [
        AuditFault("export-changed", f"{path.name}, {fault.what}", fault.detail)
        for fault in chain_faults(kept)
    ]
    return [*broken, *anchor_faults(lines, [(one.number, one.digest) for one in kept], path.name)]


def _sets(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    for event in of_kind(events, SetFrozen):
        purpose, version = event.purpose, event.version
        frozen = evidence.records.frozen(Purpose(purpose), version)
        if frozen is None or event.digest != frozen.digest:
            yield AuditFault("row-changed", f"{purpose} set, version {version}", "it is not what was frozen")
        elif manifest_digest(frozen.manifest) != frozen.digest:
            yield AuditFault("row-changed", f"{purpose} set, version {version}", "its manifest was changed")

    on_record = {(one.purpose, one.version) for one in of_kind(events, SetFrozen)}
    for purpose in Purpose:
        newest = evidence.records.frozen(purpose)
        if newest is not None and (str(purpose), newest.version) not in on_record:
            what = f"{purpose} set, version {newest.version}"
            yield AuditFault("row-changed", what, "no event says that it was frozen")


def _cases(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Look for every case that was added and whose patient was not taken out, row and files."""
    erased = erased_cases(events)
    added = {event.case_id: event for event in of_kind(events, CaseAdded)}
    rows = {case.case_id: case for purpose in Purpose for case in evidence.records.cases(purpose)}
    for case_id in sorted({*added, *rows}):
        event, case = added.get(case_id), rows.get(case_id)
        what = f"case {case_id[:12]}"
        if case is None:
            if case_id not in erased:
                yield AuditFault("row-missing", what, "it was added and is not on record")
        elif event is None or not _is_same(event, case):
            yield AuditFault("row-changed", what, "it is not what was added")
        elif not evidence.cases.is_whole(case):
            detail = "its files are not what was kept; add it, or ingest its correction, again"
            yield AuditFault("file-changed", what, detail)


def _is_same(event: CaseAdded, case: Case) -> bool:
    """Tell whether a case is what was added; of older cases nobody asked how they were scanned."""
    added, now = replace_fields(event, rows=None).payload(), CaseAdded(**asdict(case)).payload()
    if not event.acquisition:
        added |= {"acquisition": now["acquisition"]}
    return added == now


def _served(events: Events, evidence: Evidence) -> Iterator[AuditFault]:
    """Compare the row that says which release serves with the log."""
    changes = of_kind(events, IncumbentChanged)
    said = changes[-1].after if changes else None
    serves = evidence.records.incumbent()
    if said != serves:
        yield AuditFault("row-changed", "incumbent", f"the log says release {said}, the records {serves}")
