"""Results go on to the PACS, between two real Orthancs: none is lost, none blocks the others."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.containers import forwarder, forwarder_alive
from deploy.containers.forwarder import FIRST_WAIT_SECONDS, Forwarder, Queue
from deploy.doctor import archive as doctor
from deploy.stack import local_process
from deploy.stack.orthanc.modalities import Modality
from services.pacs.http import Http
from tests.conftest import ROOT
from tests.support.archive import Archive, archive_at
from tests.support.instances import Instance, ct_study


@pytest.fixture(scope="module")
def pacs_port() -> int:
    return local_process.free_port(0)


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, pacs_port: int) -> Iterator[Archive]:
    known = {"pacs": Modality("PACS", port=pacs_port), "storescu": Modality("STORESCU")}
    with archive_at(tmp_path_factory.mktemp("gateway"), aet="GATEWAY", modalities=known) as archive:
        yield archive


@pytest.fixture(autouse=True)
def signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forwarder, "ALIVE", tmp_path / "alive")


def rest(gateway: Archive) -> Http:
    """A connection that asks again at once what the gateway could not do."""
    return gateway.http(pause_seconds=0.01)


def queue_of(gateway: Archive, path: Path) -> Forwarder:
    """A forwarder that has read the feed to its end: what came before is another test's."""
    Queue(cursor=gateway.ask("/changes?last")["Last"]).write(path)
    return Forwarder(rest(gateway), "pacs", path)


def by_web(gateway: Archive, objects: list[Instance]) -> set[str]:
    """Store objects as our flows and OHIF do."""
    client = gateway.client()
    client.store(objects)
    return {one.sop_instance_uid for one in objects}


def by_dimse(gateway: Archive, objects: list[Instance], folder: Path) -> None:
    """Send objects as a modality does."""
    for one in objects:
        (folder / one.file_name).write_bytes(one.content)
    command = ["storescu", "-R", "-aet", "STORESCU", "-aec", "GATEWAY", "127.0.0.1", str(gateway.dicom_port)]
    subprocess.run([*command, *(str(folder / one.file_name) for one in objects)], check=True)


def test_results_wait_for_a_pacs_that_is_away_and_go_when_it_is_back(
    gateway: Archive, pacs_port: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    queue = tmp_path / "queue.json"
    away = queue_of(gateway, queue)
    by_dimse(gateway, ct_study(2), tmp_path)
    results = by_web(gateway, ct_study(2))
    assert away.round(now=1000.0) == 0
    assert sorted(away.queue.waiting.values()) == [(1, 1000.0 + FIRST_WAIT_SECONDS)] * 2
    said = caplog.text
    assert all(uid in said for uid in results)
    assert "Phantom" not in said
    with archive_at(
        tmp_path / "pacs", aet="PACS", dicom_port=pacs_port, modalities={"g": Modality("GATEWAY")}
    ) as pacs:
        again = Forwarder(rest(gateway), "pacs", queue)  # it was killed meanwhile
        assert again.round(now=1010.0) == 0  # not before its time
        late = by_web(gateway, ct_study(1))  # which nothing that waits is in the way of
        assert again.round(now=1010.0) == 1
        assert {one["SOPInstanceUID"] for one in pacs.instances()} == late
        assert again.round(now=1031.0) == 2
        assert {one["SOPInstanceUID"] for one in pacs.instances()} == late | results
        assert again.round(now=9999.0) == 0
        assert Queue.read(queue).waiting == {}


def test_the_doctors_test_object_goes_to_no_pacs(gateway: Archive, tmp_path: Path) -> None:
    queue = queue_of(gateway, tmp_path / "queue.json")
    gateway.client().store([doctor.test_object()])
    assert queue.round(now=0.0) == 0
    assert queue.queue.waiting == {}  # one that the PACS did not take would wait


def test_what_was_deleted_before_it_was_sent_is_let_go(gateway: Archive, tmp_path: Path) -> None:
    queue = queue_of(gateway, tmp_path / "queue.json")
    [uid] = by_web(gateway, ct_study(1))
    assert queue.round(now=0.0) == 0
    [found] = gateway.ask("/tools/lookup", uid.encode())
    gateway.ask(found["Path"], method="DELETE")
    assert queue.round(now=1e9) == 0
    assert queue.queue.waiting == {}


def test_a_feed_that_begins_again_is_read_from_its_start(gateway: Archive, tmp_path: Path) -> None:
    results = by_web(gateway, ct_study(1))
    path = tmp_path / "queue.json"
    Queue(cursor=10**6).write(path)
    queue = Forwarder(rest(gateway), "pacs", path)
    queue.round(now=0.0)
    found = [gateway.ask("/tools/lookup", uid.encode())[0]["ID"] for uid in results]
    assert queue.queue.waiting.keys() >= set(found)


def test_whether_it_has_worked_lately_is_told_without_importing_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alive = tmp_path / "alive"
    monkeypatch.setattr(forwarder_alive, "ALIVE", alive)
    assert forwarder_alive.main() == 1
    alive.touch()
    assert forwarder_alive.main() == 0
    os.utime(alive, (0, time.time() - forwarder_alive.STUCK_SECONDS - 1))
    assert forwarder_alive.main() == 1
    asked = "import sys, deploy.containers.forwarder_alive; sys.exit('pydantic' in sys.modules)"
    subprocess.run([sys.executable, "-c", asked], check=True)


def test_it_ends_when_its_container_is_told_to(tmp_path: Path) -> None:
    """As the first process of a container, which no signal ends that it does not take."""
    command = [
        sys.executable,
        "-m",
        "deploy.containers.forwarder",
        "--to=",
        f"--cursor={tmp_path}/cursor.json",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stderr is not None
        assert "results stay in the archive" in process.stderr.readline()
        process.terminate()
    assert process.returncode == 0
