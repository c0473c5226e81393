"""The gateway's configuration as the chart renders it, in a real Orthanc and a real nginx, with TLS."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import PacsFailed
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from tests.conftest import ROOT
from tests.support.gateway import ACCOUNTS, PASSWORD, READER, USER, Gateway, running
from tests.support.instances import ct_study
from tests.support.orthanc import program, refuses_when_full
from tests.support.waiting import GUARD_SECONDS


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("gateway"), ACCOUNTS) as made:
        yield made


def test_dicomweb_and_rest_answer_by_tls_with_the_password_only(gateway: Gateway) -> None:
    client = gateway.client()
    objects = ct_study(2)
    client.store(objects)
    found = client.study(objects[0].study_uid)
    assert found is not None
    assert sorted(uid for one in found.series for uid in one.sop_instance_uids) == sorted(
        one.sop_instance_uid for one in objects
    )
    with pytest.raises(PacsFailed, match="refused the user name or password"):
        gateway.client("wrong").changes(0)


def test_a_reader_who_reaches_the_gateway_itself_reads_and_administrates_nothing(gateway: Gateway) -> None:
    reader = Http(gateway.url, *READER, gateway.certificate)
    assert isinstance(reader.json("/dicom-web/studies", list), list)
    for path, body in (("/patients", None), ("/dicom-web/servers", None), ("/tools/find", {})):
        with pytest.raises(PacsFailed, match="refused the user name or password"):
            reader.json(path, list, body=body)


def test_a_secret_of_an_earlier_version_lets_the_worker_in_and_nobody_else(tmp_path: Path) -> None:
    """It has no reader: an account without a name must open nothing."""
    (tmp_path / "home").mkdir()
    with running(tmp_path / "home", {"ARCHIVE_USER": USER, "ARCHIVE_PASSWORD": PASSWORD}) as gateway:
        assert gateway.client().end() >= 0
        for account in (("", ""), ("reader", ""), (None, None)):
            with pytest.raises(PacsFailed, match="refused the user name or password"):
                Http(gateway.url, *account, gateway.certificate).json("/dicom-web/studies", list)


def test_an_orthanc_that_would_delete_studies_where_its_disk_is_full_does_not_start(tmp_path: Path) -> None:
    orthanc = program()
    configuration = {
        "StorageDirectory": str(tmp_path),
        "IndexDirectory": str(tmp_path),
        "HttpServerEnabled": False,
        "DicomServerEnabled": False,
        "LuaScripts": [str(ROOT / "deploy" / "stack" / "orthanc" / "room.lua")],
        "MaximumStorageSize": 1,
        "MaximumStorageMode": "Reject",
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(configuration))
    if refuses_when_full():
        pytest.skip("this Orthanc refuses what comes instead")
    done = subprocess.run(
        [orthanc, str(tmp_path / "orthanc.json")], capture_output=True, text=True, timeout=GUARD_SECONDS
    )
    assert done.returncode != 0
    assert "needs to be 1.11.3 or later" in done.stderr


def test_orthancs_own_http_asks_for_the_password_too(gateway: Gateway) -> None:
    with pytest.raises(PacsFailed, match="refused the user name or password"):
        OrthancArchive(Http(f"http://127.0.0.1:{gateway.http}"), Http("http://127.0.0.1:9")).changes(0)


def test_dimse_answers_known_titles_by_tls_only(gateway: Gateway) -> None:
    assert gateway.echo("CT1", *gateway.tls)
    assert not gateway.echo("CT1")
    assert not gateway.echo("CT1", "+tla", "-ic")  # TLS without a certificate of its own
    assert not gateway.echo("STRANGER", *gateway.tls)
    assert not gateway.echo("CT1", *gateway.tls, called="ANOTHER")


def test_a_scanner_queries_nothing_and_a_pacs_that_the_values_let_does(gateway: Gateway) -> None:
    gateway.client().store(ct_study(1))

    def found(title: str) -> bool:
        peer = ["-aet", title, "-aec", "ORGANLOOP", *gateway.tls, "127.0.0.1", str(gateway.dimse)]
        asked = [
            "findscu",
            "-v",
            "-to",
            "5",
            "-P",
            "-k",
            "QueryRetrieveLevel=PATIENT",
            "-k",
            "PatientID",
            *peer,
        ]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=GUARD_SECONDS)
        return "Find Response" in done.stdout + done.stderr

    assert found("PACS")
    assert not found("CT1")
