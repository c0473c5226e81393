"""The gateway's configuration as the chart renders it, in a real Orthanc and a real nginx, with TLS."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.stack import local_process
from models.errors import PacsFailed
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from tests.conftest import ROOT
from tests.support.chart import ALL, of_kind, render
from tests.support.instances import ct_study
from tests.support.nginx import certificate, nginx_at, placed
from tests.support.orthanc import orthanc_at, program, refuses_when_full
from tests.support.waiting import GUARD_SECONDS, until

USER, PASSWORD = "organloop", "0123456789abcdef"
READER = ("readers", "fedcba9876543210")
ACCOUNTS = {
    "ARCHIVE_USER": USER,
    "ARCHIVE_PASSWORD": PASSWORD,
    "READER_USER": READER[0],
    "READER_PASSWORD": READER[1],
}


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    https: int
    http: int
    dimse: int
    certificate: Path
    key: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.https}"

    def client(self, password: str = PASSWORD) -> OrthancArchive:
        rest, web = (
            Http(f"{self.url}{path}", USER, password, self.certificate) for path in ("", "/dicom-web")
        )
        return OrthancArchive(rest, web)

    def echo(self, title: str, *options: str, called: str = "ORGANLOOP") -> bool:
        """Tell whether a C-ECHO of this title is answered."""
        command = ["echoscu", "-to", "5", "-ta", "5", "-aet", title, "-aec", called, *options]
        done = subprocess.run(
            [*command, "127.0.0.1", str(self.dimse)], capture_output=True, timeout=GUARD_SECONDS
        )
        return done.returncode == 0

    @property
    def tls(self) -> list[str]:
        return ["+tls", str(self.key), str(self.certificate), "+cf", str(self.certificate)]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(tmp_path_factory.mktemp("gateway"), ACCOUNTS) as made:
        yield made


@contextmanager
def running(home: Path, accounts: dict[str, str]) -> Iterator[Gateway]:
    """Run Orthanc and nginx as the pod does, with the passwords of its secret."""
    if shutil.which("echoscu") is None:
        pytest.skip("DCMTK is not installed")
    tls = certificate(home / "tls", "organloop-gateway")
    for name in ("studies", "orthanc", "nginx"):
        (home / name).mkdir()
    values = {f"gateway__modalities__{name}__host": "127.0.0.1" for name in ("pacs", "ct-1")}
    values["gateway__modalities__pacs__mayQuery"] = "true"
    data = of_kind(render(ALL, **values), "ConfigMap")["organloop-gateway"]["data"]
    http, dimse = (local_process.free_port(0) for _ in range(2))
    places = {
        "/etc/organloop/tls": str(tls),
        "/etc/organloop/orthanc": str(home / "orthanc"),
        "/var/lib/orthanc/organloop": str(home / "studies"),
        '"HttpPort": 8042': f'"HttpPort": {http}',
        '"DicomPort": 4242': f'"DicomPort": {dimse}',
    }
    if not refuses_when_full():
        places['"MaximumStorageSize": 460800'] = '"MaximumStorageSize": 0'
    (home / "orthanc" / "orthanc.json").write_text(placed(data["orthanc.json"], places))
    for name in ("doors.lua", "room.lua"):
        (home / "orthanc" / name).write_text(data[name])
    places = {"/etc/organloop/tls": str(tls), "127.0.0.1:8042": f"127.0.0.1:{http}"}
    with (
        nginx_at(home / "nginx", placed(data["nginx.conf"], places), data) as https,
        orthanc_at(home / "orthanc", accounts) as log,
    ):
        made = Gateway(https, http, dimse, tls / "tls.crt", tls / "tls.key")
        until(lambda: ready(made), lambda: log.read_text()[-2000:])
        yield made


def ready(gateway: Gateway) -> bool:
    """Ask as a cluster's probe does."""
    import ssl

    context = ssl.create_default_context(cafile=str(gateway.certificate))
    try:
        with urllib.request.urlopen(f"{gateway.url}/ready", timeout=5, context=context) as answer:
            return answer.status == 200 and answer.read() == b"Orthanc answers\n"
    except OSError:
        return False


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


def test_the_viewers_way_to_the_archive_is_checked_and_asks_for_the_reader_s_password(
    gateway: Gateway, tmp_path: Path
) -> None:
    """The viewer's nginx as rendered, with a page of ours in OHIF's place."""
    data = of_kind(render(ALL), "ConfigMap")["organloop-viewer"]["data"]
    places = {
        "organloop-gateway:8443": f"localhost:{gateway.https}",
        "/etc/organloop/trust/archive.crt": str(gateway.certificate),
        "/etc/organloop/tls": str(gateway.certificate.parent),
    }
    with nginx_at(tmp_path, placed(data["nginx.conf"], places), data) as port:
        page = Http(f"https://127.0.0.1:{port}", ca_file=gateway.certificate, attempts=6)
        read = page.stream("/segmentation", lambda answer: answer.text)
        assert read == "OHIF"
        with pytest.raises(PacsFailed, match="refused the user name or password"):
            page.json("/dicom-web/studies", list)
        gateway.client().store(ct_study(1))
        reader = Http(f"https://127.0.0.1:{port}", *READER, gateway.certificate)
        assert reader.json("/dicom-web/studies?limit=1", lambda studies: len(studies)) == 1
        with pytest.raises(PacsFailed, match="HTTP 405"):  # pages only: Orthanc's REST is not there
            reader.json("/tools/find", list, body={})


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
