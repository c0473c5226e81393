"""What is asked about SEGs that came back, with pictures and the answers to choose from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from deploy.pages.reading import words
from deploy.pages.reading.roles import Answering, Looking
from deploy.pages.reading.worklist import COUNTED
from deploy.pages.site import OfSite, Site
from deploy.pages.templates import page
from flows.corrections.asked_pictures import asked_name
from flows.corrections.questions import Asked, answer_questions, open_questions, what_is_asked
from models.errors import Refused
from models.organs import name_of
from models.people import Person, Role
from services.dicom.returned.answers import NONE, Fate
from services.pictures.picture import Picture
from services.records.entries.corrections import OpenQuestion

router = APIRouter(prefix="/questions")

Content = Annotated[str, PathParameter(pattern="^[0-9a-f]{64}$")]
"""Digest of a SEG that came back: it names no patient, and nobody guesses it."""

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
    found = open_questions(site.records, AT_ONCE + 1)
    known = site.organs()
    return page(
        request,
        "questions.html",
        who=who,
        asked=[(one.correction.content, one, _shown(one, site, known)) for one in found[:AT_ONCE]],
        more=len(found) > AT_ONCE,
        may_answer=who.has(Role.READER),
        mark=words.mark(site.demonstration(one.correction.release for one in found)),
    )


@router.post("/{content}")
async def give(request: Request, content: Content, who: Answering, site: OfSite) -> Response:
    """Take answers; the worker goes on with them."""
    given = await request.form()
    answers = [f"{about}={value}" for about, value in given.items() if value]
    await run_in_threadpool(_take, content, answers, who, site)
    return RedirectResponse("/questions", 303)


@router.get("/{content}/pictures/{picture}")
def picture(content: Content, picture: str, who: Looking, site: OfSite) -> Response:
    """Give a picture of what is asked about."""
    try:
        return Response(site.pictures.png(content, picture), media_type="image/png")
    except KeyError:
        return Response("there is no such picture\n", 404, media_type="text/plain")


def _take(content: str, answers: list[str], who: Person, site: Site) -> None:
    for one in open_questions(site.records, COUNTED):
        if one.correction.content == content:
            uid = one.correction.sop_instance_uid
            return answer_questions(uid, content, answers, who, site.records)
    detail = "nothing is asked about it any more: somebody has answered it, or it was saved anew"
    raise Refused("no-question", detail)


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
