"""A night started and stopped on its page, at a real Prefect server: once, and under the name of who did."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from uuid import UUID

import pytest
from fastapi import FastAPI
from prefect.client.orchestration import get_client
from prefect.states import Completed, Pending, Running
from starlette.testclient import TestClient

from deploy.pages.application import application
from deploy.pages.model.nights import PrefectNights, PrefectSilent
from deploy.runs.deployments import register
from deploy.stack.prefect import Access, PrefectServer
from flows.launching import NIGHT, TUNE
from models.errors import Refused, StorageFailed
from models.people import Person, Role
from services.records.events.event import Proof
from services.records.events.operations import NightStarted, NightStopped
from services.records.store import SqlRecords, open_records
from services.settings import Settings
from tests.support.neighbours import silence_prefect
from tests.support.waiting import until

HERE = "http://127.0.0.1:8500"
OURS = {"accept": "text/html", "origin": HERE}
ITO = Person("o1", "https://id.example", "Mr. Ito", frozenset({Role.OPERATOR}))
OZ = Person("o2", "https://id.example", "Ms. Oz", frozenset({Role.OPERATOR}))
AUDITOR = Person("a1", "https://id.example", "Ms. Roth", frozenset({Role.AUDITOR}))


class AsIs:
    who: Person | None = ITO

    def person(self, request: object) -> Person | None:
        return self.who


@pytest.fixture(scope="module")
def api(tmp_path_factory, prefect_home) -> Iterator[Access]:
    server = PrefectServer(prefect_home(tmp_path_factory.mktemp("prefect")), 4230)
    yield server.start()
    silence_prefect()
    server.stop()


@pytest.fixture
def settings(tmp_path, api, monkeypatch) -> Settings:
    monkeypatch.setenv("PREFECT_API_URL", api.url)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", api.auth)
    settings = Settings(home=tmp_path / "home")
    with api.used():
        register(settings)
    yield settings
    with api.used(), get_client(sync_client=True) as client:
        for run in client.read_flow_runs():
            client.delete_flow_run(run.id)


@pytest.fixture
def records(settings) -> Iterator[SqlRecords]:
    opened = open_records(settings.records_url)
    yield opened
    opened.close()


@pytest.fixture
def nights(settings) -> PrefectNights:
    return PrefectNights(settings)


@pytest.fixture
def app(settings) -> FastAPI:
    app = application(settings, HERE)
    app.state.way = AsIs()
    return app


@pytest.fixture
def browser(app) -> Iterator[TestClient]:
    with TestClient(app, base_url=HERE, follow_redirects=False, headers=OURS) as client:
        yield client
    for beside in (app.state.tonights.nights, app.state.tonights.disk, app.state.tonights.lessons.beside):
        beside.wait()


def played(api: Access, run: str, *states: object) -> None:
    """Have a run come so far as a worker would."""
    with api.used(), get_client(sync_client=True) as client:
        for state in states:
            client.set_flow_run_state(UUID(run), state, force=True)


def state_of(api: Access, run: str) -> str:
    with api.used(), get_client(sync_client=True) as client:
        return client.read_flow_run(UUID(run)).state.type.value


def test_a_night_is_started_once_and_stands_on_record_under_the_proven_name(nights, records, api) -> None:
    run = nights.start(ITO, records)
    told = records.last(NightStarted)
    assert (told.said.run, told.who, told.proof) == (run, "Mr. Ito", Proof("o1", "https://id.example"))
    for who in (ITO, OZ):
        with pytest.raises(Refused, match="night-runs"):
            nights.start(who, records)
    assert nights.look().going.run == run
    played(api, run, Pending(), Running())
    with pytest.raises(Refused, match="night-runs: a night running already"):
        nights.start(OZ, records)
    played(api, run, Completed())
    found = nights.look()
    assert (found.going, found.last.run, found.last.state) == (None, run, "completed")
    assert nights.start(OZ, records) != run
    assert len(records.all(NightStarted)) == 2


def test_two_who_press_at_once_start_one(nights, records) -> None:
    def press(who: Person) -> str:
        try:
            return nights.start(who, records)
        except Refused as refusal:
            return refusal.code

    with ThreadPoolExecutor(4) as pool:
        told = set(pool.map(press, [ITO, OZ, ITO, OZ]))
    assert len(told - {"night-runs"}) == 1
    assert len(records.all(NightStarted)) == 1


def test_a_night_is_stopped_with_its_job_and_a_reason(nights, records, api) -> None:
    run = nights.start(ITO, records)
    played(api, run, Pending(), Running())
    with api.used(), get_client(sync_client=True) as client:
        tuning = client.read_deployment_by_name(TUNE).id
        job = client.create_flow_run_from_deployment(tuning, idempotency_key=f"key:{run}:1")
        by_hand = client.create_flow_run_from_deployment(tuning)
    with pytest.raises(Refused, match="no-name"):
        nights.stop(run, " ", OZ, records)
    with pytest.raises(Refused, match="no-night"):
        nights.stop("0" * 8, "wrong", OZ, records)
    nights.stop(run, "the disk is full", OZ, records)
    assert state_of(api, run) == "CANCELLING", "its worker ends it"
    assert state_of(api, str(job.id)) == "CANCELLED", "nobody had taken it"
    assert state_of(api, str(by_hand.id)) == "SCHEDULED", "no night began it"
    told = records.last(NightStopped)
    assert (told.said, told.who) == (
        NightStopped(run=run, was="running", reason="the disk is full"),
        "Ms. Oz",
    )
    assert told.proof == Proof("o2", "https://id.example")
    with pytest.raises(Refused, match=r"stops-already: .* by Ms. Oz \(the disk is full\)"):
        nights.stop(run, "again", ITO, records)


def test_what_cannot_be_put_on_record_is_not_started(nights, records, api, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFailed("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(SqlRecords, "record", full)
        with pytest.raises(StorageFailed):
            nights.start(ITO, records)
    found = nights.look()
    assert (found.going, found.last.state) == (None, "cancelled")
    assert records.last(NightStarted) is None


def test_the_next_night_is_the_one_that_is_planned_and_it_is_said_where_it_does_not_learn(
    nights, settings, api
) -> None:
    found = until(
        lambda: (now := nights.look()).begins and now, "Prefect plans the next night", pause_seconds=0.5
    )
    assert (found.begins.hour, found.begins.minute, found.paused, found.going) == (2, 0, False, None)
    assert found.learns
    with api.used():
        register(settings, learns=False)
    assert (nights.look().paused, nights.look().learns) == (False, False)


def test_a_prefect_that_is_away_or_knows_no_night_is_said(settings, api, monkeypatch) -> None:
    with api.used(), get_client(sync_client=True) as client:
        client.delete_deployment(client.read_deployment_by_name(NIGHT).id)
    with pytest.raises(PrefectSilent, match="no night is registered"):
        PrefectNights(settings).look()
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(PrefectSilent, match="Prefect does not answer"):
        PrefectNights(settings).look()
    monkeypatch.delenv("PREFECT_API_URL")
    with pytest.raises(PrefectSilent, match="organloop up"):
        PrefectNights(settings).look()


def shown(app: FastAPI, browser: TestClient) -> str:
    """Return the page once Prefect has been asked."""
    app.state.tonights.nights.forget()
    browser.get("/model/tonight")
    app.state.tonights.nights.wait()
    return browser.get("/model/tonight").text


def test_operators_start_and_stop_on_the_page_and_others_look(app, browser, records, api) -> None:
    told = shown(app, browser)
    assert 'action="/model/tonight/start"' in told
    assert browser.post("/model/tonight/start").headers["location"] == "/model/tonight"
    run = records.last(NightStarted).said.run
    played(api, run, Pending(), Running())
    told = shown(app, browser)
    assert "A night runs" in told
    assert re.search(rf'name="run" value="{run}"', told)
    refused = browser.post("/model/tonight/start")
    assert (refused.status_code, "night-runs" in refused.text) == (409, True)
    app.state.way.who = AUDITOR
    told = shown(app, browser)
    assert "A night runs" in told
    assert "/stop" not in told
    for act in ("start", "stop"):
        assert browser.post(f"/model/tonight/{act}", data={"run": run, "reason": "x"}).status_code == 403
    app.state.way.who = OZ
    stopped = browser.post("/model/tonight/stop", data={"run": run, "reason": "too hot"})
    assert stopped.status_code == 303
    assert records.last(NightStopped).who == "Ms. Oz"
    assert "cancelling" in shown(app, browser)
    told = browser.get("/log?act=night-stopped").text
    assert "Ended a night that was running" in told


def test_without_prefect_the_rest_of_the_page_is_whole(app, browser, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    told = shown(app, browser)
    assert "Prefect does not answer" in told
    assert 'action="/model/tonight/start"' not in told
    app.state.tonights.disk.wait()
    assert "Pictures of organs" in browser.get("/model/tonight").text
    away = browser.post("/model/tonight/start")
    assert (away.status_code, "Prefect does not answer" in away.text) == (503, True)


def test_a_night_that_is_started_by_hand_is_run_by_the_stack_s_own_worker(organloop) -> None:
    settings = Settings(home=organloop.home)
    nights, records = PrefectNights(settings), open_records(settings.records_url)
    run = nights.start(ITO, records)

    def over():
        last = nights.look().last
        return last if last is not None and last.run == run else None

    last = until(over, "the worker runs the night", pause_seconds=1.0)
    assert last.state == "completed"
    assert {name for name, _ in last.steps} >= {"check bounds", "decide what to learn"}
    assert records.last(NightStarted).said.run == run
    records.close()


def test_a_night_that_is_stopped_is_ended_by_the_stack_s_own_worker(organloop, tmp_path) -> None:
    """The night waits for its records, which the test holds; who stops it is put on record elsewhere."""
    settings = Settings(home=organloop.home)
    nights, aside = PrefectNights(settings), open_records(f"sqlite:///{tmp_path / 'aside.sqlite'}")
    until(lambda: nights.look().going is None, "no night runs", pause_seconds=0.5)
    with closing(sqlite3.connect(settings.records_file, isolation_level=None)) as held:
        held.execute("BEGIN IMMEDIATE")
        run = nights.start(ITO, aside)

        def begun():
            going = nights.look().going
            return going is not None and going.state == "running"

        until(begun, "the worker runs the night", pause_seconds=0.2)
        nights.stop(run, "too hot", OZ, aside)

        def over():
            last = nights.look().last
            return last if last is not None and last.run == run else None

        last = until(over, "the worker ends the night", pause_seconds=0.5)
        held.execute("ROLLBACK")
    assert last.state == "cancelled"
    aside.close()
