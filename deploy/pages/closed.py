"""What every answer forbids a browser, and what is not asked by our own pages is refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""No asset of another origin, no script in a page, no page in a frame.

Source: W3C Content Security Policy Level 3.
"""

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing. Source: RFC 9110, section 9.2.1."""


class ClosedPages:
    """Give every answer the headers by which a browser keeps it to itself."""

    def __init__(self, app: ASGIApp, address: str) -> None:
        self._app = app
        parts = urlsplit(address)
        # A form may lead on to the viewer, which is this host at another port: the sign-in's does.
        forms = f"form-action 'self' {parts.scheme}://{parts.hostname}:*"
        self._headers = {
            "Content-Security-Policy": f"{POLICY}; {forms}",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            # A study's page knows the viewer's window that it opened; who opens a page of ours knows nothing.
            "Cross-Origin-Opener-Policy": "same-origin-allow-popups",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if parts.scheme == "https":
            self._headers["Strict-Transport-Security"] = "max-age=31536000"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does."""

        async def closed(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                if not scope["path"].startswith("/assets/"):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        await self._app(scope, receive, closed)


class SameOrigin:
    """Refuse what would change something unless a page of ours asks for it.

    A browser says with each such request from where it comes (`Origin`). Without that word it is refused too:
    whoever is no browser has no session to be abused, and takes a token.

    Parameters
    ----------
    app
        What is protected.
    origin
        Of our pages.
    doors
        Beginnings of paths that are for pages of another origin alone, asked for each time; None is nobody.
    """

    def __init__(
        self, app: ASGIApp, origin: str, doors: Mapping[str, Callable[[], str | None]] | None = None
    ) -> None:
        self._app, self._origin, self._doors = app, origin, doors or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer as the application does, or 403."""
        if scope["type"] == "http" and scope["method"] not in SAFE:
            origin, wanted = Headers(scope=scope).get("origin"), self._wanted(scope["path"])
            if origin is None or origin != wanted:
                where = wanted or self._origin
                said = f"this was asked from {origin or 'nowhere'}; open {where} and ask there\n"
                await PlainTextResponse(said, status_code=403)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _wanted(self, path: str) -> str | None:
        return next((of() for begin, of in self._doors.items() if path.startswith(begin)), self._origin)
