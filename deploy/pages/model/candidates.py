"""Candidates: the incumbent against each, why the gate decided so, and what stands in the way."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi import Path as PathParameter
from fastapi.responses import JSONResponse, Response

from deploy.pages.model.roles import OwnerLooking, Watching
from deploy.pages.reading import words
from deploy.pages.site import OfSite, Site
from deploy.pages.templates import page
from flows.gate import sections
from flows.gate.last_report import LastReport, last_report
from flows.lineage import origin_of_release
from flows.promotion.asked import act_of
from flows.promotion.obstacles import Obstacle, obstacles
from flows.promotion.promote import unfinished
from flows.promotion.second_person import named
from flows.promotion.standing import Standing, standings
from models.documents import to_json
from models.errors import InvalidRelease, Refused
from models.gate.report import Decision
from models.organs import name_of
from models.people import LOOKING, Person, Role
from models.release import Release
from services.records.entries.releases import ReleaseState
from services.records.events.candidates import CandidateTaught, CandidateTuned
from services.records.events.gate import GateDecided
from services.records.events.serving import ReleasePromoted
from services.records.port import Records
from services.releases.gate_pages import GatePicture, pictures_of, read_page

router = APIRouter(prefix="/model/candidates")

AT_ONCE = 50
"""Releases of a page."""

Number = Annotated[int, PathParameter(ge=1)]

STATES: Mapping[ReleaseState | None, str] = {
    None: "not on record",
    ReleaseState.CANDIDATE: "waits for the gate",
    ReleaseState.REFUSED: "refused by the gate",
    ReleaseState.NEEDS_APPROVAL: "waits for a person",
    ReleaseState.DECLINED: "declined",
    ReleaseState.PROMOTED: "has served",
}

DECIDED: Mapping[str, str] = {
    Decision.PROMOTE: "passed the gate, waits for a person",
    Decision.NEEDS_APPROVAL: STATES[ReleaseState.NEEDS_APPROVAL],
    Decision.INSUFFICIENT_EVIDENCE: "the gate has too little evidence",
    Decision.REFUSE: STATES[ReleaseState.REFUSED],
}

CUT_SHORT = timedelta(minutes=5)
"""Golden studies take less; a promotion that is not complete after so long was cut short."""


@dataclass(frozen=True)
class Row:
    """A release as it stands in the list.

    Parameters
    ----------
    release
        The release.
    state
        How far it has come, in words.
    tuned
        Organs whose heads are not the parent's, by name.
    standing
        What was said of it last.
    """

    release: Release
    state: str
    tuned: tuple[str, ...]
    standing: Standing | None


@router.get("")
def candidates(request: Request, who: Watching, site: OfSite, before: int = 0) -> Response:
    """List releases, the newest first."""
    numbers = sorted(site.releases.numbers(), reverse=True)
    if before:
        numbers = [one for one in numbers if one < before]
    shown = [site.releases.release(one) for one in numbers[:AT_ONCE]]
    states, said = site.records.release_states(), standings(site.records)
    rows = [
        Row(
            release=one,
            state=state_of(one.number, states.get(one.number), site.records),
            tuned=tuned_organs(one, site),
            standing=said.get(one.number),
        )
        for one in shown
    ]
    return page(
        request,
        "candidates.html",
        who=who,
        rows=rows,
        older=shown[-1].number if len(numbers) > AT_ONCE else 0,
        mark=words.mark(any(one.demonstration for one in shown)),
    )


@router.get("/{number}")
def candidate(request: Request, number: Number, who: Watching, site: OfSite) -> Response:
    """Show a release: what it learnt, what the gate found, what stands in the way of its promotion."""
    release, now = known(number, site), datetime.now(UTC)
    last, unread = gate_report(release, site)
    shown, not_shown = _pictures_of(last, site)
    incumbent, state = site.records.incumbent(), site.records.release_states().get(number)
    document = None if last is None else last.document
    made = origin_of_release(number, site.records)
    since = unfinished(number, site.records)
    act = act_of(number, site.records, now)
    return page(
        request,
        "candidate.html",
        who=who,
        release=release,
        serves=number == incumbent,
        incumbent=incumbent,
        state=state_of(number, state, site.records),
        said=standings(site.records).get(number),
        tuned=tuned_organs(release, site),
        last=last,
        document=document,
        reasons=None if document is None else sections.reasons(document),
        untouched=() if document is None else sections.untouched(document),
        sections=() if document is None else (*sections.organs(document), sections.groups(document)),
        unread=unread or not_shown,
        pictures=list(enumerate(shown)) if who.has(*LOOKING) else (),
        may_look=who.has(*LOOKING),
        obstacles=obstacles_of(release, last, who, site),
        may_decide=who.has(Role.APPROVER),
        may_decline=number != incumbent and state not in (ReleaseState.DECLINED, ReleaseState.PROMOTED),
        unfinished=since is not None and now - since > CUT_SHORT and (act is None or act.ended),
        made=made,
        report=made.report if isinstance(made, CandidateTuned) else None,
        learnt=learnt(made, site) if isinstance(made, CandidateTaught) else (),
        pack=pack_of(number, site),
        act=act,
        name_of=name_of,
        words=words,
        cell=cell,
        asked_at=lambda at: words.moment(int(datetime.fromisoformat(at).timestamp() * 1000)),
        mark=words.mark(release.demonstration),
    )


@router.get("/{number}/report.json")
def report(number: Number, who: Watching, site: OfSite) -> Response:
    """Give the gate's report, the document of the `gate` verb."""
    last = last_report(known(number, site), site.records, site.releases, site.settings)
    if last is None or last.document is None:
        raise Refused("no-report", f"the gate has written no report on release {number}")
    return JSONResponse(to_json(last.document))


