"""What keeps a site running: nights that people start and stop, backups, runs that died, rows sealed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from services.records.events.event import Event, RowsChanged


@dataclass(frozen=True, kw_only=True)
class BackupTaken(Event):
    """A backup is whole; when it was begun, ISO 8601."""

    what: ClassVar[str] = "backup-taken"

    taken_at: str
    files: int
    copied_bytes: int


@dataclass(frozen=True, kw_only=True)
class BackupFailed(Event):
    """A backup could not be taken."""

    what: ClassVar[str] = "backup-failed"

    why: str


@dataclass(frozen=True, kw_only=True)
class RunFreed(Event):
    """A run that nobody worked on was ended at Prefect; `was` is its state, in lower case."""

    what: ClassVar[str] = "run-freed"

    run: str
    was: str
    pool: str
    why: str


@dataclass(frozen=True, kw_only=True)
class PlaceFreed(Event):
    """Places under a deployment's limit were given back that no run held."""

    what: ClassVar[str] = "place-freed"

    deployment: str
    places: int


@dataclass(frozen=True, kw_only=True)
class RowsSealed(RowsChanged):
    """Rows that a version without seals had written were sealed as they were found."""

    what: ClassVar[str] = "rows-sealed"


@dataclass(frozen=True, kw_only=True)
class NightStarted(Event):
    """Somebody had a night's tuning begin before its time; `run` is its identifier at Prefect."""

    what: ClassVar[str] = "night-started"

    run: str


@dataclass(frozen=True, kw_only=True)
class NightStopped(Event):
    """Somebody ended a night's tuning, or what it had begun; `was` is its state at Prefect, in lower case."""

    what: ClassVar[str] = "night-stopped"

    run: str
    was: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class NightEnded(Event):
    """A night came to its end; `release` is the candidate that came of it, None where none did."""

    what: ClassVar[str] = "night-ended"

    release: int | None = None


@dataclass(frozen=True, kw_only=True)
class PeopleTold(Event):
    """People were told of these matters, by key; `over` are those told before that have ended since."""

    what: ClassVar[str] = "people-told"

    matters: tuple[str, ...]
    over: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PeopleNotTold(Event):
    """People could not be told of anything since; why."""

    what: ClassVar[str] = "people-not-told"

    why: str
