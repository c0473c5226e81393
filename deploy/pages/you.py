"""The person who asks: what one may do, a token for the command, the end of a session, a proxy's question."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response

from deploy.pages.doors import Signed, not_allowed, person, require
from deploy.pages.templates import page
from models.people import MAY, Role
from services.people import tokens

router = APIRouter()


@router.get("/")
def you(request: Request, who: Signed) -> Response:
    """Say who asks, and what that person may do."""
    allowed = [(role.value, MAY[role]) for role in Role if role in who.roles]
    whom = not_allowed(request, tuple(Role)).detail
    return page(request, "you.html", who=who, allowed=allowed, whom=whom)


@router.post("/token")
def token(request: Request, who: Signed) -> Response:
    """Make a token for the command."""
    made = tokens.token_of(who, request.app.state.key)
    until = (datetime.now().astimezone() + timedelta(seconds=tokens.SECONDS)).strftime("%H:%M")
    return page(request, "token.html", who=who, token=made, until=until)


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session."""
    request.session.clear()
    return RedirectResponse("/signed-out", 303)


@router.get("/signed-out")
def signed_out(request: Request) -> Response:
    """Say that the session is over; the first page would begin another one."""
    return page(request, "signed_out.html")


@router.get("/session")
def session(who: Signed) -> Response:
    """Say who asks, as a document."""
    said = {"subject": who.subject, "issuer": who.issuer, "name": who.name, "roles": sorted(who.roles)}
    return JSONResponse(said)


@router.get("/session/check/{roles}")
async def check(request: Request, roles: str) -> Response:
    """Answer a proxy in front of another server whether somebody may open it: 204, 401 or 403.

    It asks for one role, or for any of several with commas between. The answer's headers say who it is,
    percent-encoded, for what that server records. It is asked for every picture: no thread is waited for.
    """
    who = person(request)
    try:
        wanted = tuple(map(Role, roles.split(",")))
    except ValueError:
        raise HTTPException(404) from None
    require(request, who, wanted)
    told = {"Subject": who.subject, "Issuer": who.issuer, "Name": who.name}
    headers = {f"X-Organloop-{name}": quote(value, safe=" :/") for name, value in told.items()}
    return Response(status_code=204, headers=headers)


@router.get("/healthz")
def healthz() -> Response:
    """Answer a probe."""
    return PlainTextResponse("organloop pages\n")
