"""Acts without a gate: back to an earlier incumbent, and a candidate declined for good."""

from __future__ import annotations

import socket
import sqlite3
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from deploy.doctor.finding import State
from deploy.doctor.serving import serving
from flows.gate.gate_candidate import gate_candidate
from flows.promotion import promote as promote_release
from flows.promotion.roll_back import Declined, decline, rollback
from models.documents import to_json
from models.errors import Refused, ServingFailed, ServingRejected, ServingTimedOut, ServingUnavailable
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from services.records.entries.releases import ReleaseState
from services.triton.client import TritonSegmenter
from services.wiring import Services
from tests.integration.test_case_verbs import organloop
from tests.integration.test_promote_release import WHO, kept, with_server
from tests.support.log import lines
from tests.support.promotion import (
    SHAPE,
    Gated,
    InProcessEndpoint,
    copy_of,
    gated_site,
    small_canary,
)

promote = partial(promote_release.promote, canary=small_canary)


def declined_by(number: int, services: Services, approver: str, reason: str) -> Declined:
    return decline(number, approver, reason, services.records, services.releases, services.repository)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Gated:
    """A gated site, made once and copied for each test."""
    return gated_site(tmp_path_factory.mktemp("gated"), 10)


@pytest.fixture
def services(gated: Gated, tmp_path: Path) -> Services:
    """A site of its own, where release 1 serves and release 2 passed the gate and is loaded."""
    return copy_of(gated, tmp_path / "home")


def test_rollback_goes_back_to_what_was_replaced_and_never_forth(services: Services) -> None:
    promote(2, services, *WHO)
    document = rollback(None, services, "Dr C", "spleens too large")
    said = {"release": 1, "replaced": 2, "approver": "Dr C", "reason": "spleens too large"}
    assert to_json(document) == said | {"not_reached": []}
    assert kept(services)["ready"] == [True, True]
    assert rollback(1, services, "Dr C", "spleens too large") == document
    with pytest.raises(Refused, match="no-earlier-incumbent"):
        rollback(None, services, "Dr C", "told again")
    with pytest.raises(Refused, match="no-earlier-incumbent"):
        rollback(2, services, "Dr C", "forth, past the gate")
    assert services.records.incumbent() == 1
    promote(2, services, "Dr B", "it was the scanner")
    assert rollback(1, services, "Dr C", "again").replaced == 2


def test_rollback_loads_what_a_new_server_has_not_loaded(services: Services) -> None:
    promote(2, services, *WHO)
    services.repository.remove_version(1)
    services = with_server(services, InProcessEndpoint(services.repository.versions_folder))
    assert kept(services)["ready"] == [False, True]
    rollback(None, services, "Dr C", "spleens too large")
    assert kept(services)["ready"] == [True, True]
    assert services.records.incumbent() == 1


