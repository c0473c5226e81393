"""The loop that watches: one at a time, followed by another, cheap when nothing comes, ended by no fault."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

import flows.arrivals.watch
from flows.arrivals.loop import (
    AGAIN_SECONDS,
    FOLLOW_SECONDS,
    FREE_SECONDS,
    LEASE_SECONDS,
    RENEW_SECONDS,
    RETRIEVE_SECONDS,
    TRY_SECONDS,
    WATCH,
    ArrivalLoop,
)
from flows.launching import RunState
from models.errors import PacsFailed, StorageFailed
from services.pacs.port import ArchivedSeries, ArchivedStudy, Changes
from services.records.entries.arrivals import ArrivalState
from services.settings import Settings
from services.wiring import Services, connect_in_process
from services.witnesses.port import EVERY_SECONDS
from tests.support.killed import Killed
from tests.support.waiting import until

MONDAY = date(2026, 11, 23)


class Feed:
    """An archive and its feed, which says each change once, in order."""

    every_seconds = 1.0

    def __init__(self) -> None:
        self.log: list[tuple[str, bool]] = []
        self.stable: dict[str, bool] = {}
        self.asked_feed, self.asked_study = 0, 0
        self.away: Exception | None = None

    def tell(self, study_uid: str, *, stable: bool) -> None:
        self.stable[study_uid] = stable
        self.log.append((study_uid, stable))

    def changes(self, cursor: int) -> Changes:
        self.asked_feed += 1
        if self.away is not None:
            raise self.away
        news = self.log[cursor:]
        return Changes(
            tuple({uid for uid, _ in news}), len(self.log), False, quiet=any(quiet for _, quiet in news)
        )

    def study(self, study_uid: str) -> ArchivedStudy | None:
        self.asked_study += 1
        series = ArchivedSeries(f"{study_uid}.1", "CT", (f"{study_uid}.1.1",))
        return ArchivedStudy(study_uid, ("P",), self.stable[study_uid], False, (series,))


class Launcher:
    def __init__(self) -> None:
        self.launched: list[str] = []
        self.states: dict[str, RunState] = {}
        self.away: Exception | None = None

    def launch(self, deployment: str, source: str, key: str, *, urgent: bool) -> str:
        if self.away is not None:
            raise self.away
        if key not in self.states:
            self.launched.append(source)
        self.states.setdefault(key, RunState.GOING)
        return key

    def state(self, run: str) -> RunState:
        return self.states[run]

    def close(self) -> None:
        pass


@dataclasses.dataclass
class Site:
    """A home, its archive, and time that passes when it is told to."""

    home: Path
    feed: Feed
    launcher: Launcher
    now: float = 0.0
    today: date = MONDAY
    connected: int = 0
    freed: int = 0
    woken: int = 0
    told: list[float] = dataclasses.field(default_factory=list)
    acts: int = 0
    asked_acts: int = 0
    acting: threading.Event = dataclasses.field(default_factory=threading.Event)
    go_on: threading.Event = dataclasses.field(default_factory=threading.Event)

    def connect(self) -> Services:
        self.connected += 1
        services = connect_in_process(Settings(home=self.home, orthanc_url="http://127.0.0.1:1"))
        fakes: dict[str, Any] = {"archive": self.feed, "feed": self.feed}
        return dataclasses.replace(services, **fakes, endpoints=())

    def loop(self, holder: str = "one", **changed: Any) -> ArrivalLoop:
        def free(_: Services) -> None:
            self.freed += 1

        def wake() -> None:
            self.woken += 1

        connect: Callable[[], Services] = changed.pop("connect", self.connect)
        launcher: Any = self.launcher
        return ArrivalLoop(
            connect,
            launcher,
            holder,
            free=free,
            launched=wake,
            tell_head=lambda _: self.told.append(self.now),
            asked=self.is_asked,
            act=self.act,
            clock=lambda: self.now,
            today=lambda: self.today,
        )

    def is_asked(self, _: object) -> bool:
        self.asked_acts += 1
        return self.acts > 0

    def act(self, _: object) -> None:
        self.acting.set()
        self.go_on.wait()
        self.acts -= 1

    def steps(self, loop: ArrivalLoop, seconds: float) -> None:
        """Let a loop step as often as it wants to in so many seconds."""
        end = self.now + seconds
        while self.now < end:
            self.now += loop.step()

    @property
    def records(self):
        return connect_in_process(Settings(home=self.home)).records


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(flows.arrivals.watch, "_why_held", lambda *_: None)
    return Site(tmp_path, Feed(), Launcher())


def test_idle_a_look_is_one_question_to_the_archive_and_none_to_the_records(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = site.loop()
    site.steps(loop, 3 * RETRIEVE_SECONDS)
    transactions, asked = [], site.feed.asked_feed
    services = loop._services
    assert services is not None
    whole = type(services.records)._transaction

    def counted(self: Any) -> Any:
        transactions.append(self)
        return whole(self)

    monkeypatch.setattr(type(services.records), "_transaction", counted)
    site.steps(loop, 600)
    assert site.feed.asked_feed - asked == 600
    assert site.feed.asked_study == 0
    # Every 10 s the lease and the watch are put on record; every minute a look after what may wait.
    assert len(transactions) <= 2 * 600 / RENEW_SECONDS + 6 * 600 / RETRIEVE_SECONDS
    assert site.freed in (12, 13, 14), FREE_SECONDS
    assert site.asked_acts <= 1 + 780 / FOLLOW_SECONDS, "one question, which an index answers"


def test_what_people_ask_for_is_done_beside_the_watch_and_by_one_thread(site: Site) -> None:
    loop = site.loop()
    site.steps(loop, 5)
    site.acts = 2
    site.steps(loop, FOLLOW_SECONDS + 1)
    site.acting.wait()
    asked = site.asked_acts
    site.feed.tell("1.2", stable=True)
    site.steps(loop, 30)
    assert site.launcher.launched == ["1.2"], "it does not wait for the act"
    assert site.asked_acts == asked
    site.go_on.set()
    while site.acts:
        site.steps(loop, FOLLOW_SECONDS + 1)


def test_a_study_is_submitted_at_the_step_after_it_is_complete_and_the_worker_is_woken(site: Site) -> None:
    loop = site.loop()
    site.steps(loop, 5)
    site.feed.tell("1.2", stable=False)
    site.steps(loop, 30)
    assert site.launcher.launched == []
    assert site.feed.asked_study <= 1 + 30 / AGAIN_SECONDS, "while it arrives it is asked about rarely"
    site.feed.tell("1.2", stable=True)
    loop.step()
    assert (site.launcher.launched, site.woken) == (["1.2"], 1)


def test_one_that_is_quiet_without_a_word_of_the_feed_is_seen_in_seconds(site: Site) -> None:
    """An archive that was restarted calls it stable and tells nobody."""
    loop = site.loop()
    site.feed.tell("1.2", stable=False)
    site.steps(loop, 3)
    site.feed.stable["1.2"] = True
    site.steps(loop, AGAIN_SECONDS + 1)
    assert site.launcher.launched == ["1.2"]


def test_of_two_workers_one_watches_and_the_other_follows_when_it_dies(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = site.loop("first"), site.loop("second")
    first.step()
    assert second.step() == TRY_SECONDS
    site.feed.tell("1.2", stable=True)
    assert second.step() == TRY_SECONDS
    assert site.launcher.launched == []
    first.close()  # it ends well, and gives the lease back
    second.step()
    assert site.launcher.launched == ["1.2"]


def test_a_watch_that_was_frozen_past_its_lease_changes_nothing_any_more(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = site.loop("first"), site.loop("second")
    first.step()
    site.records.take_over(WATCH, "second", LEASE_SECONDS)  # as when it has run out
    second.step()
    site.feed.tell("1.2", stable=True)
    second.step()
    cursor = site.records.feed_cursor()
    site.feed.tell("1.3", stable=True)
    assert first.step() == TRY_SECONDS
    assert "another worker watches the archive now" in caplog.text
    assert site.records.feed_cursor() == cursor
    assert site.records.arrival("1.3") is None
    second.step()
    assert site.launcher.launched == ["1.2", "1.3"]


@pytest.mark.parametrize("when", ["changes", "take_in", "launch", "change_arrival", "open_arrivals"])
def test_killed_at_any_step_the_next_holder_loses_nothing_and_starts_nothing_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    from services.records.store import SqlRecords

    loop = site.loop("first")
    site.steps(loop, 3)
    site.feed.tell("1.2", stable=True)
    owner: Any = {"changes": Feed, "launch": Launcher}.get(when, SqlRecords)
    whole = getattr(owner, when)

    def killed(*given: Any, **named: Any) -> Any:
        if when == "change_arrival" and given[2].state is not ArrivalState.SUBMITTED:
            return whole(*given, **named)
        if when == "launch":
            whole(*given, **named)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, when, killed)
        with pytest.raises(Killed):
            loop.step()
    site.records.take_over(WATCH, "second", LEASE_SECONDS)
    second = site.loop("second")
    site.steps(second, 5)
    arrival = site.records.arrival("1.2")
    assert arrival is not None
    assert (arrival.state, arrival.attempts, arrival.interrupted) == (ArrivalState.SUBMITTED, 0, 0)
    assert site.launcher.launched == ["1.2"]


@pytest.mark.parametrize("error", [PacsFailed("The archive did not answer."), StorageFailed("full"),
                                   RuntimeError("a bug")])  # fmt: skip
def test_whatever_fails_is_told_and_tried_again_by_the_same_watch(site: Site, error: Exception) -> None:
    loop = site.loop()
    site.steps(loop, 3)
    site.feed.away = error
    for _ in range(10):  # for longer than its lease
        assert loop.step() == TRY_SECONDS
    watch = site.records.last_watch()
    assert watch is not None
    assert watch.trouble == f"{type(error).__name__}: {error}"
    assert site.loop("second").step() == TRY_SECONDS, "it still holds the watch"
    site.feed.away = None
    site.feed.tell("1.2", stable=True)
    site.steps(loop, 2)
    assert site.launcher.launched == ["1.2"]
    watch = site.records.last_watch()
    assert watch is not None
    assert watch.trouble == ""


def test_while_prefect_is_away_nothing_is_lost_and_no_attempt_is_paid(site: Site) -> None:
    loop = site.loop()
    site.launcher.away = ConnectionError("nobody answers")
    site.feed.tell("1.2", stable=True)
    site.steps(loop, 60)
    arrival = site.records.arrival("1.2")
    assert arrival is not None
    assert (arrival.state, arrival.attempts, arrival.interrupted) == (ArrivalState.WAITING, 0, 0)
    site.launcher.away = None
    site.steps(loop, 3)
    assert site.launcher.launched == ["1.2"]


def test_a_new_day_looks_again_at_what_was_segmented_lately(site: Site) -> None:
    loop = site.loop()
    site.feed.tell("1.2", stable=True)
    site.steps(loop, 3)
    records = site.records
    arrival = records.arrival("1.2")
    assert arrival is not None
    records.change_arrival(arrival, dataclasses.replace(arrival, state=ArrivalState.SEGMENTED))
    site.steps(loop, 120)
    asked = site.feed.asked_study
    site.today += timedelta(days=1)
    site.steps(loop, 3)
    assert site.feed.asked_study == asked + 1


def test_a_message_that_stays_the_same_is_said_once(site: Site, caplog: pytest.LogCaptureFixture,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    caplog.set_level("INFO")
    monkeypatch.setattr(flows.arrivals.watch, "_why_held", lambda *_: "release 1 is not served")
    loop = site.loop()
    site.feed.tell("1.2", stable=True)
    site.steps(loop, 60)
    assert caplog.text.count("nothing is segmented: release 1 is not served") == 1


def test_the_head_of_the_log_is_told_every_five_minutes_by_who_watches(site: Site) -> None:
    watching, waiting = site.loop("one"), site.loop("two")
    site.steps(watching, 1)
    site.steps(waiting, 20)
    until(lambda: len(site.told) == 1, "it is told at once, and by one worker")
    site.now += EVERY_SECONDS
    site.steps(watching, 20)
    until(lambda: len(site.told) == 2, "it is told again")
    watching.close()
    waiting.close()
