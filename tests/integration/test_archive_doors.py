"""What the local archive gives to whom: nobody, a sender, a reader, a page from elsewhere, the worker."""

from __future__ import annotations

import gzip
import http.client
import io
import json
import subprocess
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from deploy.stack import archive as archive_server
from deploy.stack.archive import ArchiveServer
from deploy.stack.local_server import basic
from deploy.stack.loopback import is_open_to_others
from services.pacs.accounts import FILE, Account, Accounts
from tests.support.archive import Archive, archive_at
from tests.support.instances import ct_study
from tests.support.waiting import GUARD_SECONDS

WORDS = ("/patients", "/system", "/changes", "/plugins", "/app/explorer.html", "/dicom-web/studies", "/wado")
NOT_A_READERS = (
    ("GET", "/dicom-web/servers"),
    ("PUT", "/dicom-web/servers/evil"),
    ("POST", "/dicom-web/servers/evil/get"),
    ("GET", "/dicom-web/studies/../servers"),
    ("GET", "/dicom-web/studies/%2e%2e/servers"),
    ("GET", "/dicom-web/studies%2f..%2fservers"),
    ("GET", "/dicom-web/studiesque"),
    ("GET", "/patients"),
    ("POST", "/tools/find"),
    ("POST", "/tools/bulk-delete"),
    ("DELETE", "/dicom-web/studies/1.2.3"),
    ("PUT", "/dicom-web/studies"),
)


