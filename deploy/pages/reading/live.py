"""That something has happened, told to every open page: a number, and never what or of whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from deploy.pages.doors import having
from deploy.pages.site import Site
from models.errors import StorageFailed
from models.people import Person, Role

router = APIRouter()

Listening = Annotated[Person, Depends(having(*Role))]
"""Who hears that something has happened: whoever may look at anything."""

EVERY_SECONDS = 1.0
HEARTBEAT_SECONDS = 15.0
"""A page that hears nothing for a minute says that it is not up to date."""


class Changes:
    """How far the log has come: asked once a second for all pages together, while one is open.

    Parameters
    ----------
    site
        With the log.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._number: int | None = None
        self._moved = asyncio.Condition()
        self._open = 0
        self._asking: asyncio.Task[None] | None = None

    async def numbers(self) -> AsyncIterator[int]:
        """Yield the number of the last event, at once, after each change, and as a sign of life."""
        told: int | None = None
        self._open += 1
        try:
            while True:
                if self._asking is None or self._asking.done():
                    self._asking = asyncio.create_task(self._ask())
                with suppress(TimeoutError):
                    async with asyncio.timeout(HEARTBEAT_SECONDS), self._moved:
                        await self._moved.wait_for(lambda told=told: self._number not in (None, told))  # type: ignore[misc]
                        told = self._number
                if told is not None:
                    yield told
        finally:
            self._open -= 1
            if self._open == 0 and self._asking is not None:
                self._asking.cancel()
                self._asking = None

    async def _ask(self) -> None:
        while True:
            with suppress(StorageFailed):  # pages say themselves that they hear nothing
                line = await run_in_threadpool(lambda: self._site.records.head())
                async with self._moved:
                    self._number = 0 if line is None else line.number
                    self._moved.notify_all()
            await asyncio.sleep(EVERY_SECONDS)


@router.get("/changes")
async def changes(request: Request, who: Listening) -> StreamingResponse:
    """Tell that something has happened, as server-sent events.

    Source: WHATWG HTML, section 9.2.
    """
    told: Changes = request.app.state.changes

    async def stream() -> AsyncIterator[str]:
        async for number in told.numbers():
            yield f"id: {number}\ndata: {number}\n\n"

    headers = {"X-Accel-Buffering": "no"}
    return StreamingResponse(stream(), media_type="text/event-stream", headers=headers)
