"""The rows that the log guards: which tables, what a row is called, and the digest of what it holds.

A column that is NULL is left out of the digest: a column that a later version adds changes none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import JSON, ColumnElement, String, Text, cast, select, type_coerce
from sqlalchemy.orm import Session

from services.records.entries.log import GuardedRow
from services.records.tables import (
    AcceptanceRow,
    AgreementRow,
    CaseRow,
    CorrectionRow,
    ErasedPatientRow,
    FindingRow,
    FirstWriting,
    FrozenSetRow,
    IncumbentRow,
    Instant,
    OpinionRow,
    OrganLedgerRow,
    PatientRow,
    ReleaseRow,
    ResultObjectRow,
    ResultRow,
    Table,
    WithdrawalRow,
)

RowKey = tuple[type[Table], tuple[object, ...]]
"""A row: its table, and the values of its primary key, in the table's order."""

GUARDED: tuple[type[Table], ...] = (
    FirstWriting,
    ResultRow,
    ResultObjectRow,
    FindingRow,
    OpinionRow,
    CorrectionRow,
    OrganLedgerRow,
    AcceptanceRow,
    WithdrawalRow,
    AgreementRow,
    ReleaseRow,
    IncumbentRow,
    PatientRow,
    CaseRow,
    ErasedPatientRow,
    FrozenSetRow,
)
"""Tables whose rows change what is learnt, promoted or shown. The others say how far the work has come."""


def row_name(table: type[Table], key: Iterable[object]) -> str:
    """Return what a row is called in the log: ``organ_ledgers:[12, "liver"]``."""
    return f"{table.__tablename__}:{json.dumps(list(key))}"


def row_digest(values: Mapping[str, object]) -> str:
    """Return the SHA-256 of what a row holds.

    Parameters
    ----------
    values
        By column, as they lie in the database: times and JSON as text.
    """
    held = {name: value for name, value in values.items() if value is not None}
    return hashlib.sha256(json.dumps(held, sort_keys=True).encode()).hexdigest()


def sealed_now(session: Session, changed: Iterable[RowKey]) -> dict[str, str | None]:
    """Return the digests of rows as this transaction leaves them; None of one that is not there."""
    session.flush()
    found: dict[str, str | None] = {}
    for table, key in changed:
        wanted = select(*_as_it_lies(table))
        for column, value in zip(table.__table__.primary_key, key, strict=True):
            wanted = wanted.where(column == value)
        row = session.execute(wanted).mappings().one_or_none()
        found[row_name(table, key)] = None if row is None else row_digest(dict(row))
    return found


def guarded_rows(session: Session) -> Iterator[GuardedRow]:
    """Yield every row that the log guards. The time of a result counts once the result is on record."""
    for table in GUARDED:
        wanted = select(*_as_it_lies(table)).order_by(*table.__table__.primary_key)
        if table is FirstWriting:
            wanted = wanted.where(FirstWriting.key.in_(select(ResultRow.key)))
        for row in session.execute(wanted).mappings():
            key = [row[column.name] for column in table.__table__.primary_key]
            held = dict(row)
            yield GuardedRow(row_name(table, key), table.__tablename__, held, row_digest(held))


def _as_it_lies(table: type[Table]) -> list[ColumnElement[Any]]:
    """Return the columns so that nothing is understood of them: what no program wrote is read too."""
    return [_raw(column).label(column.name) for column in table.__table__.columns]


def _raw(column: ColumnElement[Any]) -> ColumnElement[Any]:
    if isinstance(column.type, JSON):
        return cast(column, Text)
    return type_coerce(column, String) if isinstance(column.type, Instant) else column
