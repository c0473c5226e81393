"""What readers were asked about, and what they said without drawing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from services.records.events.event import RowsChanged


@dataclass(frozen=True, kw_only=True)
class StudyListed(RowsChanged):
    """A result was put on the readers' worklist; `findings` are its organs."""

    what: ClassVar[str] = "study-listed"

    result: str
    study_uid: str
    release: int
    findings: int


@dataclass(frozen=True, kw_only=True)
class OpinionGiven(RowsChanged):
    """A reader said something of organs in one act, from `seen`: pictures, or the study in a viewer."""

    what: ClassVar[str] = "opinion-given"

    result: str
    study_uid: str
    release: int
    organs: tuple[str, ...]
    opinion: str
    why: str
    seen: str


@dataclass(frozen=True, kw_only=True)
class ReadingForgotten(RowsChanged):
    """What was said of a patient, and what readers said of it, was taken out; how many rows of each."""

    what: ClassVar[str] = "reading-forgotten"

    patient: str
    findings: int
    opinions: int
