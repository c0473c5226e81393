"""Compose's archive as it is shipped, in a real Orthanc: whom it knows, and what each may."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.stack import local_process
from models.errors import PacsFailed
from services.pacs.http import Http
from tests.conftest import ROOT
from tests.support.instances import ct_study
from tests.support.nginx import placed
from tests.support.orthanc import orthanc_at, refuses_when_full
from tests.support.waiting import GUARD_SECONDS, until

COMPOSE = ROOT / "deploy" / "compose"


@dataclass(frozen=True)
class Shipped:
    """The running archive, and the folder of its secrets."""

    http: int
    dimse: int
    secrets: Path

    def by(self, user: str, password: str) -> Http:
        """Return a connection, by the name under which the container checks itself."""
        return Http(f"http://127.0.0.1:{self.http}", user, (self.secrets / password).read_text())

    def dcmtk(self, program: str, title: str, *words: str) -> str:
        peer = ["-to", "5", "-aet", title, "-aec", "ORGANLOOP", "127.0.0.1", str(self.dimse)]
        done = subprocess.run([program, *peer, *words], capture_output=True, text=True, timeout=GUARD_SECONDS)
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    home = tmp_path_factory.mktemp("compose")
    subprocess.run([str(COMPOSE / "make-secrets"), str(home / "secrets")], check=True, capture_output=True)
    made = Shipped(local_process.free_port(0), local_process.free_port(0), home / "secrets")
    configuration = home / "orthanc"
    for folder in (configuration, home / "studies"):
        folder.mkdir()
    places = {
        "/var/lib/orthanc/organloop": str(home / "studies"),
        "/etc/organloop/": f"{ROOT / 'deploy' / 'stack' / 'orthanc'}/",
        '"HttpPort": 8042': f'"HttpPort": {made.http}',
        '"DicomPort": 4242': f'"DicomPort": {made.dimse}',
    }
    (configuration / "orthanc.json").write_text(placed((COMPOSE / "orthanc.json").read_text(), places))
    (configuration / "modalities.json").write_text((COMPOSE / "modalities.json").read_text())
    (configuration / "users.json").write_text((home / "secrets" / "archive_users.json").read_text())
    variables = {} if refuses_when_full() else {"ARCHIVE_MEGABYTES": "0"}
    with orthanc_at(configuration, variables) as log:
        until(lambda: "Orthanc has started" in log.read_text(), lambda: log.read_text()[-2000:])
        yield made


@pytest.mark.parametrize("title", ["STORESCU", "ECHOSCU", "FINDSCU", "ORGANLOOP", "ANYBODY"])
def test_nobody_may_send_or_ask_by_dimse_before_a_person_names_him(
    shipped: Shipped, title: str, tmp_path: Path
) -> None:
    (tmp_path / "image.dcm").write_bytes(ct_study(1)[0].content)
    for words in (
        ["echoscu"],
        ["storescu", str(tmp_path / "image.dcm")],
        ["findscu", "-P", "-k", "PatientID"],
    ):
        assert "Calling AE Title Not Recognized" in shipped.dcmtk(words[0], title, *words[1:])


def test_the_example_of_an_entry_lets_it_store_and_echo_and_nothing_else() -> None:
    commented = re.findall(r"^//   ?(.*)$", (COMPOSE / "modalities.json").read_text(), re.MULTILINE)
    [entry] = json.loads(f"{{{''.join(commented)}}}").values()
    assert {right for right, given in entry.items() if given is True} == {"AllowEcho", "AllowStore"}
    rights = ("Find", "FindWorklist", "Get", "Move", "StorageCommitment")
    assert not any(entry[f"Allow{right}"] for right in rights)


def test_worker_and_reader_have_a_password_each_and_rights_of_their_own(shipped: Shipped) -> None:
    worker = shipped.by("organloop", "organloop_archive_password")
    reader = shipped.by("reader", "archive_reader_password")
    assert worker.need("/system", dict)["DicomAet"] == "ORGANLOOP"
    assert reader.need("/dicom-web/studies", list) == []
    for path in ("/system", "/patients", "/dicom-web/servers"):
        with pytest.raises(PacsFailed, match="refused the user name or password"):
            reader.need(path, list)
    with pytest.raises(PacsFailed, match="refused the user name or password"):
        shipped.by("reader", "organloop_archive_password").need("/dicom-web/studies", list)
