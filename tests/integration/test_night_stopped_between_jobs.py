"""A night is stopped at a real Prefect server while it waits for its job: no second job runs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import DeploymentFilter
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending, Running

from deploy.pages.model import nights as nights_module
from deploy.pages.model.nights import PrefectNights, PrefectSilent
from deploy.runs.deployments import register
from deploy.stack.prefect import Access, PrefectServer
from flows.launching import TUNE
from flows.nightly import flow as nightly_tuning
from models.errors import Refused
from models.people import Person, Role
from services.records.events.operations import NightStopped
from services.records.port import Records
from tests.support.learning import TUNING
from tests.support.neighbours import silence_prefect
from tests.support.waiting import GUARD_SECONDS, until

OZ = Person("o2", "https://id.example", "Ms. Oz", frozenset({Role.OPERATOR}))
LOOK_SECONDS = 0.05


@pytest.fixture(scope="module")
def api(tmp_path_factory, prefect_home) -> Iterator[Access]:
    server = PrefectServer(prefect_home(tmp_path_factory.mktemp("prefect")), 4240)
    yield server.start()
    silence_prefect()
    server.stop()


@dataclass
class Night:
    """A night that has something to learn, at the step that waits for its job; no worker takes the job."""

    run: str
    nights: PrefectNights
    records: Records
    api: Access
    waits: Future[Any] | None = None

    def begin_to_wait(self, pool: ThreadPoolExecutor) -> None:
        def wait() -> object:
            with self.api.used():
                return nightly_tuning.tuned_on_pool("auto", self.nights._settings, LOOK_SECONDS)

        self.waits = pool.submit(wait)

    def stop(self) -> None:
        self.nights.stop(self.run, "the server is needed", OZ, self.records)

    @property
    def jobs(self) -> list[FlowRun]:
        with self.api.used(), get_client(sync_client=True) as client:
            this = DeploymentFilter.model_validate(
                {"id": {"any_": [client.read_deployment_by_name(TUNE).id]}}
            )
            return client.read_flow_runs(deployment_filter=this)

    @property
    def over(self) -> bool:
        return self.waits is not None and self.waits.done()

    def assert_stopped(self) -> None:
        """One job was begun, and has ended; the night waits for nothing, and says by whom it was stopped."""
        assert self.waits is not None
        with pytest.raises(nightly_tuning.TuningLost, match=r"Ms\. Oz stopped this night"):
            self.waits.result(GUARD_SECONDS)
        assert [job.state.type.value for job in self.jobs if job.state] == ["CANCELLED"]
        assert len(self.records.all(NightStopped)) == 1


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
def night(corrected, tmp_path, api, monkeypatch, pool) -> Iterator[Night]:
    site = corrected.copy(tmp_path)
    monkeypatch.setenv("PREFECT_API_URL", api.url)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", api.auth)
    with api.used():
        register(site.services.settings)
    nights = PrefectNights(site.services.settings)
    run = nights.start(OZ, site.services.records)
    with api.used(), get_client(sync_client=True) as client:
        for state in (Pending(), Running()):
            client.set_flow_run_state(UUID(run), state, force=True)
    monkeypatch.setattr(nightly_tuning, "runtime", SimpleNamespace(flow_run=SimpleNamespace(id=run)))
    monkeypatch.setattr(nightly_tuning, "tuning_settings", lambda *_: TUNING)
    night = Night(run, nights, site.services.records, api)
    yield night
    with api.used(), get_client(sync_client=True) as client:
        for one in client.read_flow_runs():
            client.delete_flow_run(one.id)
        while not (night.waits is None or night.waits.done()):  # a night that goes on ends for want of tries
            for one in night.jobs:
                client.delete_flow_run(one.id)


def test_its_job_ends_before_the_stop_has_returned(night, pool, monkeypatch) -> None:
    night.begin_to_wait(pool)
    until(lambda: night.over or night.jobs, "the night begins its job")
    cancel = nights_module._cancel

    def slowly(run: FlowRun, client: Any, why: str) -> None:
        cancel(run, client, why)
        if str(run.id) != night.run:
            until(lambda: night.over or len(night.jobs) > 1, "the night has seen the end of its job")

    monkeypatch.setattr(nights_module, "_cancel", slowly)
    night.stop()
    night.assert_stopped()


def test_its_job_is_begun_while_it_is_stopped(night, pool, monkeypatch) -> None:
    begin = nightly_tuning.run_deployment

    def late(*words: Any, **named: Any) -> object:
        night.stop()
        return begin(*words, **named)

    monkeypatch.setattr(nightly_tuning, "run_deployment", late)
    night.begin_to_wait(pool)
    night.assert_stopped()


def test_a_stop_that_prefect_did_not_hear_out_is_repeated_and_stands_on_record_once(
    night, pool, monkeypatch
) -> None:
    night.begin_to_wait(pool)
    until(lambda: night.over or night.jobs, "the night begins its job")

    def silent(*_: object) -> None:
        raise PrefectSilent("Prefect does not answer (ReadTimeout)")

    with monkeypatch.context() as patched:
        patched.setattr(nights_module, "_cancel", silent)
        with pytest.raises(PrefectSilent):
            night.stop()
    night.stop()
    night.assert_stopped()
    with pytest.raises(Refused, match="stops-already"):
        night.stop()
