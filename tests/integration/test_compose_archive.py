"""Compose's archive in a real Orthanc: whom it knows, what each may, and what goes on to a PACS beside it."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.containers import forwarder
from deploy.stack.local_process import free_port
from deploy.stack.orthanc.modalities import Modality
from models.errors import PacsFailed
from services.pacs.orthanc import OrthancArchive
from tests.support import archive as pacs_archive
from tests.support.compose import Shipped, archive_at
from tests.support.instances import ct_study
from tests.support.nginx import certificate


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shipped]:
    with archive_at(tmp_path_factory.mktemp("compose")) as made:
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


def entry(name: str, aet: str, port: int, **rights: str) -> str:
    more = "".join(f"{right} = {value}\n" for right, value in rights.items())
    return f'[{name}]\naet = "{aet}"\nhost = "127.0.0.1"\nport = {port}\n{more}'


def test_who_is_named_in_the_site_s_file_stores_and_echoes_and_asks_only_where_it_may(tmp_path: Path) -> None:
    known = entry("ct-1", "CT1", 104) + entry("ws", "WS", 104, mayQuery="true")
    (tmp_path / "image.dcm").write_bytes(ct_study(1)[0].content)
    asking = ("-v", "-P", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID")
    (tmp_path / "home").mkdir()
    with archive_at(tmp_path / "home", known, ORGANLOOP_GATEWAY_AET="RADIOLOGY") as made:
        assert "Called AE Title Not Recognized" in made.dcmtk("echoscu", "CT1")
        called = ("-aec", "RADIOLOGY")
        assert made.dcmtk("echoscu", "CT1", *called) == ""
        assert made.dcmtk("storescu", "CT1", *called, str(tmp_path / "image.dcm")) == ""
        assert "Find Response" in made.dcmtk("findscu", "WS", *called, *asking)
        assert "Find Response" not in made.dcmtk("findscu", "CT1", *called, *asking)
        assert "Calling AE Title Not Recognized" in made.dcmtk("echoscu", "STRANGER", *called)


def test_with_the_site_s_certificates_dimse_is_encrypted_and_asks_for_the_other_s(tmp_path: Path) -> None:
    tls = certificate(tmp_path / "tls")
    shutil.copy(tls / "tls.crt", tls / "ca.crt")
    (tmp_path / "home").mkdir()
    shown = ("+tls", str(tls / "tls.key"), str(tls / "tls.crt"), "+cf", str(tls / "ca.crt"))
    with archive_at(tmp_path / "home", entry("ct-1", "CT1", 104), tls) as made:
        assert made.dcmtk("echoscu", "CT1", *shown) == ""
        assert made.dcmtk("echoscu", "CT1") != "", "plain"
        assert made.dcmtk("echoscu", "CT1", "+tla", "-ic") != "", "without a certificate of its own"


def test_what_was_stored_by_dicomweb_goes_on_to_the_pacs_that_a_variable_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The PACS is another Orthanc; it knows ours by its title, and takes what comes."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(forwarder, "ALIVE", tmp_path / "alive")
    port = free_port(0)
    (tmp_path / "home").mkdir()
    at_pacs = {"organloop": Modality("ORGANLOOP")}
    with (
        pacs_archive.archive_at(tmp_path / "pacs", aet="PACS", dicom_port=port, modalities=at_pacs) as pacs,
        archive_at(tmp_path / "home", entry("pacs", "PACS", port), ORGANLOOP_FORWARD_TO="pacs") as made,
    ):
        worker = made.by("organloop", "organloop_archive_password")
        reader = made.by("reader", "archive_reader_password", "/dicom-web")
        results = ct_study(2)
        OrthancArchive(worker, reader).store(results)
        sending = forwarder.Forwarder(worker, "pacs", tmp_path / "cursor.json")
        assert sending.round(now=0.0) == 2
        assert {one["SOPInstanceUID"] for one in pacs.instances()} == {
            one.sop_instance_uid for one in results
        }
        assert sending.round(now=0.0) == 0


def test_a_forwarder_that_is_to_send_to_nobody_says_so_and_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Ended(Exception):
        pass

    def ended(_: float) -> None:
        raise Ended

    caplog.set_level(logging.INFO)
    monkeypatch.setattr(forwarder, "ALIVE", tmp_path / "alive")
    monkeypatch.setattr(forwarder.time, "sleep", ended)
    monkeypatch.setattr("sys.argv", ["forwarder", "--to=", "--cursor=/nowhere/cursor.json"])
    with pytest.raises(Ended):
        forwarder.main()
    assert (tmp_path / "alive").exists()
    assert "results stay in the archive" in caplog.text