@router.get("/{number}/report.html")
def report_page(number: Number, who: OwnerLooking, site: OfSite) -> Response:
    """Give the report's own page, to keep: it needs nothing beside it, and shows slices of CTs."""
    found = _page_of(last_report(known(number, site), site.records, site.releases, site.settings), site)
    if found is None:
        raise Refused("no-report", f"no page of a gate report on release {number} is kept")
    name = f'attachment; filename="gate-release-{number}.html"'
    return Response(found, media_type="text/html", headers={"Content-Disposition": name})


@router.get("/{number}/pictures/{index}")
def picture(number: Number, index: int, who: OwnerLooking, site: OfSite) -> Response:
    """Give a picture of the report's page: some are slices of CTs."""
    found = pictures(last_report(known(number, site), site.records, site.releases, site.settings), site)
    if not 0 <= index < len(found):
        return Response("there is no such picture\n", 404, media_type="text/plain")
    return Response(found[index].png, media_type="image/png")


@router.get("/{number}/release.json")
def release_file(number: Number, who: Watching, site: OfSite) -> Response:
    """Give what the release pins, as it lies in the store."""
    return JSONResponse(json.loads(known(number, site).to_bytes()))


def known(number: int, site: Site) -> Release:
    """Return a release; refuse a number that is none as `no-such-release`."""
    if number not in site.releases.numbers():
        raise Refused("no-such-release", f"there is no release {number}")
    return site.releases.release(number)


def gate_report(release: Release, site: Site) -> tuple[LastReport | None, str]:
    """Return what the gate says of a release, and why it cannot be shown; empty where it can."""
    try:
        return last_report(release, site.records, site.releases, site.settings), ""
    except InvalidRelease as error:
        return None, str(error)


def _pictures_of(last: LastReport | None, site: Site) -> tuple[tuple[GatePicture, ...], str]:
    try:
        return pictures(last, site), ""
    except InvalidRelease as error:
        return (), str(error)


def state_of(number: int, state: ReleaseState | None, records: Records) -> str:
    """Return how far a release has come, in words; what was decided against another than serves is past."""
    if number == records.incumbent():
        return "serves"
    if state is ReleaseState.CANDIDATE:
        decided = records.last(GateDecided, release=number, against=records.incumbent() or 0)
        return STATES[state] if decided is None else DECIDED[decided.said.decision]
    return STATES[state]


def pictures(last: LastReport | None, site: Site) -> tuple[GatePicture, ...]:
    """Return the pictures of the report on record: differences, then the worst cases."""
    found = _page_of(last, site)
    return () if found is None else pictures_of(found)


def _page_of(last: LastReport | None, site: Site) -> bytes | None:
    if last is None or last.decided.said.page is None or last.decided.said.trial is None:
        return None
    said = last.decided.said
    return read_page(site.releases.folder, said.release, str(said.trial), str(said.page))


def tuned_organs(release: Release, site: Site) -> tuple[str, ...]:
    """Return the names of the organs whose heads are not the parent's."""
    if release.parent is None:
        return ()
    before = site.releases.release(release.parent).heads
    return tuple(name_of(organ) for organ, head in release.heads.items() if before.get(organ) != head)


def learnt(made: CandidateTaught, site: Site) -> tuple[tuple[str, str, str], ...]:
    """Return what each correction taught: whose it was, which organs, and its page where it is listed."""
    taught = made.taught or {}
    corrections = {one.name: one for one in named(taught, site.records)}
    listed = site.records.listed_studies({one.study_uid for one in corrections.values()})
    pages = {one.study_uid: one.page for one in listed}
    found = []
    for name, organs in taught.items():
        one = corrections.get(name)
        reader = "" if one is None else one.reader
        shown = ", ".join(map(name_of, organs))
        found.append((reader or "nobody named", shown, pages.get(one.study_uid, "") if one else ""))
    return tuple(found)


def pack_of(number: int, site: Site) -> str:
    """Return the SHA-256 of the evidence pack of a release's last promotion; empty where there is none."""
    done = site.records.last(ReleasePromoted, release=number)
    return "" if done is None or done.said.evidence is None else done.said.evidence


def cell(value: object) -> str:
    """Return a value of a table as it is shown."""
    if isinstance(value, float):
        return f"{value:.3f}"
    return "—" if value is None else str(value)


def obstacles_of(release: Release, last: LastReport | None, who: Person, site: Site) -> tuple[Obstacle, ...]:
    """Return what stands in the way of this person's promotion of a release."""
    return obstacles(release, last, who, site.records, site.releases, site.settings.own_corrections)
