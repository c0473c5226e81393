"""Promote, decline, roll back: each a page of its own that says what changes, then an act with a reason."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from deploy.pages.model.at_work import ActAtWork
from deploy.pages.model.candidates import Number, known, of_act, tuned_organs
from deploy.pages.model.roles import Deciding, Watching
from deploy.pages.reading import words
from deploy.pages.site import OfSite, Site
from deploy.pages.templates import page
from flows.gate.last_report import last_report
from flows.progress import Progress
from flows.promotion.promote import complete, promote
from flows.promotion.roll_back import decline, earlier_incumbents, rollback
from models.documents import to_json
from models.errors import Refused
from models.organs import name_of
from models.people import Person
from services.wiring import Services, connect, connect_in_process

router = APIRouter(prefix="/model")

Why = Annotated[str, Form(max_length=500)]
"""Why somebody acts; kept on record."""


@router.get("/act")
def act(request: Request, who: Watching) -> Response:
    """Say what is being done, or what became of it, as a document; null before the first act."""
    found = _at_work(request).act
    return JSONResponse(None if found is None else to_json(found))


@router.get("/candidates/{number}/promote")
def ask_promote(request: Request, number: Number, who: Deciding, site: OfSite) -> Response:
    """Say what a promotion changes, for whom, and how to go back."""
    release, last = known(number, site), last_report(number, site.records, site.releases)
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
        obstacles=of_act(release, last, who, site),
        report="" if last is None else last.decided.said.report or "",
        document=None if last is None else last.document,
        mark=words.mark(release.demonstration),
    )


@router.post("/candidates/{number}/promote")
def do_promote(
    request: Request,
    number: Number,
    who: Deciding,
    site: OfSite,
    report: Annotated[str, Form(pattern="^[0-9a-f]{64}$")],
    reason: Why = "",
) -> Response:
    """Begin a promotion by the report that was shown; the candidate's page follows it."""
    _require_reason(reason)
    release = known(number, site)
    for obstacle in of_act(release, last_report(number, site.records, site.releases), who, site):
        raise Refused(obstacle.code, obstacle.detail)

    def work(progress: Progress) -> str:
        done = promote(number, serving(site, who), who.name, reason.strip(), progress, report=report)
        return f"release {done.release} serves, in place of release {done.replaced}"

    _at_work(request).begin(f"promotes release {number}", number, who, work)
    return _to(number)


@router.post("/candidates/{number}/finish")
def do_finish(request: Request, number: Number, who: Deciding, site: OfSite) -> Response:
    """Do what is left of a promotion that was cut short; it stays the act of who began it."""
    known(number, site)

    def work(progress: Progress) -> str:
        done = complete(number, serving(site, who), progress)
        return f"release {done.release} serves, in place of release {done.replaced}"

    _at_work(request).begin(f"finishes the promotion of release {number}", number, who, work)
    return _to(number)


@router.get("/candidates/{number}/decline")
def ask_decline(request: Request, number: Number, who: Deciding, site: OfSite) -> Response:
    """Say what it means to decline a candidate."""
    release = known(number, site)
    return page(request, "decline.html", who=who, release=release, mark=words.mark(release.demonstration))


@router.post("/candidates/{number}/decline")
def do_decline(number: Number, who: Deciding, site: OfSite, reason: Why = "") -> Response:
    """Decide against a candidate."""
    _require_reason(reason)
    known(number, site)
    services = connect_in_process(site.settings, site.records.signed(who))
    decline(number, who.name, reason.strip(), services.records, services.releases, services.repository)
    return _to(number)


@router.get("/roll-back")
def ask_roll_back(request: Request, who: Deciding, site: OfSite) -> Response:
    """Show which releases served before, and what going back means."""
    incumbent = site.records.incumbent()
    return page(
        request,
        "roll_back.html",
        who=who,
        incumbent=incumbent,
        earlier=[site.releases.release(one) for one in reversed(earlier_incumbents(site.records))],
        mark=words.mark(site.demonstration([incumbent])),
    )


@router.post("/roll-back")
def do_roll_back(
    request: Request,
    who: Deciding,
    site: OfSite,
    number: Annotated[int, Form(ge=1)],
    incumbent: Annotated[int, Form(ge=1)],
    reason: Why = "",
) -> Response:
    """Begin to go back, if the release that was shown still serves; the page of the release follows it."""
    _require_reason(reason)
    known(number, site)
    serves = site.records.incumbent()
    if serves != incumbent:
        detail = f"release {incumbent} serves no more, release {serves} does: look again before you go back"
        raise Refused("incumbent-changed", detail, {"shown": incumbent, "serves": serves})

    def work(progress: Progress) -> str:
        done = rollback(number, serving(site, who), who.name, reason.strip(), progress)
        missed = f"; not reached: {'; '.join(done.not_reached)}" if done.not_reached else ""
        return f"release {done.release} serves again{missed}"

    _at_work(request).begin(f"goes back to release {number}", number, who, work)
    return _to(number)


def serving(site: Site, who: Person) -> Services:
    """Return what an act needs that asks the servers; its events bear who acts."""
    return connect(site.settings, site.records.signed(who))


def _at_work(request: Request) -> ActAtWork:
    found: ActAtWork = request.app.state.acts
    return found


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise Refused("no-name", "an act has a reason: say why, in one sentence")


def _to(number: int) -> Response:
    return RedirectResponse(f"/model/candidates/{number}", 303)
