"""Gate, promotion and rollback with a real Triton, through the command and through Prefect."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from deploy.cli import app
from deploy.prefect_server import PrefectServer
from models.release import Release
from services.settings import Settings
from services.wiring import Services, connect
from tests.promotion import add_candidate, freeze_gate_set, record_candidate
from tests.serving import Serving
from tests.tiny_networks import noisy_body

GOOD, WORSE, CORRUPT, NEXT = 21, 22, 23, 24
WHO = ("--approver", "Dr B", "--reason", "better spleens at site B")

FLOWS = """
import json, sys
from flows.gate_candidate import gate_flow
from flows.promote_release import promote_release
number = int(sys.argv[1])
gate_flow(number)
print(json.dumps(promote_release(number, "Dr P", "nightly tuning")))
"""


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
    freeze_gate_set(services, serving.in_process, 12, spleen_truth=GOOD)
    serving.repository.remove_version(GOOD)
    yield services
    for number in (GOOD, WORSE, CORRUPT, NEXT):
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
        self.answers: list[int] = []
        self.failures: list[BaseException] = []

    def run(self) -> None:
        while not self._over.is_set():
            try:
                number = self._services.records.incumbent()
                assert number is not None
                assert self._services.segmenter.segment(noisy_body((16, 16, 16)), number).probability.any()
                self.answers.append(number)
            except BaseException as error:
                self.failures.append(error)

    def __enter__(self) -> Asking:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def test_a_better_candidate_is_gated_promoted_and_rolled_back_while_studies_are_answered(
    site: Services, serving: Serving
) -> None:
    with Asking(site) as asking:
        code, report = organloop(site, "gate", GOOD)
        assert (code, report["decision"]) == (0, "promote")
        assert serving.triton.ready(GOOD)
        assert site.records.incumbent() == 1
        code, document = organloop(site, "promote", GOOD, *WHO)
        assert (code, document["release"], document["replaced"]) == (0, GOOD, 1)
        time.sleep(0.2)
        begin = time.monotonic()
        code, document = organloop(site, "rollback", *WHO)
        seconds = time.monotonic() - begin
        assert (code, document["release"], document["replaced"]) == (0, 1, GOOD)
    assert asking.failures == []
    assert set(asking.answers) == {1, GOOD}
    assert [serving.triton.ready(n) for n in (1, GOOD)] == [True, True]
    assert seconds < 3, "about 0.1 s on an idle machine"
    listed = {one["release"]: one for one in organloop(site, "releases")[1]}
    assert [listed[n]["incumbent"] for n in (1, GOOD)] == [True, False]
    assert (listed[GOOD]["tuned"], listed[GOOD]["state"]) == (["spleen"], "promoted")


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


def test_the_flows_gate_and_promote_and_show_the_decision_in_prefect(site: Services, tmp_path: Path) -> None:
    good = site.releases.release(GOOD)
    candidate = replace(good, number=NEXT, note="the same heads under another number")
    site.releases.publish(candidate)
    record_candidate(site, candidate, ("spleen",))
    server = PrefectServer(tmp_path / "prefect", 0)
    try:
        api = server.start()
        run = subprocess.run(
            [sys.executable, "-c", FLOWS, str(NEXT)],
            env=os.environ
            | {
                "ORGANLOOP_HOME": str(site.settings.home),
                "ORGANLOOP_TRITON_URL": str(site.settings.triton_url),
                "PREFECT_API_URL": str(api),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        shown = {"gate-decision", "gate-differences", "gate-organs", "incumbent"}
        assert artifacts(str(api)) == shown
    finally:
        server.stop()
    document = json.loads(run.stdout.splitlines()[-1])
    assert (document["release"], document["replaced"], document["approver"]) == (NEXT, 1, "Dr P")
    assert site.records.incumbent() == NEXT


def artifacts(api: str) -> set[str]:
    """Return the keys of the artifacts in a Prefect server."""
    import urllib.request

    request = urllib.request.Request(
        f"{api}/artifacts/filter", b"{}", {"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return {one["key"] for one in json.load(answer)}
