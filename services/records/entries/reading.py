"""What waits for a reader, what was said of it, and what readers said."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from models.findings import Figure
from models.judgement.reading_order import NOT_URGENT
from models.people import Person
from models.uids import SeriesUid, StudyUid


class ReadingState(StrEnum):
    """How far a study has come with the readers.

    ``waiting``: something is flagged, or it is of the random audit, and not all of that has an answer.
    ``read``: all of it has. ``clear``: there was nothing to ask.
    """

    WAITING = "waiting"
    READ = "read"
    CLEAR = "clear"


@dataclass(frozen=True)
class OrganSaid:
    """What was said of an organ; fields as `models.findings.OrganFinding`.

    Parameters
    ----------
    segment
        SegmentNumber in our organ SEG; None of an organ that was not asked for.
    figures
        The numbers behind the reasons; empty where an earlier version of the program kept none.
    """

    organ: str
    presence: str
    flag: str | None
    reasons: tuple[str, ...]
    cut_by_field_of_view: bool
    volume_ml: float
    dsc_lower_bound: float | None
    confidence: float | None
    band_ml: float | None
    importance_ml: float | None
    segment: int | None
    figures: tuple[Figure, ...] = ()


@dataclass(frozen=True)
class Listed:
    """A study on the worklist, with the result that its readers are asked about.

    Parameters
    ----------
    study_uid, series_uid
        The CT series.
    result, release
        Key of the result, and who answered.
    seg_series_uid
        Series of our organ SEG.
    page
        Its name on the pages: a keyed hash, no UID.
    patient
        Keyed hash of the patient.
    site
        Where it was scanned; empty if not known.
    rank, doubt_ml
        As `models.judgement.reading_order.Rank`.
    audited
        Whether it was drawn for the random audit.
    came_ms
        When it was listed, milliseconds since 1970; said by the records.
    state
        Said by the records.
    holder, holder_name, held_ms
        Who has it open: issuer and subject, name, and the last sign of life; empty and 0 where nobody has.
    """

    study_uid: StudyUid
    series_uid: SeriesUid
    result: str
    release: int
    seg_series_uid: SeriesUid
    page: str
    patient: str
    site: str
    rank: int
    doubt_ml: float
    audited: bool
    came_ms: int = 0
    state: ReadingState = ReadingState.WAITING
    holder: str = ""
    holder_name: str = ""
    held_ms: int = 0

    @property
    def urgent(self) -> bool:
        """Whether it goes before all that are not."""
        return self.rank < NOT_URGENT

    @property
    def place(self) -> Place:
        """Where it stands in the list."""
        return Place(self.rank, self.doubt_ml, self.came_ms, self.study_uid)


@dataclass(frozen=True)
class Place:
    """A place in the list: what stands behind it is asked for next; fields as `Listed`."""

    rank: int
    doubt_ml: float
    came_ms: int
    study_uid: StudyUid


@dataclass(frozen=True)
class Narrowed:
    """Which studies are wanted; what is empty leaves none out.

    Parameters
    ----------
    flag, organ, reason
        An organ is flagged so; several of them hold for the same organ. Studies of the random audit, whose
        flags are hidden, are left out.
    site
        Where it was scanned.
    called_wrong
        A reader's last word calls an organ wrong, and nobody has drawn it since: to be corrected.
    """

    flag: str = ""
    organ: str = ""
    reason: str = ""
    site: str = ""
    called_wrong: bool = False


@dataclass(frozen=True)
class Given:
    """An opinion on record.

    Parameters
    ----------
    result, study_uid, release
        Of what.
    organ
        Of which organ.
    opinion, why
        As `models.corrections.opinions`; `why` is empty but of ``wrong``.
    seen
        What the reader looked at.
    together
        Of how many organs this was said in one act.
    reader, subject, issuer
        Who, and how the name was proven; both empty of a typed name.
    at
        When.
    """

    result: str
    study_uid: StudyUid
    release: int
    organ: str
    opinion: str
    why: str
    seen: str
    together: int
    reader: str
    subject: str
    issuer: str
    at: datetime


RANDOM_CHECK = "random-check"
"""Kind of a study that was drawn at random, in place of its worst flag."""


@dataclass(frozen=True)
class ReadingTime:
    """How long some reader had a study open; nothing here says who.

    Parameters
    ----------
    site
        Where it was scanned; empty if not known.
    flag
        The worst that was said of an organ, or `RANDOM_CHECK`.
    seconds
        Without the idle time.
    last_ms
        The last sign of life, milliseconds since 1970.
    """

    site: str
    flag: str
    seconds: float
    last_ms: int


def holder_of(person: Person) -> str:
    """Return what a person who holds a study is known by."""
    return f"{person.issuer} {person.subject}"
