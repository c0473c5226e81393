"""Whether the rows that teach are what the log says: each by the digest that its last event names.

Versions without seals wrote events that name no digest. Their rows are compared with what those events say,
and counted as older, until `organloop prepare` seals them as it finds them. Of agreements between readers no
such event speaks: where any came, an agreement without a digest counts as older, whoever wrote it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Text, func, literal_column, select
from sqlalchemy.orm import Session

from services.records.chain import AuditFault
from services.records.entries.log import GuardedRow, Line
from services.records.events.cases import CaseAdded, PatientErased, SetFrozen
from services.records.events.corrections import CorrectionRecorded, CorrectionWithdrawn, OrgansAccepted
from services.records.events.event import Event, Recorded, RowsChanged, kinds
from services.records.events.operations import RowsSealed
from services.records.events.results import ResultRecorded
from services.records.events.serving import IncumbentChanged, ReleaseStateChanged
from services.records.guarded import guarded_rows, row_name
from services.records.log import as_line, recorded
from services.records.tables import CaseRow, EventRow, IncumbentRow, PatientRow, ReleaseRow, said
from services.records.transactions import Transactions

Said = tuple[object, ...]
"""What an event of a version without seals says of a row, in the order of `_SAID_OF`."""


@dataclass(frozen=True)
class SealedRows:
    """What a look at the rows found.

    Parameters
    ----------
    faults
        Rows that were changed, are missing, or that no event speaks of.
    older
        Rows without a digest whose events name none; what those say of them is so. Agreements are among
        them although no event speaks of them.
    """

    faults: tuple[AuditFault, ...] = ()
    older: tuple[GuardedRow, ...] = ()


def sealed_rows(events: Sequence[Recorded[Event]], rows: Iterable[GuardedRow]) -> SealedRows:
    """Compare rows with the log.

    Parameters
    ----------
    events
        All of them, in order.
    rows
        Every row that the log guards.
    """
    seals = _replayed(events)
    missing = {name for name, digest in seals.digests.items() if digest is not None}
    faults, older = [], []
    kept = list(rows)
    said_of = _Said(kept)
    for row in kept:
        missing.discard(row.name)
        if row.name in seals.digests:
            if row.digest != seals.digests[row.name]:
                faults.append(AuditFault("row-changed", row.name, "it does not hold what its event says"))
        elif not seals.tolerant or not said_of.agrees(row, seals.said):
            faults.append(AuditFault("row-unknown", row.name, "no event says that it is so"))
        else:
            older.append(row)
    faults += [
        AuditFault("row-missing", name, "an event says that it is on record") for name in sorted(missing)
    ]
    return SealedRows(tuple(faults), tuple(older))


@dataclass
class _Seals:
    """What the log says of rows.

    Parameters
    ----------
    digests
        By the row's name; None of one that was taken out.
    said
        By table, what events without digests say.
    tolerant
        Whether such an event came after the last sealing, so that there may be rows without a seal.
    """

    digests: dict[str, str | None] = field(default_factory=dict)
    said: dict[str, set[Said]] = field(default_factory=lambda: defaultdict(set))
    tolerant: bool = False


def _replayed(events: Iterable[Recorded[Event]]) -> _Seals:
    seals = _Seals()
    for one in events:
        if not isinstance(one.said, RowsChanged):
            continue
        if one.said.rows is not None:
            seals.digests |= one.said.rows
            seals.tolerant &= not isinstance(one.said, RowsSealed)
            continue
        seals.tolerant = True
        _note(one, seals)
    return seals


def _note(one: Recorded[Event], seals: _Seals) -> None:
    """Take in an event of a version without seals; a row that it changed has its digest no longer."""
    said, who = seals.said, one.who
    match one.said:
        case ResultRecorded() as event:
            said["first_writings"].add((event.result,))
            said["results"].add((event.result, event.study_uid, event.release))
            said["result_objects"] |= {(uid, event.result, kind) for kind, uid in event.objects.items()}
        case CorrectionRecorded() as event:
            one_version = (event.sop_instance_uid, event.version, event.study_uid, event.status, who)
            said["corrections"].add((*one_version, event.questions, tuple(sorted(event.edited))))
        case CorrectionWithdrawn() as event:
            said["withdrawals"].add((event.sop_instance_uid, who, event.reason))
        case OrgansAccepted() as event:
            shown = (event.study_uid, event.series_uid, event.release)
            said["acceptances"] |= {(*shown, organ, who) for organ in event.organs}
        case CaseAdded() as event:
            said["patients"].add((event.patient, event.purpose))
            said["cases"].add((event.case_id, event.purpose, event.patient, event.origin, event.digest))
        case PatientErased() as event:
            said["erased_patients"].add((event.patient, who, event.reason))
            seals.digests |= {row_name(CaseRow, [case.case_id]): None for case in event.cases}
            seals.digests[row_name(PatientRow, [event.patient])] = None
        case SetFrozen() as event:
            said["frozen_sets"].add((event.purpose, event.version, event.digest))
        case ReleaseStateChanged() as event:
            said["releases"] = {known for known in said["releases"] if known[0] != event.release}
            said["releases"].add((event.release, event.digest, event.state))
            seals.digests.pop(row_name(ReleaseRow, [event.release]), None)
        case IncumbentChanged() as event:
            said["incumbent"] = {(event.after, who, event.reason)}
            seals.digests.pop(row_name(IncumbentRow, [1]), None)


_SAID_OF: Mapping[str, tuple[str, ...]] = {
    "first_writings": ("key",),
    "results": ("key", "study_uid", "release"),
    "result_objects": ("sop_instance_uid", "result_key", "kind"),
    "withdrawals": ("sop_instance_uid", "reader", "reason"),
    "acceptances": ("study_uid", "series_uid", "release", "organ", "reader"),
    "patients": ("patient", "purpose"),
    "cases": ("case_id", "purpose", "patient", "origin", "digest"),
    "erased_patients": ("patient", "who", "reason"),
    "frozen_sets": ("purpose", "version", "digest"),
    "releases": ("number", "digest", "state"),
    "incumbent": ("release", "approver", "reason"),
}
"""Columns of which events of versions without seals speak. Of `agreements` none did."""


class _Said:
    """What older events say of rows, asked row by row."""

    def __init__(self, rows: Sequence[GuardedRow]) -> None:
        self._edited: dict[object, list[str]] = defaultdict(list)
        self._corrections = {row.values["id"]: row for row in rows if row.table == "corrections"}
        for row in rows:
            if row.table == "organ_ledgers" and row.values["state"] == "edited":
                self._edited[row.values["correction_id"]].append(str(row.values["organ"]))

    def agrees(self, row: GuardedRow, said: Mapping[str, set[Said]]) -> bool:
        """Tell whether an event without digests speaks of a row, and says nothing else of it."""
        if row.table == "agreements":
            return True
        if row.table == "organ_ledgers":
            correction = self._corrections.get(row.values["correction_id"])
            return correction is not None and self._version(correction) in said["corrections"]
        if row.table == "corrections":
            return self._version(row) in said["corrections"]
        return tuple(row.values[name] for name in _SAID_OF[row.table]) in said[row.table]

    def _version(self, row: GuardedRow) -> Said:
        names = ("sop_instance_uid", "version", "study_uid", "status")
        reader = row.values["reader"] or "unknown"
        edited = tuple(sorted(self._edited[row.values["id"]]))
        return (*(row.values[name] for name in names), reader, _length(row.values["questions"]), edited)


def _length(text: object) -> int | None:
    try:
        return len(json.loads(str(text)))
    except (ValueError, TypeError):
        return None


class SqlSeals(Transactions):
    """The rows that the log guards, and sealing what older versions wrote."""

    def guarded_rows(self) -> tuple[GuardedRow, ...]:
        """Return every row that the log guards, as it lies."""
        with self._transaction() as session:
            return tuple(guarded_rows(session))

    def seal_rows(self, who: str) -> int:
        """Seal the rows of older versions as they are; return how many were. What is a fault stays one."""
        names = [name for name, kind in kinds().items() if issubclass(kind, RowsChanged)]
        with self._transaction() as session:
            if not _any_older(session, names):
                return 0
            wanted = select(EventRow).where(EventRow.what.in_(names)).order_by(EventRow.number)
            events = _known(as_line(row) for row in session.scalars(wanted))
            older = sealed_rows(events, guarded_rows(session)).older
            if older:
                rows = {row.name: row.digest for row in older}
                self._add_event(session, RowsSealed(rows=rows), who)
            return len(older)


def _any_older(session: Session, names: Sequence[str]) -> bool:
    """Tell whether an event without digests came after the last sealing; else there is nothing to seal."""
    digests = literal_column(said("rows"), Text)
    sealing = select(func.max(EventRow.number)).where(EventRow.what == RowsSealed.what, digests.is_not(None))
    since = func.coalesce(sealing.scalar_subquery(), 0)
    older = select(EventRow.number).where(
        EventRow.number > since, EventRow.what.in_(names), digests.is_(None)
    )
    return session.scalars(older.limit(1)).first() is not None


def _known(lines: Iterable[Line]) -> list[Recorded[Event]]:
    found: Iterable[Recorded[Event] | None] = map(recorded, lines)
    return [one for one in found if one is not None]
