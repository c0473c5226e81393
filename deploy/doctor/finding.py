"""What a check found, and running checks so that one that fails hides none of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError

from models.errors import OrganloopError


class State(StrEnum):
    """How a thing is. ``skipped``: not looked at, with the reason; that is no fault."""

    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table.

    Parameters
    ----------
    name
        What was looked at.
    state
        How it is.
    detail
        What was found, in words, without secrets or patient data.
    remedy
        What to do; empty where nothing has to be done.
    measured
        Numbers behind it; the unit is in each key, e.g. ``free_gib``.
    """

    name: str
    state: State
    detail: str
    remedy: str = ""
    measured: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Health:
    """The document of the `doctor` verb: healthy is what has no bad finding."""

    healthy: bool
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Check:
    """Something to look at.

    Parameters
    ----------
    name
        What is looked at; the name of its finding where it fails as a whole.
    look
        Yields what it finds; what is yielded before an error counts.
    remedy
        What to do if it raises one of Organloop's errors.
    """

    name: str
    look: Callable[[], Iterable[Finding]]
    remedy: str


def examine(checks: Iterable[Check], progress: Callable[[str], None]) -> Iterator[Finding]:
    """Yield what all checks find, in their order.

    Parameters
    ----------
    checks
        What to look at.
    progress
        Told the name of each check as it begins.
    """
    for check in checks:
        progress(f"looking at {check.name}")
        try:
            yield from check.look()
        except (OrganloopError, OSError) as error:
            yield Finding(check.name, State.BAD, str(error), check.remedy)
        except SQLAlchemyError as error:  # its own words may hold the address, and that a password
            yield Finding(
                check.name, State.BAD, f"the database failed ({type(error).__name__})", check.remedy
            )
