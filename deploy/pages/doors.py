"""Who may open what: a person of the session or the request, and the roles a page asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from urllib.parse import quote, urlsplit

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse, Response

from models.documents import from_json, to_json
from models.errors import Refused
from models.people import MAY, Person, Role

SESSION = "person"
"""Where a session holds who signed in."""

SIGN_IN = "/sign-in"


class NotSignedIn(Exception):
    """Nobody has signed in, or the session is over."""


def person(request: Request) -> Person:
    """Return who asks.

    Raises
    ------
    NotSignedIn
        If nobody has proven it.
    """
    found: Person | None = request.app.state.way.person(request)
    if found is None:
        raise NotSignedIn
    return found


Signed = Annotated[Person, Depends(person)]
"""Who asks; nobody else is answered."""


def having(*roles: Role) -> Callable[[Person], Person]:
    """Return what lets only people pass who have one of these roles.

    Raises
    ------
    Refused
        `not-allowed`, with the roles and whom to ask.
    """

    def required(request: Request, who: Signed) -> Person:
        return require(request, who, roles)

    return required  # type: ignore[return-value]


def require(request: Request, who: Person, roles: tuple[Role, ...]) -> Person:
    """Return somebody who has one of these roles; raises as `having`."""
    if not who.has(*roles):
        raise not_allowed(request, roles)
    return who


def not_allowed(request: Request, roles: tuple[Role, ...]) -> Refused:
    """Return the refusal of who lacks a role: what it lets people do, and whom to ask for it."""
    giving = request.app.state.settings.groups
    groups = sorted({group for role in roles for group in giving[role]})
    whom = f"who manages the group {' or '.join(groups)}" if groups else "who installed Organloop here"
    lets = "; ".join(f"{role} ({MAY[role]})" for role in roles)
    return Refused("not-allowed", f"this is for the role {lets}. Ask {whom}.", {"roles": list(roles)})


def enter(request: Request, who: Person) -> None:
    """Begin a session; what an earlier one held is gone."""
    request.session.clear()
    request.session[SESSION] = to_json(who)


def of_session(request: Request) -> Person | None:
    """Return who signed in; None if nobody did, or the session is over."""
    said = request.session.get(SESSION)
    return None if said is None else from_json(Person, said)


def to_sign_in(request: Request) -> Response:
    """Send a browser to the sign-in and back here; who asks for no page is told 401."""
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return Response("sign in first\n", 401, media_type="text/plain")
    here = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return RedirectResponse(f"{SIGN_IN}?next={quote(here, safe='')}", 303)


def own_page(wanted: str) -> str:
    """Return the page to go on to: one of ours, else the first."""
    parts = urlsplit(wanted)
    ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not parts.netloc
    return wanted if ours and "\\" not in wanted and wanted.isprintable() else "/"
