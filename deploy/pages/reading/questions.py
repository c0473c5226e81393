"""What is asked about SEGs that came back, with pictures and the answers to choose from."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from deploy.pages.reading import words
from deploy.pages.reading.roles import Answering, Looking, OfSite
from deploy.pages.reading.worklist import COUNTED
from deploy.pages.site import Site
from deploy.pages.templates import page
from flows.corrections.asked_pictures import asked_name
from flows.corrections.questions import Asked, answer_questions, open_questions, what_is_asked
from models.errors import Refused
from models.organs import name_of
from models.people import Role
from services.dicom.returned.answers import NONE, Fate
from services.pictures.picture import Picture
from services.records.entries.corrections import OpenQuestion

router = APIRouter(prefix="/questions")

AT_ONCE = 20
"""SEGs of a page."""


@dataclass(frozen=True)
class Shown:
    """One question as it is shown.

    Parameters
    ----------
    about
        What it is about, as its answer names it.
    words
        The question.
    choices
        Answers to choose from, and their words; likeliest first.
    others
        Further organs that it may be; empty where none can be named.
    pictures
        Of what is asked about.
    """

    about: str
    words: str
    choices: tuple[tuple[str, str], ...]
    others: tuple[tuple[str, str], ...]
    pictures: tuple[Picture, ...]


@router.get("")
def questions(request: Request, who: Looking, site: OfSite) -> Response:
    """Show what is asked, the longest waiting first."""
    found = open_questions(site.records, AT_ONCE)
    known = site.organs()
    shown = [(name_on_pages(one, site), one, _shown(one, site, known)) for one in found]
    return page(
        request, "questions.html", who=who, asked=shown, may_answer=who.has(Role.READER), name_of=name_of
    )


@router.post("/{name}")
async def give(request: Request, name: str, who: Answering, site: OfSite) -> Response:
    """Take answers; the worker goes on with them."""
    given = await request.form()
    answers = [f"{about}={value}" for about, value in given.items() if value and about != "content"]
    uid = _found(name, site).correction.sop_instance_uid
    answer_questions(uid, str(given.get("content", "")), answers, who, site.records)
    return RedirectResponse("/questions", 303)


@router.get("/{name}/pictures/{picture}")
def picture(name: str, picture: str, who: Looking, site: OfSite) -> Response:
    """Give a picture of what is asked about."""
    content = _found(name, site).correction.content
    try:
        return Response(site.pictures.png(content, picture), media_type="image/png")
    except KeyError:
        return Response("there is no such picture\n", 404, media_type="text/plain")


def name_on_pages(asked: Asked, site: Site) -> str:
    """Return what a SEG is called on the pages: a keyed hash, no UID."""
    return site.cases.pseudonym(f"question {asked.correction.sop_instance_uid}")[:16]


def _found(name: str, site: Site) -> Asked:
    for one in _open(site):
        if name_on_pages(one, site) == name:
            return one
    detail = "nothing is asked about it any more: somebody has answered it, or taken it back"
    raise Refused("no-question", detail)


def _open(site: Site) -> tuple[Asked, ...]:
    return open_questions(site.records, COUNTED)


def _shown(asked: Asked, site: Site, known: tuple[str, ...]) -> tuple[Shown, ...]:
    pictures = site.pictures.of(asked.correction.content)
    return tuple(_question(one, pictures, known) for one in asked.questions)


def _question(question: OpenQuestion, pictures: tuple[Picture, ...], known: tuple[str, ...]) -> Shown:
    first = question.candidates[0] if question.candidates else ""
    name = asked_name(question.segment, first)
    of_this = tuple(one for one in pictures if one.organ == name)
    if question.segment is None:
        fates = (
            (Fate.DELETED.value, "erased on purpose: it is not there"),
            (Fate.NOT_REVIEWED.value, "left out: nobody looked at it"),
        )
        return Shown(what_is_asked(question), words.question(question), fates, (), of_this)
    choices = ((NONE, "no organ of these"), *((one, name_of(one)) for one in question.candidates))
    others = tuple((one, name_of(one)) for one in known if one not in question.candidates)
    return Shown(what_is_asked(question), words.question(question), choices, others, of_this)
