"""By the account of this machine: a first password that `up` prints once, then one of its owner's own."""

from __future__ import annotations

import threading
import time
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from deploy.pages.doors import enter, of_session, own_page
from deploy.pages.templates import page
from models.errors import Refused
from models.people import Person
from services.people.local_account import LocalAccount
from services.settings import Settings

router = APIRouter()

PAUSE_SECONDS = 1.0
"""After a wrong password; one is tried at a time, so that guessing takes longer than the sun burns."""

FIRST = "first"
"""Where a session holds which first password was given, and no name yet."""

PASSWORD = "password"
"""Where a session holds which password was given: its mark, not itself."""


class ByAccount:
    """The one account of this machine.

    Parameters
    ----------
    settings
        Of the home in which it lies.
    """

    def __init__(self, settings: Settings) -> None:
        self.account = LocalAccount(settings.people_folder / "account.json")
        self._trying = threading.Lock()

    def person(self, request: Request) -> Person | None:
        """Return who signed in, by the password that holds now."""
        who = of_session(request)
        return who if who is not None and request.session.get(PASSWORD) == self.account.mark else None

    def enter(self, request: Request, owner: Person) -> None:
        """Begin a session, which ends with the password."""
        enter(request, owner)
        request.session[PASSWORD] = self.account.mark

    def knows(self, password: str) -> bool:
        """Tell whether this is the password; after a wrong one everybody waits a second."""
        with self._trying:
            known = self.account.knows(password)
            if not known:
                time.sleep(PAUSE_SECONDS)
            return known


@router.get("/sign-in")
def ask(request: Request, next: str = "/") -> Response:
    """Ask for the password."""
    return page(request, "sign_in.html", next=own_page(next), wrong=False)


@router.post("/sign-in")
def sign_in(
    request: Request, password: Annotated[str, Form()], next: Annotated[str, Form()] = "/"
) -> Response:
    """Sign in; with the first password, go on to choose a name and another one."""
    way: ByAccount = request.app.state.way
    if not way.knows(password):
        return page(request, "sign_in.html", 403, next=own_page(next), wrong=True)
    if way.account.unused:
        request.session.clear()
        request.session[FIRST] = way.account.mark
        return page(request, "choose.html", next=own_page(next), why=None)
    way.enter(request, way.account.owner)
    return RedirectResponse(own_page(next), 303)


@router.post("/sign-in/choose")
def choose(
    request: Request,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Take the owner's name and password in place of the first one."""
    way: ByAccount = request.app.state.way
    if request.session.get(FIRST) != way.account.mark or not way.account.unused:
        return RedirectResponse("/sign-in", 303)
    try:
        owner = way.account.choose(name, password)
    except Refused as refusal:
        return page(request, "choose.html", 422, next=own_page(next), why=refusal.detail)
    way.enter(request, owner)
    return RedirectResponse(own_page(next), 303)
