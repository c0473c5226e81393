"""The next night: what it will learn, what is missing for the rest, labels in doubt; start and stop."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from threading import BoundedSemaphore, Lock
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request
from fastapi.responses import RedirectResponse, Response

from deploy.pages.doors import having
from deploy.pages.model.beside import Beside
from deploy.pages.model.disk import Disk, disk_of
from deploy.pages.model.lessons import Lessons
from deploy.pages.model.nights import Nights, PrefectNights
from deploy.pages.model.roles import Operating, Watching
from deploy.pages.model.sentences import sentence
from deploy.pages.reading import words
from deploy.pages.site import OfSite, Site
from deploy.pages.templates import page
from flows.arrivals.savers import savers_of
from flows.tuning.tonight import Night, RefusedTonight
from models.organs import name_of
from models.people import LOOKING, Person, Role
from models.uids import SopUid
from services.records.entries.cases import Purpose
from services.records.events.candidates import CandidateTuned, TuningDeclined
from services.records.events.gate import GateDecided
from services.records.port import Records

router = APIRouter()

PREFECT_SECONDS = 5.0
"""Prefect is asked so often while somebody looks."""

DISK_SECONDS = 3600.0
"""The disk is walked through so often while somebody looks."""

SHOWN = 50
"""Labels in doubt on the page; of further ones the number."""

NIGHTS = {
    Night.TUNES: "The next night tunes heads of release {incumbent}.",
    Night.NOTHING_TO_LEARN: "The next night finds nothing to learn.",
    Night.LEARNT_ALREADY: "Release {release} has learnt this already; the gate looks at it again.",
    Night.NO_BETTER: "This was tried, and no head was better: the next night does nothing.",
}

Looking = Annotated[Person, Depends(having(*LOOKING))]
"""Who looks at what was drawn."""

_drawing = Lock()
"""A CT takes hundreds of megabytes while it is read: one at a time."""

_waiting = BoundedSemaphore(8)
"""So many wait for it: a browser asks for six at once."""


class Tonights:
    """What the page knows of a site; all of it is worked out beside the requests.

    Parameters
    ----------
    site
        Whose nights they are.
    """

    def __init__(self, site: Site) -> None:
        self.lessons = Lessons(site)
        self.prefect = PrefectNights(site.settings)
        self.nights: Beside[Nights] = Beside(self.prefect.look, PREFECT_SECONDS)
        self.disk: Beside[Disk] = Beside(
            lambda: disk_of(site.settings, site.releases, site.records), DISK_SECONDS
        )


def _of(request: Request) -> Tonights:
    found: Tonights = request.app.state.tonights
    return found


OfTonights = Annotated[Tonights, Depends(_of)]


@dataclass(frozen=True)
class Doubted:
    """A label that nothing is learnt from.

    Parameters
    ----------
    said
        Which, and why.
    name
        Of the organ.
    sop_instance_uid
        Of the correction; empty of a case that was added otherwise.
    drawn_by
        Who drew it; empty where nobody is named.
    proven
        Whether that name is proven.
    """

    said: RefusedTonight
    name: str
    sop_instance_uid: str
    drawn_by: str
    proven: bool


@dataclass(frozen=True)
class Came:
    """What came of an earlier night: a sentence, and when."""

    at: datetime
    said: str


@router.get("/model/tonight")
def tonight(request: Request, who: Watching, site: OfSite, known: OfTonights) -> Response:
    """Show what is known of the next night."""
    found = known.lessons.look()
    learns = found.value
    said = NIGHTS[learns.night].format(incumbent=learns.incumbent, release=learns.release) if learns else ""
    refused = learns.refused if learns else ()
    serves = site.records.incumbent()
    return page(
        request,
        "tonight.html",
        who=who,
        found=found,
        learns=learns,
        said=said,
        doubted=doubted(refused[:SHOWN], site.records),
        more=len(refused[SHOWN:]),
        nights=known.nights.look(),
        came=came(site.records),
        disk=known.disk.look(),
        serves=serves,
        name_of=name_of,
        bytes_of=in_bytes,
        moment=moment,
        mark=words.mark(site.demonstration([serves])),
        may_operate=who.has(Role.OPERATOR),
        may_look=who.has(*LOOKING),
    )


@router.post("/model/tonight/start")
def start(who: Operating, site: OfSite, known: OfTonights) -> Response:
    """Have a night begin now."""
    known.prefect.start(who, site.records)
    known.nights.forget()
    return RedirectResponse("/model/tonight", 303)


@router.post("/model/tonight/stop")
def stop(
    who: Operating,
    site: OfSite,
    known: OfTonights,
    run: Annotated[str, Form(max_length=64)],
    reason: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """End the night that runs."""
    known.prefect.stop(run, reason, who, site.records)
    known.nights.forget()
    return RedirectResponse("/model/tonight", 303)


@router.get("/model/tonight/labels/{case}/{organ}")
def label(case: str, organ: str, who: Looking, site: OfSite, known: OfTonights) -> Response:
    """Give the picture of a label in doubt, read from its case; of no other label."""
    learns = known.lessons.look().value
    refused = learns.refused if learns else ()
    rows = {one.case_id: one for one in site.records.cases(Purpose.TUNING)}
    if case not in rows or not any((one.case, one.organ) == (case, organ) for one in refused):
        return Response("there is no such label in doubt\n", 404, media_type="text/plain")
    from services.pictures.label_view import label_view

    if not _waiting.acquire(blocking=False):  # readers' pages need the threads too
        return Response("others are being drawn\n", 503, {"Retry-After": "2"}, media_type="text/plain")
    try:
        with _drawing:
            content = site.cases.read(rows[case], organ)
            drawn = content.labels[organ].inside
            png = label_view(organ, content.volume, content.ct, drawn, content.sent.get(organ))
    finally:
        _waiting.release()
    return Response(png, media_type="image/png")


def doubted(refused: Iterable[RefusedTonight], records: Records) -> list[Doubted]:
    """Return labels in doubt with who drew them."""
    found = []
    for one in refused:
        uid = SopUid((one.correction or "").partition("/")[0])
        versions = records.corrections(sop_instance_uid=uid) if uid else ()
        reader = versions[-1].reader if versions else ""
        savers = savers_of(uid, records) if uid else ()
        proven = any(saver.who == reader and saver.proof is not None for saver in savers)
        found.append(Doubted(one, name_of(one.organ), uid, reader, proven))
    return found


def came(records: Records) -> list[Came]:
    """Return what came of the last night that tuned, as the log says it."""
    tuned = [one for kind in (CandidateTuned, TuningDeclined) if (one := records.last(kind)) is not None]
    if not tuned:
        return []
    last = max(tuned, key=lambda one: one.number)
    decided = records.last(GateDecided)
    found = [Came(last.at, sentence(last.said))]
    if decided is not None and decided.number > last.number:
        found.append(Came(decided.at, sentence(decided.said)))
    return found


def in_bytes(size: int) -> str:
    """Return a size as a person says it: 1.2 GB."""
    value, unit = float(size), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.1f} {unit}"


def moment(when: datetime) -> str:
    """Return a time in the site's zone, as 02.03. 11:40."""
    return words.moment(int(when.timestamp() * 1000))
