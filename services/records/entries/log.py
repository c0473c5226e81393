"""One line of the log, and one row that lines guard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from models.uids import StudyUid


@dataclass(frozen=True)
class Line:
    """One line of the log, as it lies there; never changed or taken back.

    Parameters
    ----------
    number
        Order on record.
    at
        When.
    what
        Name of the kind of event (`services.records.events`).
    who
        Name of the person or the flow.
    payload
        What else is known, as JSON holds it.
    key
        What is recorded once only; None without.
    previous, digest
        Links of the chain (`services.records.chain`): of the event before, and of this one.
    """

    number: int
    at: datetime
    what: str
    who: str
    payload: Mapping[str, object] = field(default_factory=dict)
    key: str | None = None
    previous: str = ""
    digest: str = ""


@dataclass(frozen=True)
class Sought:
    """Which lines of the log are wanted; what is empty leaves none out.

    Parameters
    ----------
    who
        Name of the person or the flow.
    what
        Name of the kind of event.
    release
        Lines that speak of it, or by which it came to serve or ceased to.
    study
        Lines that speak of it, or of a correction of it.
    first_day, last_day
        As they stand on record, ISO 8601; both included.
    """

    who: str = ""
    what: str = ""
    release: int | None = None
    study: StudyUid | None = None
    first_day: str = ""
    last_day: str = ""


@dataclass(frozen=True)
class WitnessNote:
    """When a witness was told the head of the log last.

    Parameters
    ----------
    name
        Which.
    number
        Of the event that it was told last.
    told_at
        When; None if it never was.
    trouble
        Why it could not be told since; empty where it was.
    """

    name: str
    number: int
    told_at: datetime | None
    trouble: str = ""


@dataclass(frozen=True)
class GuardedRow:
    """A row of the records whose content the log says by a digest.

    Parameters
    ----------
    name
        What the log calls it, e.g. ``organ_ledgers:[12, "liver"]``.
    table
        Its table.
    values
        By column, as they lie in the database: times and JSON as text.
    digest
        SHA-256 of them.
    """

    name: str
    table: str
    values: Mapping[str, object]
    digest: str
