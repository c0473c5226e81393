"""Promote, decline, roll back: each a page of its own that says what changes, then an act with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from deploy.pages.model.candidates import Number, known, obstacles_of, tuned_organs
from deploy.pages.model.roles import Deciding, Watching
from deploy.pages.reading import words
from deploy.pages.site import OfSite, Site
from deploy.pages.templates import page
from flows.gate.last_report import last_report
from flows.promotion.asked import Act, act_of, ask
from flows.promotion.roll_back import earlier_incumbents
from models.documents import to_json
from models.errors import InvalidRelease, Refused
from models.organs import name_of
from models.people import Person
from services.records.events.serving import ActAsked

router = APIRouter(prefix="/model")

Why = Annotated[str, Form(max_length=500)]
"""Why somebody acts; kept on record."""


@router.get("/candidates/{number}/act")
def act(number: Number, who: Watching, site: OfSite) -> Response:
    """Give the act that was asked for last of a release and how far it has come; null before the first."""
    found = act_of(number, site.records, datetime.now(UTC))
    return JSONResponse(None if found is None else to_json(found))


@router.get("/candidates/{number}/promote")
def ask_promote(request: Request, number: Number, who: Deciding, site: OfSite) -> Response:
    """Say what a promotion changes, for whom, and how to go back."""
    release = known(number, site)
    last = last_report(release, site.records, site.releases, site.settings)
    incumbent = site.records.incumbent()
    before = () if incumbent is None else site.releases.release(incumbent).contract.organs
    return page(
        request,
        "promote.html",
        who=who,
        release=release,
        incumbent=incumbent,
        tuned=tuned_organs(release, site),
        new=[name_of(one) for one in release.contract.organs if one not in before],
        obstacles=obstacles_of(release, last, who, site),
        report="" if last is None else last.decided.said.report or "",
        document=None if last is None else last.document,
        mark=words.mark(release.demonstration),
    )


@router.post("/candidates/{number}/promote")
def do_promote(
    number: Number,
    who: Deciding,
    site: OfSite,
    report: Annotated[str, Form(pattern="^[0-9a-f]{64}$")],
    reason: Why = "",
) -> Response:
    """Ask for a promotion by the report that was shown; the candidate's page follows it."""
    release = known(number, site)
    last = last_report(release, site.records, site.releases, site.settings)
    for obstacle in obstacles_of(release, last, who, site):
        raise Refused(obstacle.code, obstacle.detail)
    return _asked(ActAsked(act=Act.PROMOTION, release=number, reason=reason, report=report), who, site)


@router.post("/candidates/{number}/finish")
def do_finish(number: Number, who: Deciding, site: OfSite) -> Response:
    """Ask for what is left of a promotion that was cut short; it stays the act of who began it."""
    known(number, site)
    return _asked(ActAsked(act=Act.COMPLETION, release=number), who, site)


@router.get("/candidates/{number}/decline")
def ask_decline(request: Request, number: Number, who: Deciding, site: OfSite) -> Response:
    """Say what it means to decline a candidate."""
    release = known(number, site)
    return page(request, "decline.html", who=who, release=release, mark=words.mark(release.demonstration))


@router.post("/candidates/{number}/decline")
def do_decline(number: Number, who: Deciding, site: OfSite, reason: Why = "") -> Response:
    """Ask that a candidate is decided against."""
    known(number, site)
    return _asked(ActAsked(act=Act.DECLINE, release=number, reason=reason), who, site)


@router.get("/roll-back")
def ask_roll_back(request: Request, who: Deciding, site: OfSite) -> Response:
    """Show which releases served before, and what going back means."""
    incumbent = site.records.incumbent()
    return page(
        request,
        "roll_back.html",
        who=who,
        incumbent=incumbent,
        earlier=[(one, _note(one, site)) for one in reversed(earlier_incumbents(site.records))],
        mark=words.mark(site.demonstration([incumbent])),
    )


@router.post("/roll-back")
def do_roll_back(
    who: Deciding,
    site: OfSite,
    number: Annotated[int, Form(ge=1)],
    incumbent: Annotated[int, Form(ge=1)],
    reason: Why = "",
) -> Response:
    """Ask to go back, if the release that was shown still serves; the page of the release follows it."""
    known(number, site)
    serves = site.records.incumbent()
    if serves != incumbent:
        detail = f"release {incumbent} serves no more, release {serves} does: look again before you go back"
        raise Refused("incumbent-changed", detail, {"shown": incumbent, "serves": serves})
    asked = ActAsked(act=Act.ROLLBACK, release=number, reason=reason, incumbent=incumbent)
    return _asked(asked, who, site)


def _note(number: int, site: Site) -> str:
    """Return where a release comes from; that it is damaged is said before anybody goes back to it."""
    try:
        return site.releases.release(number).note
    except InvalidRelease as error:
        return f"cannot be read: {error}"


def _asked(asked: ActAsked, who: Person, site: Site) -> Response:
    ask(asked, who, site.records)
    return RedirectResponse(f"/model/candidates/{asked.release}", 303)
