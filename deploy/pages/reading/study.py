"""One study, organ by organ, and the answers to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from deploy.pages.reading import words
from deploy.pages.reading.roles import Answering, Looking, OfNames
from deploy.pages.reading.viewer_path import viewer_path
from deploy.pages.reading.worklist import held_by
from deploy.pages.site import OfSite, Site
from deploy.pages.templates import failed, page
from flows.reading.answer import answer
from flows.reading.shown import StudyShown, listed, shown
from models.corrections.opinions import Opinion, Wrong
from models.organs import name_of
from models.people import Person, Role
from services.addresses import viewer_address
from services.records.entries.reading import Listed, ReadingState, holder_of
from services.records.port import Records
from services.wiring import connect_in_process

router = APIRouter(prefix="/studies")

LOOKED_FURTHER = 20
"""Studies behind this one of which the first that nobody has open comes next."""


@router.get("/next")
def next_study(who: Looking, site: OfSite, behind: str = "") -> Response:
    """Go to the next study that waits and that nobody else has open; where there is none, to the list."""
    before = site.records.listed(behind)
    if before is not None:
        site.records.let_go(before.study_uid, who)
    places = [None] if before is None else [before.place, None]
    for place in places:
        for one in site.records.worklist(behind=place, at_most=LOOKED_FURTHER):
            if one.page != behind and (not held_by(one) or one.holder == holder_of(who)):
                return RedirectResponse(f"/studies/{one.page}", 303)
    return RedirectResponse("/worklist", 303)


@router.get("/{name}")
def study(request: Request, name: str, who: Looking, site: OfSite) -> Response:
    """Show a study; a reader who opens it has it."""
    one = listed(name, site.records)
    if who.has(Role.READER):
        one = site.records.hold(one.study_uid, who)
    return _page(request, one, who, site)


@router.post("/{name}/take-over")
def take_over(name: str, who: Answering, site: OfSite) -> Response:
    """Have a study that another has open."""
    site.records.hold(listed(name, site.records).study_uid, who, take_over=True)
    return RedirectResponse(f"/studies/{name}", 303)


@router.post("/{name}/here")
def here(name: str, who: Answering, site: OfSite, reading: Annotated[bool, Form()] = True) -> Response:
    """Take a sign of life; say who has the study, and which result stands there.

    Without `reading` the viewer's window is open and nobody does anything there: that is no reading time.
    """
    one = site.records.hold(listed(name, site.records).study_uid, who, reading=reading)
    return JSONResponse(
        {"mine": one.holder == holder_of(who), "holder": one.holder_name, "result": one.result}
    )


@router.post("/{name}/leave")
def leave(name: str, who: Answering, site: OfSite) -> Response:
    """Free a study."""
    site.records.let_go(listed(name, site.records).study_uid, who)
    return Response(status_code=204)


@router.post("/{name}/answers")
def give(
    request: Request,
    name: str,
    who: Answering,
    site: OfSite,
    result: Annotated[str, Form()],
    opinion: Annotated[Opinion, Form()],
    organ: Annotated[list[str], Form()],
    why: Annotated[Wrong | None, Form()] = None,
) -> Response:
    """Take an answer, and show the study as it is then."""
    answer(name, result, organ, opinion, who, site.records, why=why)
    return RedirectResponse(f"/studies/{name}#{organ[0]}", 303)


@router.get("/{name}/patient")
def patient(name: str, who: Looking, site: OfSite, known: OfNames) -> Response:
    """Say whose study this is; the archive knows."""
    one = listed(name, site.records)
    found = known.of([one.study_uid]).get(one.study_uid)
    said = {} if found is None else {"name": found.name, "born": found.born, "made": found.made}
    return JSONResponse(said)


@router.get("/{name}/pictures/{picture}")
def picture(name: str, picture: str, who: Looking, site: OfSite) -> Response:
    """Give a picture of an organ."""
    one = listed(name, site.records)
    try:
        return Response(site.pictures.png(one.result, picture), media_type="image/png")
    except KeyError:
        return Response("there is no such picture\n", 404, media_type="text/plain")


@router.get("/{name}/viewer")
def viewer(request: Request, name: str, who: Looking, site: OfSite, organ: str = "") -> Response:
    """Go to the study in the viewer, our SEG loaded, at the image of an organ's first picture.

    That is where the doubt is largest; of a random check it is the middle of the organ.
    """
    one = listed(name, site.records)
    if viewer_address(site.settings) is None:
        return failed(request, 503, "The viewer does not run here", "Ask who runs Organloop.")
    asked_here = request.headers.get("sec-fetch-site", "none") in ("same-origin", "none")
    if who.has(Role.READER) and asked_here:
        site.records.note_viewer(one.study_uid, who)
    said = next(
        (said for said in site.records.findings([one.result])[one.result] if said.organ == organ), None
    )
    pictures = (look for look in site.pictures.of(one.result) if look.organ == organ and look.image_uid)
    image = next(pictures, None)
    path = viewer_path(
        one.study_uid,
        one.seg_series_uid,
        None if said is None else said.segment,
        None if image is None else image.image_uid,
    )
    return RedirectResponse(f"/viewer{path}", 303)


@router.get("/{name}/became")
def became(request: Request, name: str, who: Looking, site: OfSite) -> Response:
    """Show what became of each correction of a study: in which release it is learnt, or why not."""
    from flows.corrections.fate import fates
    from flows.tuning.plan import AUTO, tuning_settings

    one = listed(name, site.records)
    services = connect_in_process(site.settings)
    settings = tuning_settings(AUTO, site.settings)
    found = fates(one.study_uid, services, settings) if _came_back(one, site.records) else []
    mark = words.mark(site.demonstration([one.release]))
    return page(request, "became.html", who=who, study=one, fates=found, name_of=name_of, mark=mark)


def _came_back(one: Listed, records: Records) -> bool:
    return bool(records.corrections(series_uid=one.series_uid))


def _page(request: Request, one: Listed, who: Person, site: Site) -> Response:
    told: StudyShown = shown(one, who, site.records, site.wanted(one.release))
    holder = held_by(one)
    mine = one.holder == holder_of(who)
    viewer = not one.audited or site.records.opened_viewer(one.result, who)
    return page(
        request,
        "study.html",
        who=who,
        study=one,
        told=told,
        pictures=site.pictures.of(one.result),
        holder="" if mine else holder,
        minutes=words.minutes_ago(one.held_ms),
        may_answer=who.has(Role.READER) and (mine or not holder) and viewer,
        needs_viewer=not viewer,
        may_take_over=who.has(Role.READER) and bool(holder) and not mine,
        seconds=round(site.records.seconds_read(one.result, who)),
        done=one.state is not ReadingState.WAITING,
        words=words,
        wrongs=list(words.WRONG.items()),
        name_of=name_of,
        check=words.CHECK if one.audited else "",
        mark=words.mark(site.demonstration([one.release])),
    )