def status(
    archive: Archive, method: str, path: str, account: Account | None, body: bytes | None = None, **heads: str
) -> int:
    """Return how a request is answered that goes out as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", archive.process.http_port, timeout=GUARD_SECONDS)
    named = {name.replace("_", "-"): value for name, value in heads.items()}
    try:
        connection.request(method, path, body, named | (basic(account) if account else {}))
        return connection.getresponse().status
    finally:
        connection.close()


def dcmtk(archive: Archive, program: str, title: str, *words: str) -> str:
    """Return all that a tool of DCMTK says of its talk with the archive."""
    peer = ["-to", "5", "-ta", "5", "-aet", title, "-aec", archive.aet, "127.0.0.1", str(archive.dicom_port)]
    done = subprocess.run([program, *peer, *words], capture_output=True, text=True, timeout=GUARD_SECONDS)
    return done.stdout + done.stderr


@pytest.fixture
def held(clean_archive: Archive) -> Archive:
    """An archive that holds a study."""
    clean_archive.put(*(one.content for one in ct_study(2)))
    return clean_archive


@pytest.mark.parametrize("account", [None, Account("", ""), Account("organloop", ""), Account("reader", "x")])
def test_without_a_password_nothing_is_given(held: Archive, account: Account | None) -> None:
    assert {status(held, "GET", path, account) for path in WORDS} == {401}


@pytest.mark.parametrize(("method", "path"), NOT_A_READERS)
def test_a_reader_administrates_nothing(held: Archive, method: str, path: str) -> None:
    assert status(held, method, path, held.reader, b"{}" if method != "GET" else None) == 403


def test_a_reader_searches_reads_and_stores(held: Archive) -> None:
    web = held.http("/dicom-web", held.reader)
    [study] = web.need("/studies", list)
    assert web.need("/series", len) == 1
    assert web.need("/instances", len) == 2
    assert web.need(f"/studies/{study['0020000D']['Value'][0]}/metadata", len) == 2
    [saved] = ct_study(1)
    parts = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + saved.content + b"\r\n--x--"
    kind = 'multipart/related; type="application/dicom"; boundary=x'
    assert status(held, "POST", "/dicom-web/studies", held.reader, parts, Content_Type=kind) == 200
    assert saved.sop_instance_uid in {one["SOPInstanceUID"] for one in held.instances()}


@pytest.mark.parametrize(
    "heads",
    [
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8042"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9"},
        {"Content_Encoding": "gzip"},
    ],
)
def test_a_page_from_elsewhere_gets_nothing_by_a_known_password(held: Archive, heads: dict[str, str]) -> None:
    assert status(held, "GET", "/system", held.worker) == 200
    assert status(held, "GET", "/system", held.worker, **heads) == 403


def test_a_body_that_would_inflate_is_not_read(held: Archive) -> None:
    """3 MB of gzip were 3 GB in memory at once."""

    def resident() -> int:
        lines = Path(f"/proc/{held.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

    body, before = gzip.compress(bytes(256 * 1024**2), 1), resident()
    assert status(held, "POST", "/instances", held.worker, body, Content_Encoding="gzip") == 403
    assert resident() - before < 100 * 1024


@pytest.mark.parametrize("title", ["STORESCU", "ECHOSCU", "FINDSCU", "MOVESCU", "ORGANLOOP", "ANYBODY"])
def test_no_title_asks_for_anything_by_dimse(held: Archive, title: str, tmp_path: Path) -> None:
    patient = ["-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID"]
    for model in ("-P", "-S"):
        assert "Find Response" not in dcmtk(held, "findscu", title, model, *patient)
    study = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={ct_uid(held)}"]
    dcmtk(held, "getscu", title, "-od", str(tmp_path), *study)
    assert list(tmp_path.iterdir()) == []
    assert "Success" not in dcmtk(held, "movescu", title, "-v", "-aem", title, *study)


def ct_uid(archive: Archive) -> str:
    return str(archive.instances("Study")[0]["StudyInstanceUID"])


def test_a_sender_stores_and_echoes(clean_archive: Archive, tmp_path: Path) -> None:
    [image] = ct_study(1)
    (tmp_path / "image.dcm").write_bytes(image.content)
    assert dcmtk(clean_archive, "echoscu", "STORESCU") == ""
    assert dcmtk(clean_archive, "storescu", "STORESCU", str(tmp_path / "image.dcm")) == ""
    assert [one["SOPInstanceUID"] for one in clean_archive.instances()] == [image.sop_instance_uid]


def test_of_a_home_s_own_archive_nobody_knows_the_title_that_may_send(tmp_path: Path) -> None:
    [image] = ct_study(1)
    (tmp_path / "image.dcm").write_bytes(image.content)
    with archive_at(tmp_path / "home", modalities=None) as archive:
        for title in ("STORESCU", "ECHOSCU", "SENDER", archive.aet):
            assert "Not Recognized" in dcmtk(archive, "storescu", title, str(tmp_path / "image.dcm"))
            assert "Not Recognized" in dcmtk(archive, "findscu", title, "-P", "-k", "PatientID")
        sender = archive.server.accounts.sender
        assert len(sender) <= 16
        assert dcmtk(archive, "storescu", sender, str(tmp_path / "image.dcm")) == ""
        assert len(archive.instances()) == 1
        assert "Find Response" not in dcmtk(archive, "findscu", sender, "-P", "-k", "PatientID")


def test_what_is_deflated_is_refused_where_no_password_is_asked(
    clean_archive: Archive, tmp_path: Path
) -> None:
    [image] = ct_study(1)
    (tmp_path / "plain.dcm").write_bytes(image.content)
    dataset = dcmread(tmp_path / "plain.dcm")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(tmp_path / "deflated.dcm")
    dcmtk(clean_archive, "storescu", "STORESCU", "-R", "-xd", str(tmp_path / "deflated.dcm"))
    kept = [clean_archive.bytes_of(one["SOPInstanceUID"]) for one in clean_archive.instances()]
    assert [one for one in kept if DeflatedExplicitVRLittleEndian.encode() in one[:1000]] == []


def test_no_other_machine_reaches_its_ports(archive: Archive) -> None:
    assert not is_open_to_others(archive.process.http_port)
    assert not is_open_to_others(archive.dicom_port)


def test_it_writes_no_patient_s_name_whatever_it_is_asked(tmp_path: Path) -> None:
    queries = (
        "PatientName=MUSTERMANN*&PatientBirthDate=x",
        "MUSTERMANN=1",
        "limit=1&includefield=MUSTERMANN",
    )
    [image] = ct_study(1)
    dataset = dcmread(io.BytesIO(image.content))
    dataset.PatientName, dataset.PatientBirthDate = "MUSTERMANN^ERIKA", "19500101"
    dataset.save_as(tmp_path / "image.dcm")
    with archive_at(tmp_path / "home") as archive:
        for account in (None, archive.reader, archive.worker):
            for query in queries:
                status(archive, "GET", f"/dicom-web/studies?{query}", account)
            status(
                archive,
                "POST",
                "/tools/find",
                account,
                b'{"Level":"Study","Query":{"PatientName":"MUSTERMANN"',
            )
        whole = (tmp_path / "image.dcm").read_bytes()
        for content in (whole, whole[:-100], whole + whole, b"MUSTERMANN" * 100):
            status(archive, "POST", "/instances", archive.worker, content)
        for title in ("STORESCU", "ANYBODY"):
            dcmtk(archive, "storescu", title, str(tmp_path / "image.dcm"))
            dcmtk(archive, "findscu", title, "-P", "-k", "PatientName=MUSTERMANN")
        said = archive.server.log.read_text()
        assert "Orthanc has started" in said
        assert "MUSTERMANN" not in said
        assert "19500101" not in said


def test_its_accounts_are_its_owner_s_alone_and_stay(tmp_path: Path) -> None:
    with archive_at(tmp_path) as archive:
        accounts = archive.server.accounts
        assert Accounts.of(tmp_path) == ArchiveServer(tmp_path).accounts == accounts
        for secret in (tmp_path / FILE, tmp_path / "configuration" / "place.json"):
            assert accounts.worker.password in secret.read_text()
            assert secret.stat().st_mode & 0o077 == 0, secret
        assert accounts.worker.password not in repr(accounts)


def test_one_that_an_earlier_version_left_open_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_to_all = tmp_path / "archive.json"
    text = archive_server.TEMPLATE.read_text()
    open_to_all.write_text(text.replace('"AuthenticationEnabled": true', '"AuthenticationEnabled": false'))
    with monkeypatch.context() as earlier:
        earlier.setattr(archive_server, "TEMPLATE", open_to_all)
        server = ArchiveServer(tmp_path / "home")
        first = server.start()
    noted = tmp_path / "home" / "server.json"
    document = json.loads(noted.read_text())
    del document["doors"]
    noted.write_text(json.dumps(document))
    try:
        second = server.start()
        assert not first.alive
        assert status(Archive(server, second), "GET", "/system", None) == 401
    finally:
        server.stop()
