"""How long the model owner's pages take after 400 nights and 50,000 studies."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import insert
from starlette.testclient import TestClient

from deploy.pages.application import application
from deploy.pages.model.log_look import LogLook
from models.people import Person, Role
from models.tuning.document import TuningReport
from services.records.chain import FIRST, link
from services.records.events.candidates import CandidateTuned, TuningDeclined
from services.records.events.corrections import CorrectionRecorded, OrgansAccepted
from services.records.events.event import Event
from services.records.events.gate import GateDecided
from services.records.events.operations import BackupTaken, NightStarted
from services.records.events.reading import OpinionGiven, StudyListed
from services.records.events.results import AuditDrawn, ResultRecorded, StudySegmented
from services.records.events.serving import IncumbentChanged, ReleasePromoted
from services.records.store import SqlRecords, open_records
from services.records.tables import ArrivalRow, CorrectionRow, EventRow, ListedRow, OrganLedgerRow, ReleaseRow
from services.releases.store import ReleaseStore
from services.settings import Settings
from tests.conftest import ROOT
from tests.support.listed import NOON
from tests.support.postgresql import new_database

HERE = "http://127.0.0.1:8500"
NIGHTS, STUDIES, ROUNDS, GOAL_MS = 400, 50_000, 11, 500
ROWS = 5000
CORRECTED = 8
"""Every eighth study comes back corrected; a candidate learns from as many as came in a day."""
EVERY = Person("a1", "https://id.example", "Ms. Roth", frozenset(Role))
ORGANS = ("spleen", "liver", "aorta", "right_kidney", "left_kidney", "pancreas", "stomach", "postcava")
READERS = tuple(f"Dr. {name}" for name in ("Weber", "Lang", "Ito", "Roth", "Meier", "Sato"))
FLAGS = {organ: ("clear", "review", "clear", "reject")[n % 4] for n, organ in enumerate(ORGANS)}
SECONDS = dict.fromkeys(("fetch", "load", "segment", "judge", "write", "prove", "send", "total"), 1.25)
ADDRESSES = {
    "newest lines": "/log",
    "lines in the middle": "/log?before=150000",
    "of one reader": "/log?by=Dr.+Weber",
    "of one reader, an act that is nobody's": "/log?by=Dr.+Weber&act=gate-decided",
    "one act, the rarest": "/log?act=incumbent-changed",
    "of a release": "/log?release=3",
    "of a release, by a reader": "/log?release=3&by=Dr.+Lang",
    "of a study": "/log?study=1.2.777",
    "one week, a year ago": "/log?since=2025-03-01&until=2025-03-07",
    "until a day long ago, by a reader": "/log?until=2025-01-10&by=Dr.+Sato",
    "evidence packs": "/log/packs",
    "tonight": "/model/tonight",
    "what serves now": "/model",
    "releases": "/model/candidates",
    "a candidate": f"/model/candidates/{NIGHTS}",
}


class AsIs:
    def person(self, request: object) -> Person:
        return EVERY


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    url = None
    if request.param == "postgresql":
        url = new_database(request.getfixturevalue("postgresql"), "model_pages")
    settings = Settings(home=tmp_path, database_url=url)
    shutil.copytree(ROOT / "models" / "starter", settings.release_store)
    return settings


def happened() -> Iterator[tuple[timedelta, str, Event]]:
    """Yield what happens in 400 days, and how long after their beginning."""
    a_day = STUDIES // NIGHTS
    for day in range(NIGHTS):
        release = 1 + day // 100
        for n in range(a_day):
            number = day * a_day + n
            yield from of_study(number, timedelta(days=day, minutes=10 * n), 1 + day // 100)
        night = timedelta(days=day, hours=22)
        yield night, "backup", BackupTaken(taken_at="2025-01-01T00:00:00", files=1000, copied_bytes=10**9)
        yield night, "Mr. Oz", NightStarted(run=f"{day:032x}")
        yield night, "nightly", TuningDeclined(run=f"{day:064x}", report=TuningReport(), seconds={})
        if day > 0:
            candidate = day + 1
            learnt = tuple(f"1.7.{day * a_day + n}" for n in range(0, a_day, CORRECTED))
            yield (
                night,
                "tune_heads",
                CandidateTuned(
                    run=f"{day:064x}",
                    release=candidate,
                    parent=day,
                    organs=("spleen",),
                    cases=learnt,
                    patients=learnt,
                    sites=("site 0",),
                    taught=dict.fromkeys(learnt, ("spleen",)),
                ),
            )
            decided = GateDecided(
                release=candidate, against=release, decision="refuse", reasons=("worse-than-incumbent",)
            )
            yield night, "gate_candidate", decided
        if day % 100 == 99:
            said = {
                "release": release + 1,
                "replaced": release,
                "approver": "Dr. Ito",
                "reason": "gate passed",
            }
            yield night, "gate", GateDecided(release=release + 1, against=release, decision="pass")
            yield (
                night,
                "Dr. Ito",
                IncumbentChanged(before=release, after=release + 1, reason="gate passed"),
            )
            yield night, "Dr. Ito", ReleasePromoted(**said, evidence="e" * 64, digest="d" * 64)  # type: ignore[arg-type]


def of_study(number: int, at: timedelta, release: int) -> Iterator[tuple[timedelta, str, Event]]:
    uid, key, who = f"1.2.{number}", f"{number:064x}", READERS[number % len(READERS)]
    objects = {"organ-seg": f"1.4.{number}", "review-seg": f"1.5.{number}", "report": f"1.6.{number}"}
    of = {"study_uid": uid, "release": release}
    yield at, "segment_study", ResultRecorded(result=key, objects=objects, site=f"site {number % 3}", **of)  # type: ignore[arg-type]
    yield at, "segment_study", StudyListed(result=key, findings=len(ORGANS), **of)  # type: ignore[arg-type]
    yield at, "segment_study", StudySegmented(seconds=SECONDS, flags=FLAGS, result=key, **of)  # type: ignore[arg-type]
    if number % CORRECTED == 0:
        corrected = CorrectionRecorded(
            sop_instance_uid=f"1.7.{number}",
            version=1,
            study_uid=uid,
            status="correction",
            edited=("spleen",),
            questions=0,
        )
        yield at + timedelta(hours=1), "ingest", corrected
    if number % 20 == 0:
        yield at, "segment_study", AuditDrawn(series_uid=f"1.3.{number}", importance_ml=1.0, organs={}, **of)  # type: ignore[arg-type]
    seen = {"result": key, "opinion": "accept", "why": "", "seen": "pictures", **of}
    later = at + timedelta(minutes=5)
    yield later, who, OpinionGiven(organs=ORGANS[:2], **seen)  # type: ignore[arg-type]
    yield later, who, OpinionGiven(organs=ORGANS[2:3], **seen)  # type: ignore[arg-type]
    yield later, who, OrgansAccepted(series_uid=f"1.3.{number}", organs=ORGANS[3:], **of)  # type: ignore[arg-type]


def fill(records: SqlRecords) -> int:
    """Write the log of a site, rightly chained, and its worklist; return the number of lines."""
    begin = NOON - timedelta(days=NIGHTS)
    previous, rows, numbers = FIRST, [], count(1)
    with records._engine.begin() as connection:
        for after, who, event in happened():
            number, at, payload = next(numbers), begin + after, event.payload()
            if who in READERS:
                payload["proof"] = {"subject": who, "issuer": "https://id.example"}
            digest = link(number, at, event.what, who, payload, None, previous)
            row = {"number": number, "key": None, "at": at, "what": event.what, "who": who}
            rows.append(row | {"payload": payload, "previous": previous, "digest": digest})
            previous = digest
            if len(rows) == ROWS:
                connection.execute(insert(EventRow), rows)
                rows = []
        connection.execute(insert(EventRow), rows)
        states = [{"number": n, "digest": f"{n:064x}", "state": "refused"} for n in range(2, NIGHTS + 1)]
        connection.execute(insert(ReleaseRow), states)
        for first in range(0, STUDIES, ROWS):
            numbers = range(first, first + ROWS)
            connection.execute(insert(ListedRow), [listed_row(n) for n in numbers])
            connection.execute(insert(ArrivalRow), [arrival_row(n, begin) for n in numbers])
            corrected = [n for n in numbers if n % CORRECTED == 0]
            connection.execute(insert(CorrectionRow), [correction_row(n, begin) for n in corrected])
            connection.execute(insert(OrganLedgerRow), [ledger_row(n) for n in corrected])
    return number


def publish(releases: ReleaseStore) -> None:
    """Publish a release a night, each tuned from the one that served then."""
    first = releases.release(1)
    for number in range(2, NIGHTS + 1):
        releases.publish(replace(first, number=number, parent=1 + (number - 2) // 100))


def arrival_row(number: int, at: datetime) -> dict[str, object]:
    refused = number % 50 == 0
    state, code = ("refused", "missing-slices") if refused else ("segmented", "")
    uid = {"uid": f"1.2.{number}", "study_uid": f"1.2.{number}", "version": "", "run": "", "patient": ""}
    counts = {"instances": 0, "attempts": 0, "interrupted": 0, "revision": 0}
    flags = {"urgent": False, "touched": False, "came_at": at, "changed_at": at}
    return uid | counts | flags | {"state": state, "code": code, "detail": ""}


def correction_row(number: int, at: datetime) -> dict[str, object]:
    uids = {"study_uid": f"1.2.{number}", "series_uid": f"1.3.{number}", "sent_uid": f"1.4.{number}"}
    own = {"id": number + 1, "sop_instance_uid": f"1.7.{number}", "version": 1, "content": f"{number:064x}"}
    said = {"status": "correction", "reader": READERS[number % 6], "viewer": "OHIF", "scope": "organ"}
    return uids | own | said | {"release": 1, "questions": [], "answers": [], "recorded_at": at}


def ledger_row(number: int) -> dict[str, object]:
    voxels = dict.fromkeys(("added_voxels", "removed_voxels", "by_overpaint_voxels"), 5)
    millilitres = dict.fromkeys(("added_ml", "removed_ml", "surface_mm"), 1.0)
    return (
        {"correction_id": number + 1, "organ": "spleen", "position": 0, "state": "edited"}
        | voxels
        | millilitres
    )


def listed_row(number: int) -> dict[str, object]:
    uids = {"study_uid": f"1.2.{number}", "series_uid": f"1.3.{number}", "seg_series_uid": f"1.4.{number}"}
    keys = {"result": f"{number:064x}", "page": f"{number:016x}", "patient": f"{number:064x}"}
    place = {"rank": 12, "minus_doubt_ml": -1.0, "audited": False, "came_ms": 1000 * number}
    held = {"holder": "", "holder_name": "", "held_ms": 0}
    return uids | keys | place | held | {"release": 1, "site": "", "state": "read"}


def milliseconds(browser: TestClient, address: str) -> float:
    """Return the median time of an answer."""
    taken = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        answer = browser.get(address, headers={"accept": "text/html"})
        taken.append(1000 * (time.perf_counter() - begin))
        assert answer.status_code == 200
    return statistics.median(taken)


def test_the_model_owner_s_pages_open_at_once_after_years(settings: Settings) -> None:
    began = time.perf_counter()
    records = open_records(settings.records_url)
    lines = fill(records)
    publish(ReleaseStore(settings.release_store))
    print(f"\n{lines:,} lines written in {time.perf_counter() - began:.0f} s")
    app = application(settings, HERE)
    app.state.way = AsIs()
    look: LogLook = app.state.log_look
    with TestClient(app, base_url=HERE) as browser:
        began = time.perf_counter()
        during = {name: milliseconds(browser, one) for name, one in list(ADDRESSES.items())[:2]}
        still = look.look().going is not None
        look.wait()
        verified = time.perf_counter() - began
        found = {name: milliseconds(browser, one) for name, one in ADDRESSES.items()}
        look.wait()
        app.state.tonights.lessons.beside.wait()
        began = time.perf_counter()
        app.state.weekly.look()
        app.state.weekly.wait()
        print(f"all counted in {time.perf_counter() - began:.0f} s, or had been before")
        assert f"Verified up to {lines:,} at" in browser.get("/log", headers={"accept": "text/html"}).text
    for name, taken in during.items():
        print(f"{name}, while all is verified ({'to the end' if still else 'partly'}): {taken:.0f} ms")
    print(f"all verified in {verified:.0f} s")
    print(*(f"{name}: {taken:.0f} ms" for name, taken in found.items()), sep="\n")
    app.state.site.records.close()
    records.close()
    assert max(*during.values(), *found.values()) < GOAL_MS
