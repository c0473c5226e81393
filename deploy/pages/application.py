"""The application: what it is made of, and in which order a request meets it.

Known host, same origin for what changes something, who somebody is, what that person may do; then a page.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.staticfiles import StaticFiles

from deploy.pages import doors, passage, saves, you
from deploy.pages.closed import ClosedPages, SameOrigin
from deploy.pages.model import candidates, decisions, log, now, packs, tonight
from deploy.pages.model.log_look import LogLook
from deploy.pages.model.tonight import Tonights
from deploy.pages.model.weekly import Weekly
from deploy.pages.reading import live, questions, study, times, worklist
from deploy.pages.reading.live import Changes
from deploy.pages.reading.names import Names
from deploy.pages.sign_in import local, provider, proxy
from deploy.pages.sign_in.way import Way
from deploy.pages.site import Site
from deploy.pages.templates import failed, refused
from models.errors import OrganloopError, Refused
from services.addresses import viewer_address
from services.people.key import signing_key
from services.settings import Settings

SESSION_SECONDS = 12 * 3600
"""A session ends so long after its sign-in, whatever was done in it: a day's work."""

ASSETS = Path(__file__).with_name("assets")


def application(settings: Settings, address: str) -> FastAPI:
    """Return the pages of a site.

    Parameters
    ----------
    settings
        Of the site.
    address
        Where people open it, ``https://host`` or ``http://127.0.0.1:port``.

    Raises
    ------
    StorageFailed
        If the site's key can be neither read nor made.
    """
    parts, key = urlsplit(address), signing_key(settings.session_key, settings.people_folder)
    secure = parts.scheme == "https"
    app = FastAPI(
        title="Organloop",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(ClosedPages, address=address),
            Middleware(TrustedHostMiddleware, allowed_hosts=[parts.hostname or "", "127.0.0.1"]),
            Middleware(
                SameOrigin,
                origin=f"{parts.scheme}://{parts.netloc}",
                doors={saves.UNDER: lambda: viewer_address(settings)},
            ),
            Middleware(
                SessionMiddleware,
                secret_key=key.decode(),
                session_cookie="__Host-organloop" if secure else f"organloop-{parts.port}",
                max_age=SESSION_SECONDS,
                https_only=secure,
            ),
        ],
    )
    app.state.settings, app.state.key, app.state.address = settings, key, address
    app.state.site = site = Site(settings)
    app.state.names, app.state.changes = Names(site), Changes(site)
    app.state.weekly = Weekly(site)
    app.state.log_look, app.state.tonights = LogLook(site), Tonights(site)
    app.state.way = way_of(settings, app)
    reading = (worklist, study, questions, times, live)
    model = (now, candidates, decisions, tonight, log, packs)
    for room in (you, passage, saves, *reading, *model):
        app.include_router(room.router)
    app.mount("/assets", StaticFiles(directory=ASSETS), name="assets")
    app.add_exception_handler(doors.NotSignedIn, _to_sign_in)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(OrganloopError, _failed)
    app.add_exception_handler(HTTPException, _no_page)
    return app


def way_of(settings: Settings, app: FastAPI) -> Way:
    """Return the site's way to sign in, its pages taken into the application."""
    if settings.trusted_proxies is not None:
        return proxy.BehindProxy(settings)
    if settings.oidc_issuer is not None:
        app.include_router(provider.router)
        return provider.ByProvider(settings)
    app.include_router(local.router)
    return local.ByAccount(settings)


async def _to_sign_in(request: Request, error: Exception) -> Response:
    assert isinstance(error, doors.NotSignedIn)
    return doors.to_sign_in(request)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refused(request, error)


async def _failed(request: Request, error: Exception) -> Response:
    return failed(request, 503, "This does not work now", str(error))


async def _no_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    titles = {404: "There is no such page", 405: "This cannot be done here"}
    return failed(request, error.status_code, titles.get(error.status_code, "This cannot be done"), "")
