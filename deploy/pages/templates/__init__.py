"""What a browser is sent, as HTML; Jinja2 escapes every value."""

from __future__ import annotations

from pathlib import Path

from fastapi import Request
from fastapi.responses import JSONResponse, Response
from jinja2 import StrictUndefined
from starlette.templating import Jinja2Templates

from models.documents import to_json
from models.errors import Refused
from models.organs import name_of

_TEMPLATES = Jinja2Templates(directory=Path(__file__).parent)
_TEMPLATES.env.undefined = StrictUndefined
_TEMPLATES.env.filters["organ_name"] = name_of
_TEMPLATES.env.trim_blocks = _TEMPLATES.env.lstrip_blocks = True

FORBIDDEN = frozenset({"not-allowed", "not-the-proxy", "two-names"})
STATUS = {"no-such-study": 404, "no-such-release": 404, "no-report": 404, **dict.fromkeys(FORBIDDEN, 403)}
"""Of a refusal; of any other it is 409."""


def page(request: Request, name: str, status: int = 200, **values: object) -> Response:
    """Return a page; values are those that its template names."""
    who = values.pop("who", None)
    return _TEMPLATES.TemplateResponse(request, name, {"who": who, **values}, status_code=status)


def failed(request: Request, status: int, title: str, said: str) -> Response:
    """Return the page, or the document where no page was asked for, of what could not be done."""
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"detail": f"{title}. {said}".strip()}, status)
    return page(request, "failed.html", status, title=title, said=said)


def refused(request: Request, refusal: Refused) -> Response:
    """Return a refusal: its code, what happened and what to do."""
    status = STATUS.get(refusal.code, 409)
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse(to_json(refusal.said), status)
    title = "You may not do this" if status == 403 else "This was refused"
    return page(request, "failed.html", status, title=title, said=f"{refusal.detail} ({refusal.code})")
