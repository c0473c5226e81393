"""Who did what: the log, the newest first, each shown line verified as one looks."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response, StreamingResponse

from deploy.pages.doors import having
from deploy.pages.model.log_look import LogLook
from deploy.pages.model.roles import Watching
from deploy.pages.model.sentences import sentence
from deploy.pages.site import OfSite, Site
from deploy.pages.templates import page
from models.errors import Refused, StorageFailed
from models.people import LOOKING, Person, Role
from models.uids import StudyUid
from services.records.chain import AuditFault, exported, line_fault
from services.records.chain_look import exported_lines
from services.records.entries.log import Line, Sought
from services.records.events.event import PROOF, kinds
from services.records.log import recorded

router = APIRouter()

AT_ONCE = 100
"""Lines of a page."""

PAGE_NAME = re.compile(r"[0-9a-f]{16}")
UNNAMED = "no name"
"""What stands for a study where the key that names it cannot be read: the log is shown all the same."""

UID = re.compile(r"[0-9.]{1,64}")

Exporting = Annotated[Person, Depends(having(Role.AUDITOR, Role.APPROVER))]
"""Who takes the whole log out."""


@dataclass(frozen=True)
class Told:
    """A line as it stands on the page.

    Parameters
    ----------
    number, what, who
        As `services.records.entries.log.Line`.
    at
        When, as it stands on record, to the second.
    said
        What happened, in a sentence.
    issuer
        Who proved the name; empty where nobody did.
    study
        The study's name on the pages; empty where the line names none.
    listed
        Whether it has a page.
    fault
        What is not as it was recorded; None where nothing is.
    """

    number: int
    at: str
    what: str
    who: str
    said: str
    issuer: str
    study: str
    listed: bool
    fault: AuditFault | None


@router.get("/log")
def log(
    request: Request,
    who: Watching,
    site: OfSite,
    by: str = "",
    act: str = "",
    release: str = "",
    study: str = "",
    since: str = "",
    until: str = "",
    before: str = "",
) -> Response:
    """Show lines of the log, narrowed as the address says."""
    given = {"by": by, "act": act, "release": release, "study": study, "since": since, "until": until}
    asked = {name: value.strip() for name, value in given.items() if value.strip()}
    if UID.fullmatch(asked.get("study", "")) and (named := _listed(asked["study"], site)):
        return RedirectResponse(f"/log?{urlencode(asked | {'study': named})}", 303)
    sought = Sought(
        who=asked.get("by", ""),
        what=asked.get("act", ""),
        release=_number(asked.get("release", ""), "release"),
        study=_study(asked.get("study", ""), site),
        first_day=_day(asked.get("since", "")),
        last_day=_day(asked.get("until", "")),
    )
    place = _number(before, "line")
    found = site.records.sought(sought, before=place, at_most=AT_ONCE + 1)
    shown = found[:AT_ONCE]
    look: LogLook = request.app.state.log_look
    return page(
        request,
        "log.html",
        who=who,
        lines=told(shown, site),
        verified=look.look(),
        older=shown[-1].number if len(found) > AT_ONCE else None,
        first=place is None,
        given=given,
        asked=asked,
        names=site.records.names_in_log(),
        acts=sorted(kinds()),
        may_export=who.has(Role.AUDITOR, Role.APPROVER),
        may_look=who.has(*LOOKING),
        unnamed=UNNAMED,
    )


@router.get("/log/lines/{number}")
def line(number: int, who: Watching, site: OfSite) -> Response:
    """Give a line as the export has it."""
    found = site.records.line(number)
    if found is None:
        return JSONResponse({"detail": "There is no such line."}, 404)
    return Response(exported(found), media_type="application/json")


@router.get("/log/export")
def export(who: Exporting, site: OfSite) -> StreamingResponse:
    """Give the whole log, the same bytes as `organloop audit export`."""
    headers = {"Content-Disposition": 'attachment; filename="organloop-log.jsonl"'}
    return StreamingResponse(exported_lines(site.records), media_type="application/x-ndjson", headers=headers)


def told(lines: Collection[Line], site: Site) -> list[Told]:
    """Return lines as they stand on the page, each compared with its digest and with the line before it."""
    before = site.records.digests([one.number - 1 for one in lines])
    studies = {uid for one in lines if (uid := _names(one))}
    pages = {one.study_uid: one.page for one in site.records.listed_studies(studies)}
    return [
        Told(
            number=one.number,
            at=f"{one.at:%d.%m.%Y %H:%M:%S}",
            what=one.what.replace("-", " "),
            who=one.who,
            said=_said(one),
            issuer=_issuer(one),
            study=(uid := _names(one)) and (pages.get(uid) or _page_of(uid, site)),
            listed=uid in pages,
            fault=line_fault(one, before.get(one.number - 1)),
        )
        for one in lines
    ]


def _said(line: Line) -> str:
    try:
        event = recorded(line)
    except StorageFailed as error:
        return f"This cannot be read as what it should be: {error}"
    return "A newer program wrote this." if event is None else sentence(event.said)


def _issuer(line: Line) -> str:
    proof = line.payload.get(PROOF)
    return str(proof.get("issuer", "")) if isinstance(proof, dict) else ""


def _names(line: Line) -> StudyUid:
    found = line.payload.get("study_uid")
    return StudyUid(found if isinstance(found, str) else "")


def _page_of(uid: StudyUid, site: Site) -> str:
    """Return the name of a study that is not listed, or that it has none where no key can be read."""
    try:
        return site.cases.page_of(uid)
    except StorageFailed:
        return UNNAMED


def _listed(uid: str, site: Site) -> str:
    found = site.records.listed_studies([StudyUid(uid)])
    return found[0].page if found else ""


def _study(said: str, site: Site) -> StudyUid | None:
    if not said:
        return None
    listed = site.records.listed(said) if PAGE_NAME.fullmatch(said) else None
    if listed is None and not UID.fullmatch(said):
        raise Refused("log-filter", f"no study is listed as {said}: type its StudyInstanceUID")
    return StudyUid(said) if listed is None else listed.study_uid


def _number(said: str, what: str) -> int | None:
    if not said.strip():
        return None
    if not re.fullmatch(r"[0-9]{1,9}", said.strip()):
        raise Refused("log-filter", f"{said} is the number of no {what}: type digits alone")
    return int(said)


def _day(said: str) -> str:
    try:
        return date.fromisoformat(said).isoformat() if said else ""
    except ValueError:
        raise Refused("log-filter", f"{said} is no day: type it as 2026-03-01") from None
