"""A PACS that is queried: it cannot stop what is pushed, nor be asked for ever, and no day is forgotten."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import flows.arrivals.query
import flows.arrivals.watch
from flows.arrivals.archived_study import note_segmented
from flows.launching import RunState
from models.errors import PacsFailed, Refused
from services.pacs.port import ArchivedSeries, ArchivedStudy, Changes
from services.records.entries.arrivals import Arrival, ArrivalState
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.support.arrivals import watch
from tests.support.log import lines

MONDAY = date(2026, 11, 23)
CT = frozenset(f"1.9.1.{number}" for number in range(5))
Held = dict[str, dict[str, set[str]]]


class Fake:
    """An archive or a PACS: by study and modality what it holds; faults real ones show rarely."""

    def __init__(self) -> None:
        self.held: Held = {}
        self.touched: list[str] = []

    def put(self, study_uid: str, modality: str, *uids: str) -> None:
        self.held.setdefault(study_uid, {}).setdefault(modality, set()).update(uids)
        self.touched.append(study_uid)

    def listed(self, study_uid: str) -> set[str]:
        return set().union(*self.held.get(study_uid, {}).values())


class FakeArchive(Fake):
    def study(self, study_uid: str) -> ArchivedStudy | None:
        held = self.held.get(study_uid)
        if not held:
            return None
        series = [ArchivedSeries(f"{study_uid}.{kind}", kind, tuple(sorted(of))) for kind, of in held.items()]
        return ArchivedStudy(study_uid, ("P",), True, False, tuple(series))

    every_seconds = 1.0

    def changes(self, cursor: int) -> Changes:
        touched, self.touched = self.touched, []
        return Changes(tuple(touched), cursor + len(touched), False)


class FakePacs(Fake):
    def __init__(self, archive: FakeArchive) -> None:
        super().__init__()
        self.archive = archive
        self.days: dict[str, date] = {}
        self.asked: list[str] = []
        self.cannot: set[str] = set()
        self.never: set[str] = set()
        self.away = False

    def _answer(self) -> None:
        if self.away:
            raise PacsFailed("The PACS could not be asked.")

    def studies_since(self, day: date) -> tuple[str, ...]:
        self._answer()
        return tuple(uid for uid in self.held if self.days.get(uid, MONDAY) >= day)

    def instances(self, study_uid: str) -> int:
        self._answer()
        return len(self.listed(study_uid))

    def retrieve(self, study_uid: str) -> ArchivedStudy:
        self.asked.append(study_uid)
        if study_uid in self.cannot:
            raise PacsFailed("out of resources")
        for kind, uids in self.held[study_uid].items():
            self.archive.put(study_uid, kind, *(uids - self.never))
        if self.never:
            raise Refused("incomplete", "The PACS did not send all it holds.")
        study = self.archive.study(study_uid)
        assert study is not None
        return study


class Launcher:
    def __init__(self) -> None:
        self.launched: list[str] = []

    def launch(self, deployment: str, source: str, key: str, *, urgent: bool) -> str:
        self.launched.append(source)
        return key

    def state(self, run: str) -> RunState:
        return RunState.GOING


@dataclasses.dataclass
class Site:
    services: Services
    archive: FakeArchive
    pacs: FakePacs
    launcher: Launcher

    def watch(self, times: int = 1, today: date = MONDAY) -> dict:
        return [watch(self.services, self.launcher, today) for _ in range(times)][-1]

    def arrival(self, uid: str) -> Arrival | None:
        return self.services.records.arrival(uid)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(flows.arrivals.watch, "_why_held", lambda *_: None)
    archive = FakeArchive()
    pacs = FakePacs(archive)
    services = connect_in_process(Settings(home=tmp_path, orthanc_url="http://127.0.0.1:1"))
    fakes: dict[str, Any] = {"archive": archive, "feed": archive, "source": pacs}
    services = dataclasses.replace(services, **fakes, endpoints=())
    return Site(services, archive, pacs, Launcher())


def segmented_and_routed_on(site: Site) -> None:
    """Our SEG and SR of 1.9 lie in the archive, and by its routing in the PACS too."""
    site.pacs.put("1.9", "CT", *CT)
    site.watch(2)
    study = site.archive.study("1.9")
    assert study is not None
    site.services.records.first_written("k", datetime.now(UTC))
    objects = {"organ-seg": "2.1", "report-sr": "2.2"}
    site.services.records.record_result("k", study_uid="1.9", series_uid="1.9.1", release=1, objects=objects)
    note_segmented(study, site.services.cases, site.services.records)
    for place in (site.archive, site.pacs):
        place.put("1.9", "SEG", "2.1")
        place.put("1.9", "SR", "2.2")


def test_a_study_the_pacs_cannot_send_does_not_stop_what_is_pushed(site: Site) -> None:
    site.pacs.put("1.7", "CT", "1.7.1")
    site.pacs.cannot = {"1.7"}
    site.archive.put("1.8", "CT", "1.8.1")
    assert site.watch()["not_sent"] == ["1.7"]
    assert site.launcher.launched == ["1.8"]
    waiting = site.arrival("1.7")
    assert waiting is not None
    assert (waiting.state, waiting.code) == (ArrivalState.WAITING, "incomplete")
    site.pacs.cannot = set()
    site.pacs.put("1.7", "CT", "1.7.2")
    site.watch(2)
    assert site.launcher.launched == ["1.8", "1.7"]


def test_a_pacs_that_does_not_answer_ends_the_watch_in_error_when_all_else_was_done(site: Site) -> None:
    site.pacs.away = True
    site.archive.put("1.8", "CT", "1.8.1")
    with pytest.raises(PacsFailed):
        site.watch()
    assert site.launcher.launched == ["1.8"]


def test_part_of_a_study_waits_while_the_pacs_that_was_sending_it_is_away(site: Site) -> None:
    site.pacs.put("1.9", "CT", *CT)
    site.pacs.never = set(list(CT)[:2])
    site.watch(2)
    site.pacs.away = True
    site.archive.touched.append("1.9")
    with pytest.raises(PacsFailed):
        site.watch()
    site.pacs.away, site.pacs.never = False, set()
    site.archive.put("1.9", "CT", *CT)
    assert site.launcher.launched == []
    site.watch()
    assert site.launcher.launched == ["1.9"]


def test_results_of_ours_in_the_pacs_are_not_retrieved_and_a_late_image_is(site: Site) -> None:
    segmented_and_routed_on(site)
    site.watch(10)
    assert site.pacs.asked == ["1.9"]
    site.pacs.put("1.9", "CT", "1.9.1.99")
    site.watch(3)
    assert site.pacs.asked == ["1.9", "1.9"]
    assert site.launcher.launched == ["1.9", "1.9"], "a new version, and complete though ours are in the PACS"


def test_what_is_not_sent_is_asked_for_less_and_less_often_and_at_once_if_there_is_more(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        later = timedelta()

        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + cls.later

    monkeypatch.setattr(flows.arrivals.query, "datetime", Clock)
    site.pacs.put("1.9", "CT", *CT)
    site.pacs.never = {min(CT)}
    asked = []
    for minutes in range(20):
        Clock.later = timedelta(minutes=minutes)
        before = len(site.pacs.asked)
        site.watch()
        asked += [minutes] * (len(site.pacs.asked) - before)
    assert len(asked) <= 6, asked
    assert site.launcher.launched == []
    before = len(site.pacs.asked)
    site.pacs.put("1.9", "CT", "1.9.1.98")
    site.watch()
    assert len(site.pacs.asked) == before + 1


def test_studies_made_while_the_watch_was_off_are_queried(site: Site) -> None:
    site.watch(today=MONDAY - timedelta(days=10))
    site.pacs.put("1.9", "CT", *CT)
    site.pacs.days["1.9"] = MONDAY - timedelta(days=6)
    site.pacs.put("1.6", "CT", "1.6.1")
    site.pacs.days["1.6"] = MONDAY - timedelta(days=12)
    site.watch(2)
    assert site.launcher.launched == ["1.9"]
    assert [one.payload["day"] for one in lines(site.services.records, "pacs-queried")] == [
        "2026-11-13",
        "2026-11-23",
    ]


def test_a_study_whose_uid_is_none_is_said_once_and_left_alone(site: Site) -> None:
    site.archive.put("../../etc", "CT", "1.1")
    site.watch()
    site.archive.put("../../etc", "CT", "1.2")
    site.watch()
    (event,) = lines(site.services.records, "study-refused")
    assert (event.payload["code"], event.payload["characters"]) == ("missing-uid", 9)
    assert site.services.records.open_arrivals() == ()


def test_looking_again_at_what_is_segmented_keeps_nothing_new_waiting(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = ["1.1", "1.2", "1.3"]
    for uid in old:
        site.archive.put(uid, "CT", f"{uid}.1")
    site.watch(2)
    for uid in old:
        study = site.archive.study(uid)
        assert study is not None
        note_segmented(study, site.services.cases, site.services.records)
    site.watch()
    tuesday = MONDAY + timedelta(days=1)
    site.archive.put("1.4", "CT", "1.4.1")
    del site.archive.held["1.2"]
    monkeypatch.setattr(flows.arrivals.watch, "LOOK_SECONDS", -1.0)
    site.watch(today=tuesday)
    assert site.launcher.launched[-1] == "1.4"
    assert [_known(site, uid).touched for uid in old] == [True, True, True]
    monkeypatch.undo()
    monkeypatch.setattr(flows.arrivals.watch, "_why_held", lambda *_: None)
    site.watch(today=tuesday)
    assert [_known(site, uid).touched for uid in old] == [False, False, False]
    assert _known(site, "1.2").state is ArrivalState.GONE


def _known(site: Site, uid: str) -> Arrival:
    arrival = site.arrival(uid)
    assert arrival is not None
    return arrival
