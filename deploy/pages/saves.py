"""A save in the viewer: passed on to the archive piece by piece, and put on record as the act of who saved.

nginx leads `POST /dicom-web/studies` here. Source: PS3.18 section 10.5 (STOW-RS).
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Annotated

import httpx2
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse, Response

from deploy.pages.doors import having
from deploy.pages.site import Site
from flows.arrivals.savers import note_saver
from models.errors import StorageFailed
from models.people import Person, Role
from models.uids import is_uid
from services.pacs import stow
from services.settings import Settings
from services.wiring import ReadersArchive, readers_archive

router = APIRouter()

UNDER = "/archive/"
"""Only pages of the viewer ask what lies under it."""

MOST_BYTES = 1024**3
"""Of a save: as `client_max_body_size` (deploy/doors/requests.conf)."""

MOST_ANSWER_BYTES = 16 * 1024**2
"""Of what the archive says to it; a save of OHIF's is answered in some hundred."""

ANSWER_SECONDS = 300.0
"""Longest wait for the archive's answer, as nginx waits for ours."""

PASSED_ON = ("content-type", "accept", "forwarded", "content-length")
"""What the archive is told of a request; addresses in its answer lead where `forwarded` says."""

NOBODYS = "It is in the archive, but under nobody's name: {why}. Save again, or tell who runs Organloop.\n"


class TooLarge(Exception):
    """A save has more bytes than any object that would be read."""


@router.post("/archive/studies")
@router.post("/archive/studies/{study_uid}")
async def save(
    request: Request, who: Annotated[Person, Depends(having(Role.READER))], study_uid: str | None = None
) -> Response:
    """Pass a save on to the archive, and its answer back; what it took in is on record as this person's."""
    if study_uid is not None and not is_uid(study_uid):
        raise HTTPException(404)
    archive = readers_archive(request.app.state.settings)
    if archive is None:
        return PlainTextResponse("no archive is known here: organloop up\n", 503)
    try:
        answer = await _passed_on(request, archive, study_uid)
    except TooLarge:
        return PlainTextResponse(f"a save has {MOST_BYTES} bytes at most\n", 413)
    except httpx2.HTTPError as error:
        return PlainTextResponse(f"the archive does not answer ({type(error).__name__}): save again\n", 502)
    if answer.status_code // 100 != 2:
        return answer
    taken_in = stow.stored(bytes(answer.body))
    if not taken_in and (taken_in is None or answer.status_code == 200):
        return PlainTextResponse(NOBODYS.format(why="its answer names no object"), 503)
    try:
        await run_in_threadpool(_note, request, taken_in, who)
    except StorageFailed:
        return PlainTextResponse(NOBODYS.format(why="the records cannot be written"), 503)
    return answer


async def _passed_on(request: Request, archive: ReadersArchive, study_uid: str | None) -> Response:
    """Return the archive's answer; nothing of the body is held."""
    settings: Settings = request.app.state.settings
    address = f"{archive.dicomweb_url}/studies" + (f"/{study_uid}" if study_uid else "")
    told = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
    if int(told.get("content-length", 0)) > MOST_BYTES:
        raise TooLarge
    account = None
    if archive.account is not None:
        account = httpx2.BasicAuth(archive.account.user, archive.account.password)
    elif archive.asks and "authorization" in request.headers:
        told["authorization"] = request.headers["authorization"]
    trusted = ssl.create_default_context(cafile=settings.archive_ca_file)
    timeout = httpx2.Timeout(settings.archive_deadline_seconds, read=ANSWER_SECONDS)
    async with httpx2.AsyncClient(verify=trusted, trust_env=False, timeout=timeout) as client:
        head = {**told, "accept-encoding": "identity"}
        sent = client.stream("POST", address, content=_counted(request), headers=head, auth=account)
        async with sent as answer:
            body = bytearray()
            async for piece in answer.aiter_raw():
                body += piece
                if len(body) > MOST_ANSWER_BYTES:
                    raise httpx2.ReadError("the answer is too large")
            kept = ("content-type", "warning", "www-authenticate")
            said = {name: answer.headers[name] for name in kept if name in answer.headers}
            return Response(bytes(body), answer.status_code, headers=said)


async def _counted(request: Request) -> AsyncIterator[bytes]:
    passed = 0
    async for piece in request.stream():
        passed += len(piece)
        if passed > MOST_BYTES:
            raise TooLarge
        yield piece


def _note(request: Request, taken_in: tuple[stow.Stored, ...], who: Person) -> None:
    """Put on record whose these objects are, a sign of life of their study; raises as `note_saver`."""
    site: Site = request.app.state.site
    for one in taken_in:
        note_saver(one.sop_instance_uid, one.study_uid, who, site.records)
        if one.study_uid is not None:
            site.records.still_held(one.study_uid, who)
