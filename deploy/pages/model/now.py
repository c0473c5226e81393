"""What serves now, how it fares, and what stands still."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response

from deploy.pages.model.candidates import gate_report, state_of
from deploy.pages.model.roles import Watching
from deploy.pages.model.weekly import LATELY, Trend, Weekly
from deploy.pages.reading import words
from deploy.pages.site import OfSite
from deploy.pages.templates import page
from flows.promotion.roll_back import earlier_incumbents
from flows.speech.speech import speech_of
from flows.telling.matters import standstills
from flows.telling.tell import why_not_told
from models.calibration import Certificate
from models.errors import OrganloopError
from models.organs import name_of
from models.people import Role
from models.release import Release
from services.inference.port import Endpoint
from services.records.entries.arrivals import ArrivalState
from services.records.entries.releases import ReleaseState
from services.records.events.event import Recorded
from services.records.events.results import BoundsChecked, CheckedBound
from services.records.events.serving import IncumbentChanged
from services.records.port import Records
from services.wiring import connect

router = APIRouter(prefix="/model")

WITHOUT = (ArrivalState.REFUSED, ArrivalState.FAILED)
"""Studies that have come to no result."""

LOOKED_AT = (ReleaseState.NEEDS_APPROVAL, ReleaseState.REFUSED, ReleaseState.CANDIDATE)

NEWEST = 20
"""Of these so many are shown one by one."""

CHECKS = 8
"""Checks of bounds that are shown, the newest."""


@dataclass(frozen=True)
class OrganNow:
    """What is known of one organ of the release that serves.

    Parameters
    ----------
    organ
        Key in the catalogue.
    certificate
        What is certified of it; None where nothing is.
    bounded
        Whether a bound is claimed at all.
    checks
        How often its bound held, check by check, the oldest first; None where nobody had looked.
    trend
        How often it is flagged and edited; None before the first result.
    """

    organ: str
    certificate: Certificate | None
    bounded: bool
    checks: tuple[CheckedBound | None, ...]
    trend: Trend | None

    @property
    def held(self) -> CheckedBound | None:
        """How often its bound held, as checked last."""
        return self.checks[-1] if self.checks else None


@dataclass(frozen=True)
class Answer:
    """What one server says of the release that serves."""

    url: str
    ready: bool
    said: str


@router.get("")
def now(request: Request, who: Watching, site: OfSite) -> Response:
    """Show what serves, how it fares, which studies have no result, and what stands still."""
    records = site.records
    incumbent = records.incumbent()
    release = None if incumbent is None else site.releases.release(incumbent)
    weekly: Weekly = request.app.state.weekly
    counted, checks = weekly.look(), records.all(BoundsChecked, release=incumbent or 0)[-CHECKS:]
    report, unread = (None, "") if release is None else gate_report(release, site)
    by_code = records.studies_by_code(WITHOUT)
    change = records.last(IncumbentChanged)
    return page(
        request,
        "now.html",
        who=who,
        release=release,
        change=change,
        since="" if change is None else words.moment(int(change.at.timestamp() * 1000)),
        speech=speech_of(records),
        last=report,
        unread=unread,
        organs=() if release is None else organs_now(release, counted.value or (), checks),
        counted=counted,
        checks=checks,
        lately=LATELY,
        without=sorted(by_code.items(), key=lambda item: -item[1]),
        newest=records.studies_of(WITHOUT, NEWEST) if by_code else (),
        waiting=waiting(records),
        still=stands_still(records, datetime.now(UTC)),
        may_roll_back=who.has(Role.APPROVER) and bool(earlier_incumbents(records)),
        name_of=name_of,
        words=words,
        spark=spark,
        moment=moment,
        mark=words.mark(release is not None and release.demonstration),
    )


@router.get("/servers")
def servers(request: Request, who: Watching, site: OfSite) -> Response:
    """Say, as a part of a page, on which servers the release is loaded: each is asked now."""
    incumbent = site.records.incumbent()
    try:
        endpoints = connect(site.settings, site.records).endpoints
        answers = [_asked(one, incumbent) for one in endpoints] if incumbent else []
        trouble = ""
    except OrganloopError as error:
        answers, trouble = [], str(error)
    return page(request, "servers.html", who=who, incumbent=incumbent, answers=answers, trouble=trouble)


def _asked(endpoint: Endpoint, release: int) -> Answer:
    try:
        if not endpoint.ready(release):
            return Answer(endpoint.url, False, "it has not loaded the release")
        return Answer(endpoint.url, True, endpoint.profile(release))
    except OrganloopError as error:
        return Answer(endpoint.url, False, str(error))


def organs_now(
    release: Release, trends: Sequence[Trend], checks: Sequence[Recorded[BoundsChecked]]
) -> tuple[OrganNow, ...]:
    """Return what is known of each organ of a release, in the contract's order."""
    calibrated = {} if release.calibration is None else release.calibration.organs
    by_organ = {one.organ: one for one in trends}
    found = []
    for organ in release.contract.organs:
        own = calibrated.get(organ)
        found.append(
            OrganNow(
                organ=organ,
                certificate=None if own is None else own.certificate,
                bounded=own is not None,
                checks=tuple(one.said.organs.get(organ) for one in checks),
                trend=by_organ.get(organ),
            )
        )
    return tuple(found)


def waiting(records: Records) -> tuple[tuple[int, str], ...]:
    """Return the releases that somebody should look at, and why: those after the one that serves."""
    found = []
    for number, state in sorted(records.release_states().items(), reverse=True):
        if number > (records.incumbent() or 0) and state in LOOKED_AT:
            found.append((number, state_of(number, state, records)))
    return tuple(found)


def stands_still(records: Records, now: datetime) -> tuple[str, ...]:
    """Return what stands still, and whether people hear of it, one sentence each."""
    failed = why_not_told(records)
    silent = (f"People could not be told what waits for them: {failed}.",) if failed else ()
    return (*(f"{one.words} {one.detail}".strip() for one in standstills(records, now)), *silent)


def moment(at: datetime) -> str:
    """Return a time in the site's zone."""
    return words.moment(int(at.timestamp() * 1000))


def spark(weeks: Sequence[float | None]) -> str:
    """Return an SVG path through the weeks in a box of 12 by 20: flagged of hundred, a gap where none is."""
    parts, pen = [], "M"
    for index, value in enumerate(weeks):
        if value is None:
            pen = "M"
            continue
        parts.append(f"{pen}{index} {20 - value / 5:.1f}" + ("h0.1" if pen == "M" else ""))
        pen = "L"
    return "".join(parts)
