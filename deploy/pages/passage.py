"""The way on to servers at other ports of this host: after the sign-in, by the roles of who asks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from deploy.pages.doors import having
from deploy.pages.templates import failed
from models.people import LOOKING, Person, Role
from services.addresses import dashboard_address, viewer_address

router = APIRouter()


@router.get("/viewer")
@router.get("/viewer/{path:path}")
def viewer(request: Request, who: Annotated[Person, Depends(having(*LOOKING))]) -> Response:
    """Send who may look at studies on to the viewer."""
    return _on(request, "/viewer", viewer_address(request.app.state.settings))


@router.get("/dashboard")
@router.get("/dashboard/{path:path}")
def dashboard(request: Request, who: Annotated[Person, Depends(having(Role.OPERATOR))]) -> Response:
    """Send operators on to Prefect's dashboard."""
    return _on(request, "/dashboard", dashboard_address(request.app.state.settings))


def _on(request: Request, door: str, address: str | None) -> Response:
    """Send the browser to the same path at another address, which no path can change."""
    if address is None:
        return failed(
            request, 503, "It does not run here", "Ask who runs Organloop: `organloop up` starts it."
        )
    path = request.url.path.removeprefix(door).lstrip("/")
    query = f"?{request.url.query}" if request.url.query else ""
    return RedirectResponse(f"{address}/{path}{query}", 303)
