"""What a kind of event is made of: a frozen dataclass, the name it has in the log, its payload as JSON."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Annotated, ClassVar, Generic, Self, TypeVar

from models.documents import LEFT_OUT, from_json, to_json

CONCERNS = (
    "arrivals",
    "results",
    "reading",
    "corrections",
    "cases",
    "candidates",
    "gate",
    "serving",
    "operations",
)
"""Modules of this package in which kinds are defined."""


PROOF = "proof"
"""Where the payload of an act says by whom its name was proven; no kind has a field of that name."""


@dataclass(frozen=True)
class Proof:
    """How a name in the log was proven.

    Parameters
    ----------
    subject
        What the issuer knows the person by.
    issuer
        As `models.people.Person`.
    """

    subject: str
    issuer: str


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened; the fields of a kind are its payload.

    A field without a default is in every event of the kind, whichever version of the program wrote it. A
    later field has a default, so that older events stay readable. What a newer program says beside is passed
    over.
    """

    what: ClassVar[str] = ""
    """The name of the kind in the log."""

    @classmethod
    def key(cls, *parts: object) -> str:
        """Return the key under which an event of this kind is on record once only."""
        return ":".join((cls.what, *map(str, parts)))

    def payload(self) -> dict[str, object]:
        """Return what the log keeps, as JSON holds it."""
        return dict(to_json(self))

    @classmethod
    def from_payload(cls, payload: Mapping[str, object]) -> Self:
        """Return the event that a payload tells.

        Raises
        ------
        ValueError
            If it tells none of this kind.
        """
        return from_json(cls, payload)


@dataclass(frozen=True, kw_only=True)
class RowsChanged(Event):
    """What happened changed rows of the records, and the event says what they hold from then on.

    `rows` are SHA-256 by the row's name (`services.records.guarded`), None of a row that was taken out. The
    records fill it in. An event of a version that sealed no rows has None in its place.
    """

    rows: Annotated[Mapping[str, str | None] | None, LEFT_OUT] = None


E_co = TypeVar("E_co", bound=Event, covariant=True)


@dataclass(frozen=True)
class Recorded(Generic[E_co]):
    """An event as it is on record.

    Parameters
    ----------
    number
        Order on record.
    at
        When.
    who
        Name of the person or the flow.
    said
        What happened.
    key
        What is recorded once only; None without.
    digest
        Link of the chain (`services.records.chain`).
    proof
        Of the name; None of a name that was typed, and of a flow's.
    """

    number: int
    at: datetime
    who: str
    said: E_co
    key: str | None = None
    digest: str = ""
    proof: Proof | None = None


@cache
def kinds() -> Mapping[str, type[Event]]:
    """Return every kind by its name in the log."""
    for concern in CONCERNS:
        importlib.import_module(f"services.records.events.{concern}")
    found: dict[str, type[Event]] = {}
    todo = list(Event.__subclasses__())
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if kind.what:
            found[kind.what] = kind
    return found
