"""Gate, promotion and rollback with a real Triton, through the command and through Prefect."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.settings import PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.stack.prefect import PrefectServer
from flows.promotion import promote as promote_release
from flows.promotion.flow import gate_task, publish_decision_task
from flows.promotion.flow import promote_release as promote_release_flow
from models.release import Release
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.settings import Settings
from services.wiring import Services, connect
from tests.support.neighbours import silence_prefect
from tests.support.prefect_api import ask
from tests.support.promotion import (
    add_candidate,
    add_gate_case,
    freeze_gate_set,
    record_candidate,
    small_canary,
)
from tests.support.serving import Serving, put_on_record
from tests.support.tiny_networks import noisy_body

GOOD, WORSE, CORRUPT, NEXT, RUINS, BYTE, LEAKS = range(21, 28)
WHO = ("--approver", "Dr B", "--reason", "better spleens at site B")


@pytest.fixture(scope="module")
def site(serving: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """A home round the tests' Triton: release 1 serves, the gate set is frozen, spleens as in `GOOD`."""
    home = tmp_path_factory.mktemp("site")
    (home / "triton").mkdir()
    (home / "triton" / "repository").symlink_to(serving.repository.folder)
    (home / "releases").symlink_to(serving.store.folder)
    settings = Settings(home=home, triton_url=serving.triton.url)
    services = connect(settings)
    services.records.set_incumbent(1, approver="IT", reason="first release")
    add_candidate(services, GOOD, {"liver": 1, "spleen": 7})
    add_candidate(services, WORSE, {"liver": 1, "spleen": 9})
    serving.repository.write_version(serving.store.release(GOOD), serving.store)
    put_on_record(services)
    freeze_gate_set(services, serving.in_process, 12, spleen_truth=GOOD)
    serving.repository.remove_version(GOOD)
    yield services
    for number in (GOOD, WORSE, CORRUPT, NEXT, RUINS, BYTE, LEAKS):
        serving.repository.remove_version(number)
    serving.triton.load()


def organloop(services: Services, *words: object) -> tuple[int, Any]:
    """Run the command in a site's home; return its exit code and its document."""
    settings = services.settings
    variables = {"ORGANLOOP_HOME": str(settings.home), "ORGANLOOP_TRITON_URL": str(settings.triton_url)}
    result = CliRunner().invoke(app, [*map(str, words), "--json"], env=variables)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


def corrupt(services: Services) -> Release:
    """Publish a candidate whose spleen is no network."""
    store = services.releases
    spleen = store.add_head(b"spleen, corrupt")
    store.add_export(spleen, b"no network")
    good = store.release(GOOD)
    candidate = replace(good, number=CORRUPT, heads={**good.heads, "spleen": spleen})
    store.publish(candidate)
    record_candidate(services, candidate, ("spleen",))
    return candidate


