"""`organloop doctor` at a real stack, a real Orthanc with real and dead peers, and real TLS."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy.doctor.archive import encryption, orthanc, stores
from deploy.doctor.finding import Check, Finding, State, examine
from deploy.doctor.machine import storage
from deploy.stack.local_process import free_port
from deploy.stack.orthanc.modalities import Modality
from models.errors import PacsFailed
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from tests.integration.conftest import Command
from tests.support.archive import Archive, archive_at


def by_name(found: Any) -> dict[str, Finding]:
    return {one.name: one for one in found}


def adapter(archive: Archive) -> OrthancArchive:
    return archive.client()


def test_a_whole_stack_is_looked_at_and_left_as_it_was(organloop: Command) -> None:
    answer = organloop("doctor")
    state = {one["name"]: one["state"] for one in answer.document["findings"]}
    wanted = dict.fromkeys(
        ("storage, speed", "database", "segmenter", "canary", "flows, server", "flows, deployments"),
        "good",
    )
    assert {name: state[name] for name in wanted} == wanted
    assert state["flows, work pool organloop"] == "good"
    assert state["release"] == "warning"  # demonstration weights
    if "archive, version" in state:
        assert {
            state[f"archive, {part}"] for part in ("version", "query (QIDO)", "store (STOW)", "delete")
        } == {"good"}
    bad = [name for name, found in state.items() if found == "bad"]
    assert (answer.document["healthy"], answer.exit_code) == (not bad, 1 if bad else 0)
    assert set(bad) <= {"storage, room"}  # a small machine
    assert not list(organloop.home.glob("doctor-*"))


def test_a_stack_that_does_not_run_is_bad_line_by_line_and_every_line_says_what_to_do(tmp_path: Path) -> None:
    answer = Command(tmp_path / "home")(
        "doctor", PREFECT_API_URL=f"http://127.0.0.1:{free_port(0)}/api", ORGANLOOP_TRITON_URL="127.0.0.1:9"
    )
    bad = {one["name"]: one["remedy"] for one in answer.document["findings"] if one["state"] == "bad"}
    assert {"database", "release", "flows"} <= set(bad)
    assert all(bad.values())
    assert (answer.exit_code, answer.document["healthy"]) == (1, False)


def test_the_test_object_is_stored_compared_and_deleted(clean_archive: Archive) -> None:
    found = by_name(stores(adapter(clean_archive)))
    assert [one.state for one in found.values()] == [State.GOOD, State.GOOD]
    assert clean_archive.instances() == []


def test_a_test_object_that_does_not_come_back_is_deleted_all_the_same(
    clean_archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = adapter(clean_archive)

    def fails(*_: object) -> None:
        raise PacsFailed("HTTP 500")

    monkeypatch.setattr(archive, "fetch_instance", fails)
    found = by_name(examine([Check("archive, store (STOW)", lambda: stores(archive), "")], lambda _: None))
    assert found["archive, store (STOW)"].state is State.BAD
    assert found["archive, delete"].state is State.GOOD
    assert clean_archive.instances() == []


def test_where_nothing_deletes_the_person_is_told_which_study_to_delete(clean_archive: Archive) -> None:
    archive = DicomwebArchive(clean_archive.http("/dicom-web", attempts=1))
    found = by_name(stores(archive))
    assert found["archive, store (STOW)"].state is State.GOOD
    [left] = clean_archive.instances("Study")  # Orthanc's DICOMweb deletes nothing
    assert found["archive, delete"].state is State.WARNING
    assert left["StudyInstanceUID"] in found["archive, delete"].remedy


def test_peers_are_echoed_and_only_the_pacs_that_is_asked_must_answer(tmp_path: Path) -> None:
    ports = {name: free_port(0) for name in ("here", "pacs", "dead")}
    known = {name: Modality(name.upper(), port=ports[name]) for name in ("pacs", "dead")}
    here = {"here": Modality("ORGANLOOP", port=ports["here"])}
    with (
        archive_at(tmp_path / "here", dicom_port=ports["here"], modalities=known) as archive,
        archive_at(tmp_path / "pacs", dicom_port=ports["pacs"], aet="PACS", modalities=here),
    ):
        found = by_name(orthanc(adapter(archive), "pacs"))
        assert found["archive, version"].state is State.GOOD
        assert found["clock of the archive"].state is State.GOOD
        assert found["AE title of the archive"].detail == "ORGANLOOP"
        assert "rights of pacs" not in found
        if found["archive, version"].detail.startswith("Orthanc 1.10."):
            assert "CVE-2026-5437" in found["Orthanc older than 1.12.11"].detail
            assert "deletes the oldest" in found["Orthanc older than 1.11.3"].detail
        assert found["C-ECHO to pacs"].state is State.GOOD
        assert found["C-ECHO to dead"].state is State.WARNING
        assert by_name(orthanc(adapter(archive), "dead"))["C-ECHO to dead"].state is State.BAD
        assert by_name(orthanc(adapter(archive), "nobody"))["PACS nobody"].state is State.BAD


@contextmanager
def https(folder: Path, days: int) -> Iterator[tuple[str, Path]]:
    """Serve TLS on 127.0.0.1 with a certificate that holds for so many days; yield both."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    name = "-subj /CN=archive -addext subjectAltName=IP:127.0.0.1"
    asked = f"req -x509 -newkey rsa:2048 -nodes {name} -days {days}"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *asked.split(), *files], check=True, capture_output=True)
    server = HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a client that distrusts it hangs up
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}", certificate
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(("days", "state"), [(100, State.GOOD), (10, State.WARNING)])
def test_a_certificate_is_told_by_the_days_it_still_holds(tmp_path: Path, days: int, state: State) -> None:
    with https(tmp_path, days) as (url, certificate):
        [found] = encryption(Http(url, ca_file=certificate))
    assert found.state is state
    assert days - 1 <= found.measured["days"] <= days


def test_a_certificate_that_nobody_vouches_for_is_bad(tmp_path: Path) -> None:
    with https(tmp_path, 100) as (url, _), pytest.raises(ssl.SSLCertVerificationError):
        list(encryption(Http(url)))


@pytest.mark.parametrize(
    ("url", "state"), [("http://127.0.0.1:80", State.SKIPPED), ("http://pacs.hospital:80", State.WARNING)]
)
def test_plain_http_is_fine_within_the_machine_only(url: str, state: State) -> None:
    [found] = encryption(Http(url))
    assert found.state is state


def test_a_home_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError):
        list(storage(tmp_path / "file" / "home"))
