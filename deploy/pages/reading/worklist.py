"""Which study to open first: those that wait, the worst first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import JSONResponse, Response

from deploy.pages.reading import words
from deploy.pages.reading.roles import Looking, OfNames
from deploy.pages.site import OfSite, Site
from deploy.pages.templates import page
from models.findings import Flag
from models.judgement.reasons import Reason
from models.organs import name_of
from models.people import Person
from services.records.entries.reading import Listed, Narrowed, ReadingState, holder_of
from services.records.reading import HELD_MS
from services.records.settled import FLAGGED

router = APIRouter()

AT_ONCE = 50
"""Rows of a page."""

COUNTED = 500
"""Studies that wait are counted no further."""

FOUND = 50
"""Studies that a search for a name looks at."""


class Kind(StrEnum):
    """Which studies are shown."""

    WAITING = "waiting"
    WRONG = "called-wrong"
    READ = "read"
    CLEAR = "clear"


KINDS = {
    Kind.WAITING: "waiting",
    Kind.WRONG: "called wrong, to be drawn",
    Kind.READ: "read",
    Kind.CLEAR: "nothing against them",
}
STATES = {Kind.WAITING: ReadingState.WAITING, Kind.CLEAR: ReadingState.CLEAR}
"""Of studies of a kind; of the others it is `ReadingState.READ`."""


@dataclass(frozen=True)
class Row:
    """A study as it stands in the list.

    Parameters
    ----------
    page
        Its name on the pages.
    urgent, rejected
        Whether it goes before the others; whether an organ must not be used.
    why
        What is flagged, in words.
    doubt_ml
        Millilitres that may be wrong; None of a random check, of which nothing is told, and where the CT is
        unlike those known.
    came
        When it was listed.
    holder
        Who has it open; empty where nobody has.
    mine
        Whether that is who looks.
    """

    page: str
    urgent: bool
    rejected: bool
    why: str
    doubt_ml: float | None
    came: str
    holder: str
    mine: bool


@router.get("/worklist")
def worklist(
    request: Request,
    who: Looking,
    site: OfSite,
    kind: Annotated[Kind, Query(alias="state")] = Kind.WAITING,
    flag: str = "",
    organ: str = "",
    reason: str = "",
    scanned_at: Annotated[str, Query(alias="site")] = "",
    behind: str = "",
) -> Response:
    """Show the studies of a state, from a place on, narrowed as the address says."""
    narrowed = Narrowed(flag, organ, reason, scanned_at, called_wrong=kind is Kind.WRONG)
    state = STATES.get(kind, ReadingState.READ)
    before = site.records.listed(behind)
    place = None if before is None else before.place
    found = site.records.worklist(state, behind=place, at_most=AT_ONCE + 1, narrowed=narrowed)
    shown = found[:AT_ONCE]
    given = {"flag": flag, "organ": organ, "reason": reason, "site": scanned_at}
    return page(
        request,
        "worklist.html",
        who=who,
        rows=rows_of(shown, site, who),
        older=shown[-1].page if len(found) > AT_ONCE else "",
        first=place is None,
        kind=kind,
        kinds=KINDS,
        counted=counted(site),
        mark=words.mark(site.demonstration([site.records.incumbent(), *(one.release for one in shown)])),
        given=given,
        asked={name: value for name, value in given.items() if value},
        organs=[(key, name_of(key)) for key in site.organs()],
        reasons=[(one.value, one.sentence) for one in Reason if one is not Reason.RANDOM_AUDIT],
        flags=[(one, words.VERDICTS[one]) for one in (Flag.REJECT, Flag.REVIEW)],
    )


@router.post("/worklist/search")
def search(
    request: Request, who: Looking, site: OfSite, name: Annotated[str, Form(max_length=64)] = ""
) -> Response:
    """Show the listed studies of patients with such a name, which stands in no address."""
    found: tuple[Listed, ...] = ()
    if name.strip():
        found = site.records.listed_studies(site.archive.studies_of(name, FOUND))
    mark = words.mark(site.demonstration([one.release for one in found]))
    return page(request, "found.html", who=who, rows=rows_of(found, site, who), mark=mark, looked_at=FOUND)


@router.post("/worklist/names")
def names(
    who: Looking, site: OfSite, known: OfNames, pages: Annotated[str, Form(max_length=4000)]
) -> Response:
    """Return whose studies these are, by their names on the pages: for what is on the screen only."""
    wanted = [one for one in (site.records.listed(name) for name in pages.split(",")[:FOUND]) if one]
    of = known.of([one.study_uid for one in wanted])
    return JSONResponse({one.page: asdict(of[one.study_uid]) for one in wanted if one.study_uid in of})


def counted(site: Site) -> str:
    """Return how many studies wait, in words."""
    waiting = site.records.waiting(COUNTED + 1)
    return f"{COUNTED}+" if waiting > COUNTED else str(waiting)


def rows_of(found: Collection[Listed], site: Site, who: Person) -> list[Row]:
    """Return studies as they stand in the list."""
    findings = site.records.findings([one.result for one in found])
    rows = []
    for one in found:
        flagged = [said for said in findings[one.result] if said.flag in FLAGGED]
        unlike = any(Reason.OUT_OF_DOMAIN in said.reasons for said in flagged)
        rejected = not one.audited and any(said.flag == Flag.REJECT for said in flagged)
        holder = held_by(one)
        rows.append(
            Row(
                page=one.page,
                urgent=one.urgent,
                rejected=rejected,
                why=_why(one, [(name_of(said.organ), words.short(said)) for said in flagged], unlike=unlike),
                doubt_ml=None if one.audited or unlike or not flagged else one.doubt_ml,
                came=words.moment(one.came_ms),
                holder=holder,
                mine=bool(holder) and one.holder == holder_of(who),
            )
        )
    return rows


def held_by(one: Listed) -> str:
    """Return who has a study open; empty where nobody has, or gave no sign of life for long."""
    minutes = words.minutes_ago(one.held_ms)
    return "" if not one.holder or minutes * 60_000 >= HELD_MS else one.holder_name


def _why(one: Listed, flagged: list[tuple[str, str]], *, unlike: bool) -> str:
    if one.audited:
        return "Random check"
    if unlike:
        return "All organs: the CT is unlike those known"
    said = [f"{name}: {verdict}" for name, verdict in sorted(flagged, key=lambda pair: pair[1] == "look")]
    return ". ".join(said) or "Nothing against it"