class Asking(threading.Thread):
    """Asks for the incumbent, whichever it is, until it is told to stop."""

    def __init__(self, services: Services) -> None:
        super().__init__()
        self._services = connect(services.settings)
        self._over = threading.Event()
        self._answered = threading.Condition()
        self.answers: list[int] = []
        self.failures: list[BaseException] = []

    def run(self) -> None:
        while not self._over.is_set():
            try:
                number = self._services.records.incumbent()
                assert number is not None
                assert self._services.segmenter.segment(noisy_body((16, 16, 16)), number).probability.any()
                self._tell(self.answers, number)
            except BaseException as error:
                self._tell(self.failures, error)

    def _tell(self, told: list[Any], what: object) -> None:
        with self._answered:
            told.append(what)
            self._answered.notify_all()

    def wait_for(self, number: int) -> None:
        """Return when a release has answered, or somebody has failed."""
        with self._answered:
            self._answered.wait_for(lambda: number in self.answers or self.failures)

    def __enter__(self) -> Asking:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def test_a_better_candidate_is_gated_promoted_and_rolled_back_while_studies_are_answered(
    site: Services, serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Asking(site) as asking:
        code, report = organloop(site, "gate", GOOD)
        assert (code, report["decision"]) == (0, "needs-approval")
        assert [reason["code"] for reason in report["organs"][1]["reasons"]] == ["few-patients"]
        assert serving.triton.ready(GOOD)
        assert site.records.incumbent() == 1
        code, document = organloop(site, "promote", GOOD, *WHO)
        assert (code, document["release"], document["replaced"]) == (0, GOOD, 1)
        asking.wait_for(GOOD)
        quick = partial(promote_release.promote, canary=small_canary)  # the first had the whole one
        monkeypatch.setattr(promote_release, "promote", quick)
        seconds = []
        for turn in range(3):
            begin = time.thread_time()  # of a processor: other work on the machine does not lengthen it
            code, document = organloop(site, "rollback", *WHO)
            seconds.append(time.thread_time() - begin)
            assert (code, document["release"], document["replaced"]) == (0, 1, GOOD)
            if turn < 2:
                assert organloop(site, "promote", GOOD, *WHO)[0] == 0
    assert asking.failures == []
    assert set(asking.answers) == {1, GOOD}
    assert [serving.triton.ready(n) for n in (1, GOOD)] == [True, True]
    assert min(seconds) < 1, "about 0.1 s"
    listed = {one["release"]: one for one in organloop(site, "releases")[1]}
    assert [listed[n]["incumbent"] for n in (1, GOOD)] == [True, False]
    assert (listed[GOOD]["tuned"], listed[GOOD]["state"]) == (["spleen"], "promoted")


def other_home(serving: Serving, home: Path) -> Services:
    """Return a site with a gate set of its own round the same Triton and releases; release 1 serves."""
    (home / "triton").mkdir(parents=True)
    (home / "triton" / "repository").symlink_to(serving.repository.folder)
    (home / "releases").symlink_to(serving.store.folder)
    services = connect(Settings(home=home, triton_url=serving.triton.url))
    services.records.set_incumbent(1, approver="IT", reason="first release")
    serving.repository.write_version(services.releases.release(GOOD), serving.store)
    put_on_record(services)
    return services


def test_one_that_improves_the_mean_and_ruins_three_cases_is_refused(
    site: Services, serving: Serving, tmp_path: Path
) -> None:
    services = other_home(serving, tmp_path / "ruined")
    record_candidate(services, replace(services.releases.release(GOOD)), ("spleen",))
    for n in range(16):  # in three cases the truth is what the incumbent answers
        add_gate_case(services, serving.in_process, n, spleen_truth=1 if n in (1, 4, 8) else GOOD)
    services.records.freeze(Purpose.GATE)
    code, report = organloop(services, "gate", GOOD)
    assert (code, report["decision"]) == (0, "refuse")
    spleen = report["organs"][1]
    assert spleen["gate_set"]["mean"] > 0.1
    assert sum(difference < -0.1 for _, difference in spleen["worst"]) == 3
    refusing = {one["code"]: one["detail"] for one in spleen["reasons"] if one["decision"] == "refuse"}
    assert "in 3 cases" in refusing["ruined-case"]
    assert organloop(services, "promote", GOOD, *WHO)[0] == 3
    services.records.close()


def test_one_changed_byte_in_an_untouched_head_is_refused(site: Services) -> None:
    good, store = site.releases.release(GOOD), site.releases
    liver = store.add_head(store.head(good.heads["liver"])[:-1] + b"!")
    store.add_export(liver, store.export(good.heads["liver"]))
    candidate = replace(good, number=BYTE, heads={**good.heads, "liver": liver})
    store.publish(candidate)
    record_candidate(site, candidate, ("spleen",))
    code, report = organloop(site, "gate", BYTE)
    assert (code, report["decision"]) == (0, "refuse")
    assert [reason["code"] for reason in report["organs"][0]["reasons"]] == ["untouched-head-changed"]


def test_a_leaked_patient_is_refused(site: Services) -> None:
    candidate = replace(site.releases.release(GOOD), number=LEAKS, note="learnt from a gate patient")
    site.releases.publish(candidate)
    patient = site.cases.pseudonym("gate patient 5")
    record_candidate(site, candidate, ("spleen",), patients=("somebody else", patient))
    code, report = organloop(site, "gate", LEAKS)
    assert (code, report["decision"]) == (0, "refuse")
    assert [reason["code"] for reason in report["reasons"]] == ["leaked-patient"]


def test_six_cases_are_insufficient_evidence(site: Services, serving: Serving, tmp_path: Path) -> None:
    services = other_home(serving, tmp_path / "six")
    record_candidate(services, services.releases.release(GOOD), ("spleen",))
    freeze_gate_set(services, serving.in_process, 6, spleen_truth=GOOD)
    code, report = organloop(services, "gate", GOOD)
    assert (code, report["decision"]) == (0, "insufficient-evidence")
    assert report["organs"][1]["patients_needed"] == 10
    assert {reason["code"] for reason in report["reasons"]} == {"site-not-covered"}
    services.records.close()


def test_a_worse_candidate_is_decided_on_and_its_promotion_exits_3(site: Services) -> None:
    code, report = organloop(site, "gate", WORSE)
    assert (code, report["decision"]) == (0, "refuse")
    code, refusal = organloop(site, "promote", WORSE, *WHO)
    assert (code, refusal["code"]) == (3, "refused-by-gate")
    assert refusal["measured"]["decision"] == "refuse"
    assert site.records.incumbent() == 1


def test_a_corrupt_candidate_never_disturbs_the_incumbent(site: Services, serving: Serving) -> None:
    corrupt(site)
    with Asking(site) as asking:
        code, failure = organloop(site, "gate", CORRUPT)
    assert (code, failure["code"]) == (1, "invalid-release")
    assert asking.failures == []
    assert CORRUPT not in serving.repository.versions()
    serving.triton.load()  # nothing is in the way of the next one


def test_prefect_shows_what_the_gate_decided_and_who_promoted_and_why(
    site: Services,
    tmp_path: Path,
    prefect_home: Callable[[Path], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    good = site.releases.release(GOOD)
    candidate = replace(good, number=NEXT, note="the same heads under another number")
    site.releases.publish(candidate)
    record_candidate(site, candidate, ("spleen",))
    monkeypatch.setenv("ORGANLOOP_HOME", str(site.settings.home))
    monkeypatch.setenv("ORGANLOOP_TRITON_URL", str(site.settings.triton_url))
    monkeypatch.setenv("ORGANLOOP_APPROVAL_REQUIRED", "true")
    whole = promote_release.require_canary  # another test has the whole one
    monkeypatch.setattr(
        promote_release, "require_canary", lambda *asked: whole(*asked[:3], canary=small_canary)
    )
    server = PrefectServer(prefect_home(tmp_path / "prefect"), 0)
    access = server.start()

    @flow(name="gate")
    def gate() -> None:
        publish_decision_task(gate_task(NEXT))

    try:
        # What is logged would be kept for servers that have ended, of earlier tests too, and waited for.
        with access.used(), temporary_settings({PREFECT_LOGGING_TO_API_ENABLED: False}):
            gate()
            assert site.records.release_states()[NEXT] is ReleaseState.NEEDS_APPROVAL
            assert site.records.incumbent() == 1
            document = promote_release_flow(NEXT, "Dr P", "read the report")
        shown = {"gate-decision", "gate-differences", "gate-bootstrap", "gate-organs", "incumbent"}
        assert {one["key"] for one in ask(access, "artifacts/filter")} == shown
    finally:
        silence_prefect()
        server.stop()
    assert (document.release, document.replaced, document.approver) == (NEXT, 1, "Dr P")
    assert site.records.incumbent() == NEXT
    assert site.records.release_states()[NEXT] is ReleaseState.PROMOTED