def test_rollback_to_a_release_that_does_not_answer_leaves_the_incumbent(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(2, services, *WHO)

    def killed(hu: NDArray[np.int16], release: int) -> Segmentation:
        raise ServingUnavailable(f"the process of release {release} was killed")

    monkeypatch.setattr(services.endpoints[0], "segment", killed)
    with pytest.raises(ServingUnavailable):
        rollback(None, services, "Dr C", "spleens too large")
    assert services.records.incumbent() == 2


def test_with_one_segmenter_dead_a_rollback_goes_without_it_names_it_and_brings_it_in_when_it_is_back(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.doctor.serving.canary_volume", small_canary)
    promote(2, services, *WHO)
    alive = services.endpoints[0]
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # nobody listens: refused at once; the other one takes no notice at all
        dead = [TritonSegmenter(f"127.0.0.1:{one.getsockname()[1]}") for one in (silent, closed)]
        document = rollback(None, replace(services, endpoints=(dead[0], alive, dead[1])), "Dr C", "too large")
        assert services.records.incumbent() == 1
        assert [endpoint.url in why for endpoint, why in zip(dead, document.not_reached, strict=True)] == [
            True,
            True,
        ]
        [event] = lines(services.records, "endpoints-not-reached")
        assert event.payload == {"release": 1, "endpoints": list(document.not_reached)}
        found = list(serving(replace(services, endpoints=(alive, dead[1]))))
        assert [dead[1].url in one.detail for one in found if one.state is State.BAD] == [True]
        assert "on 1 of 2" in next(one.detail for one in found if one.name == "segmenter" and not one.remedy)
        for endpoint in dead:
            endpoint.close()
    returned = InProcessEndpoint(services.repository.versions_folder)
    assert rollback(1, replace(services, endpoints=(alive, returned)), "Dr C", "again").not_reached == ()
    assert returned.ready(1)


def test_a_segmenter_that_cannot_load_a_release_is_gone_without_and_takes_it_from_nobody(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(2, services, *WHO)
    alive = services.endpoints[0]
    full = InProcessEndpoint(services.repository.versions_folder)

    def out_of_memory() -> None:
        raise ServingRejected("no memory is left")

    monkeypatch.setattr(full, "load", out_of_memory)
    document = rollback(None, replace(services, endpoints=(full, alive)), "Dr C", "too large")
    assert (document.release, len(document.not_reached)) == (1, 1)
    assert "no memory is left" in document.not_reached[0]
    assert (services.repository.versions_folder / "1").is_dir()
    assert services.records.incumbent() == 1


@pytest.mark.parametrize("asked", ["ready", "segment", "profile"])
def test_a_segmenter_that_rejects_what_it_is_asked_is_gone_without(
    services: Services, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """As Triton does whose process has no memory left: it is there, and calls the release ready."""
    promote(2, services, *WHO)
    alive = services.endpoints[0]
    full = InProcessEndpoint(services.repository.versions_folder)
    full.share(alive)
    full.load()

    def out_of_memory(*_question: object) -> None:
        raise ServingRejected("no memory is left")

    monkeypatch.setattr(full, asked, out_of_memory)
    document = rollback(None, replace(services, endpoints=(full, alive)), "Dr C", "too large")
    assert document.not_reached == ("no memory is left",)
    assert services.records.incumbent() == 1
    with pytest.raises(ServingFailed, match="no memory is left"):
        rollback(1, replace(services, endpoints=(full,)), "Dr C", "again")


def test_with_every_segmenter_dead_the_incumbent_stays(services: Services) -> None:
    promote(2, services, *WHO)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dead = TritonSegmenter(f"127.0.0.1:{closed.getsockname()[1]}", attempts=1)
        with pytest.raises(ServingUnavailable, match="no segmenter answers"):
            rollback(None, replace(services, endpoints=(dead,)), "Dr C", "spleens too large")
        with pytest.raises(ServingUnavailable, match="no segmenter answers"):
            rollback(2, replace(services, endpoints=(dead,)), "Dr C", "so that all have it")
        dead.close()
    assert services.records.incumbent() == 2


def test_a_candidate_that_a_person_declined_is_never_promoted(services: Services) -> None:
    assert services.records.release_states()[2] is ReleaseState.NEEDS_APPROVAL
    said = ("--approver", "Dr C", "--reason", "spleens too large")
    code, document = organloop(services.settings, "decline", 2, *said)
    assert (code, document) == (
        0, {"release": 2, "state": "declined", "approver": "Dr C", "reason": "spleens too large"},
    )  # fmt: skip
    assert to_json(declined_by(2, services, "Dr C", "spleens too large")) == document
    assert services.repository.versions() == (1,), "no segmenter loads it again"
    gate_candidate(2, services)
    assert services.records.release_states()[2] is ReleaseState.DECLINED, "the night does not ask again"
    with pytest.raises(Refused, match="declined"):
        promote(2, services, *WHO)
    assert services.records.incumbent() == 1
    assert organloop(services.settings, "releases")[1][1]["state"] == "declined"


def test_declined_while_it_is_being_promoted_it_does_not_serve(services: Services) -> None:
    def declined(message: str) -> None:
        if message.startswith("making release 2"):
            declined_by(2, services, "Dr C", "spleens too large")

    with pytest.raises(Refused, match="declined"):
        promote(2, services, *WHO, declined)
    assert services.records.incumbent() == 1


@pytest.mark.parametrize("error", [ServingTimedOut("no answer"), ServingUnavailable("Stub process")])
def test_what_cannot_be_asked_the_golden_studies_does_not_go_on_serving(
    services: Services, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    endpoint, answered = services.endpoints[0], services.endpoints[0].segment

    def dies(hu: NDArray, release: int, ct: Geometry | None = None) -> Segmentation:
        if release == 2 and hu.shape == SHAPE:
            raise error
        return answered(hu, release, ct=ct)

    monkeypatch.setattr(endpoint, "segment", dies)
    with pytest.raises(type(error), match="release 1 serves again: promote it again later"):
        promote(2, services, *WHO)
    assert services.records.incumbent() == 1
    assert lines(services.records, "release-promoted") == ()
    assert len(lines(services.records, "golden-failed")) == 1
    monkeypatch.undo()
    assert promote(2, services, *WHO).replaced == 1, "it says nothing of the release"


def test_what_golden_studies_brought_back_is_not_promoted_again_by_a_repeated_call(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(promote_release, "golden_faults", lambda *_: (("c",), {"c": ["spleen"]}))
        with pytest.raises(Refused, match="refused-by-golden-study"):
            promote(2, services, *WHO)
        with pytest.raises(Refused, match="is-incumbent"):
            promote(1, services, *WHO)
    assert services.records.incumbent() == 1
    assert [e.payload["to"] for e in lines(services.records, "incumbent-changed")] == [1, 2, 1]


def test_an_endpoint_in_another_profile_stops_a_promotion_before_the_flip(services: Services) -> None:
    other = InProcessEndpoint(services.repository.versions_folder, threads=1)
    other.load()
    two = (*services.endpoints, other)
    with pytest.raises(Refused, match="other-profile") as refusal:
        promote(2, Services(**{**vars(services), "endpoints": two}), *WHO)
    assert len(refusal.value.measured["served"]) == 2
    assert len(lines(services.records, "incumbent-changed")) == 1


def test_on_a_log_that_was_tampered_with_nothing_is_promoted_and_rollback_still_works(
    services: Services,
) -> None:
    promote(2, services, *WHO)
    database = sqlite3.connect(services.settings.home / "records.sqlite")
    with database:
        database.execute("DROP TRIGGER events_unchanged")
        database.execute("UPDATE events SET who = 'nobody' WHERE number = 3")
    database.close()
    assert rollback(None, services, "Dr C", "spleens too large").release == 1
    with pytest.raises(Refused, match=r"log-broken.*event 3"):
        promote(2, services, *WHO)
    assert services.records.incumbent() == 1
