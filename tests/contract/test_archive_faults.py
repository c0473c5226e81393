"""Archives that fail: a real Orthanc that is killed, locked or capped."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.stack.archive import DICOMWEB_PLUGIN, installed
from deploy.stack.local_process import NotInstalled, free_port
from models.errors import PacsFailed, PacsUnavailable
from services.pacs import dicomweb, multipart, qido
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from tests.support.archive import Archive, archive_at
from tests.support.instances import ct_study
from tests.support.waiting import until

PASSWORD = "only-we-know-ä"


HASTY = {"attempts": 3, "pause_seconds": 0.01, "deadline_seconds": 5}


def over(url: str, **values: Any) -> Http:
    return Http(url, **HASTY | values)


# --- a real Orthanc that is killed -------------------------------------------------------------------


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Archive]:
    with archive_at(tmp_path / "archive", http_port=free_port(0)) as archive:
        yield archive


def kill(archive: Archive) -> None:
    process = archive.server.process
    if process is not None:
        os.kill(process.pid, signal.SIGKILL)
        until(lambda: not process.alive, "it has ended")


def test_an_archive_killed_in_mid_transfer_is_asked_again_and_gives_all(
    mortal: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_object = dicomweb.write_object
    written: list[Path] = []

    def write(*arguments: Any) -> Path:
        written.append(write_object(*arguments))
        if len(written) == 3:
            kill(mortal)
        return written[-1]

    objects = ct_study(40, side=512)  # more than the buffers between the two hold
    mortal.put(*(one.content for one in objects))
    for pacs in (
        DicomwebArchive(mortal.http("/dicom-web", **HASTY)),
        mortal.client(**HASTY),
    ):
        with monkeypatch.context() as patch:
            written.clear()
            patch.setattr("services.pacs.dicomweb.write_object", write)
            patch.setattr("services.pacs.orthanc.write_object", write)
            with pytest.raises(PacsUnavailable, match="did not answer"):
                pacs.fetch_study(objects[0].study_uid, tmp_path / "into")
            assert list((tmp_path / "into").iterdir()) == []
        with pytest.raises(PacsUnavailable):
            pacs.study(objects[0].study_uid)
        mortal.server.start()
        folder = pacs.fetch_study(objects[0].study_uid, tmp_path / "into")
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            one.file_name: one.content for one in objects
        }
        for path in [*folder.iterdir()]:
            path.unlink()
        folder.rmdir()


def test_a_store_into_an_archive_that_is_killed_is_finished_later_and_nothing_lies_twice(
    mortal: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = ct_study(1, 1, 1)
    pacs = DicomwebArchive(mortal.http("/dicom-web", **HASTY))
    encode = multipart.encode
    sent = 0

    def late(parts: list[bytes]) -> bytes:
        nonlocal sent
        sent += 1
        if sent == 2:
            kill(mortal)
        return encode(parts)

    with monkeypatch.context() as patch:
        patch.setattr(multipart, "encode", late)
        with pytest.raises(PacsUnavailable):
            pacs.store(objects)
    mortal.server.start()
    assert len(mortal.instances()) == 1
    assert pacs.store(objects) == tuple(one.sop_instance_uid for one in objects)
    assert sorted(one["SOPInstanceUID"] for one in mortal.instances()) == sorted(
        one.sop_instance_uid for one in objects
    )


# --- a real Orthanc behind TLS and a password, with a cap on results ---------------------------------


@dataclass(frozen=True)
class Locked:
    url: str
    ca_file: Path


class Relay(socketserver.ThreadingTCPServer):
    """TLS in front of a port: Debian's Orthanc ends a connection of its own TLS without an answer.

    Closed, it ends its connections too: a client that is thrown away may keep its end open for long.
    """

    daemon_threads = True

    def __init__(self, tls: ssl.SSLContext, port: int) -> None:
        self._near: set[socket.socket] = set()
        opened = self._near

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with (
                    contextlib.suppress(OSError),
                    tls.wrap_socket(self.request, server_side=True) as near,
                    socket.create_connection(("127.0.0.1", port)) as far,
                ):
                    opened.add(near)
                    threading.Thread(target=copy, args=(far, near), daemon=True).start()
                    copy(near, far)

        def copy(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while piece := source.recv(1 << 16):
                    sink.sendall(piece)
                sink.shutdown(socket.SHUT_WR)

        super().__init__(("127.0.0.1", 0), Handler)

    def server_close(self) -> None:
        super().server_close()
        for near in self._near:
            with contextlib.suppress(OSError):  # it has ended already
                near.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Locked]:
    """An Orthanc with a certificate of its own, a password, and at most three results a query."""
    try:
        program = installed()
    except NotInstalled as error:
        pytest.skip(str(error))
    home = tmp_path_factory.mktemp("locked")
    certificate, key = home / "certificate.pem", home / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port(0)
    configuration = {
        "StorageDirectory": str(home / "studies"),
        "IndexDirectory": str(home / "studies"),
        "Plugins": [str(DICOMWEB_PLUGIN)],
        "HttpPort": port,
        "DicomServerEnabled": False,
        "AuthenticationEnabled": True,
        "RegisteredUsers": {"organloop": PASSWORD},
        "LimitFindInstances": 3,
        "LimitFindResults": 3,
    }
    (home / "orthanc.json").write_text(json.dumps(configuration))
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([program, str(home / "orthanc.json")], stdout=log, stderr=log)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    relay = Relay(tls, port)
    threading.Thread(target=relay.serve_forever, args=(0.01,), daemon=True).start()
    try:
        locked = Locked(f"https://localhost:{relay.server_address[1]}", certificate)
        until(lambda: answers(locked), lambda: (home / "log").read_text())
        yield locked
    finally:
        relay.shutdown()
        relay.server_close()
        process.kill()
        process.wait()


def answers(locked: Locked) -> bool:
    with contextlib.suppress(PacsFailed):
        opened(locked).study("1.2.3")
        return True
    return False


def opened(locked: Locked, **values: Any) -> OrthancArchive:
    given = {"user": "organloop", "password": PASSWORD, "ca_file": locked.ca_file} | values
    return OrthancArchive(over(locked.url, **given), over(f"{locked.url}/dicom-web", **given))


def test_with_the_password_and_the_certificate_everything_works(locked: Locked, tmp_path: Path) -> None:
    objects = ct_study(2)
    pacs = opened(locked)
    pacs.store(objects)
    assert objects[0].study_uid in pacs.changes(0).study_uids
    for reader in (pacs, DicomwebArchive(pacs._web)):
        assert len(list(reader.fetch_study(objects[0].study_uid, tmp_path).iterdir())) == 2


def test_instances_behind_a_cap_are_missed_aloud_or_not_at_all(locked: Locked, tmp_path: Path) -> None:
    objects = ct_study(8)
    pacs = opened(locked)
    pacs.store(objects)
    with pytest.raises(PacsFailed, match=r"counts 8 instances .* lists [34]: is its limit"):
        DicomwebArchive(pacs._web).fetch_study(objects[0].study_uid, tmp_path)
    assert len(list(pacs.fetch_study(objects[0].study_uid, tmp_path).iterdir())) == 8


def test_results_come_page_by_page(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qido, "PAGE", 2)
    objects = ct_study(4, 3)
    archive.put(*(one.content for one in objects))
    pacs = DicomwebArchive(archive.http("/dicom-web", **HASTY))
    assert len(list(pacs.fetch_study(objects[0].study_uid, tmp_path).iterdir())) == 7


@pytest.mark.parametrize("wrong", [{"password": "guess-me-not"}, {"user": None}, {"password": None}])
def test_a_wrong_password_is_said_and_never_shown(locked: Locked, wrong: dict[str, Any]) -> None:
    pacs = opened(locked, **wrong)
    acts: list[Callable[[], object]] = [
        lambda: pacs.study("1.2.3"),
        lambda: pacs.changes(0),
        lambda: pacs.store(ct_study(1)),
        lambda: DicomwebArchive(pacs._web).study("1.2.3"),
    ]
    for act in acts:
        with pytest.raises(PacsFailed, match=r"refused the user name or password \(HTTP 401\)") as failed:
            act()
        shown = f"{failed.value} {failed.value!r} {failed.value.__cause__} {pacs._web!r}"
        assert PASSWORD not in shown
        assert "guess-me-not" not in shown


def test_a_certificate_nobody_vouches_for_is_not_accepted(locked: Locked) -> None:
    with pytest.raises(PacsFailed, match="certificate was not accepted"):
        opened(locked, ca_file=None).study("1.2.3")


def test_a_certificate_the_system_vouches_for_is_accepted(
    locked: Locked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(locked.ca_file))
    assert opened(locked, ca_file=None).study("1.2.3") is None


def test_a_missing_file_of_certificates_is_named(locked: Locked, tmp_path: Path) -> None:
    with pytest.raises(PacsFailed, match=r"nowhere\.pem"):
        opened(locked, ca_file=tmp_path / "nowhere.pem").study("1.2.3")


def test_proxies_of_the_environment_are_not_used(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert DicomwebArchive(archive.http("/dicom-web", **HASTY)).study("1.2.3") is None
