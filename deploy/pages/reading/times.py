"""How long readers had studies open, in sums, for who runs or audits the site."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from deploy.pages.doors import having
from deploy.pages.reading import words
from deploy.pages.site import OfSite
from deploy.pages.templates import page
from flows.reading.times import WEEK_MS, WEEKS, reading_sums
from models.people import Person, Role

router = APIRouter()


@router.get("/reading-times")
def reading_times(
    request: Request, who: Annotated[Person, Depends(having(Role.OPERATOR, Role.AUDITOR))], site: OfSite
) -> Response:
    """Show the sums of the last weeks; a single reader's times are that reader's alone."""
    since_ms = int(time.time() * 1000) - WEEKS * WEEK_MS
    sums = reading_sums(site.records, since_ms)
    return page(request, "times.html", who=who, sums=sums, weeks=WEEKS, words=words)
