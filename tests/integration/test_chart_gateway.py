"""The gateway's configuration as the chart renders it, in a real Orthanc and a real nginx, with TLS."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.stack import archive as archive_server
from deploy.stack import local_process
from deploy.stack.local_process import NotInstalled
from models.errors import PacsFailed
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from tests.support.chart import ALL, of_kind, render
from tests.support.instances import ct_study
from tests.support.waiting import GUARD_SECONDS, until

USER, PASSWORD = "organloop", "0123456789abcdef"


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
    try:
        orthanc = archive_server.installed()
    except NotInstalled as error:
        pytest.skip(str(error))
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None or shutil.which("echoscu") is None:
        pytest.skip("nginx or DCMTK is not installed")
    home = tmp_path_factory.mktemp("gateway")
    for name in ("tls", "studies", "tmp", "orthanc"):
        (home / name).mkdir()
    key, certificate = home / "tls" / "tls.key", home / "tls" / "tls.crt"
    names = "subjectAltName=DNS:organloop-gateway,DNS:localhost,IP:127.0.0.1"
    asked = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-addext", names]
    files = ["-subj", "/CN=organloop-gateway", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*asked, *files], check=True, capture_output=True)
    shutil.copy(certificate, home / "tls" / "ca.crt")
    made = Gateway(*(local_process.free_port(0) for _ in range(3)), certificate, key)
    places = {
        "/tmp/": f"{home}/tmp/",  # first: the others may lie there
        "/etc/organloop/tls": str(home / "tls"),
        "/var/lib/orthanc/organloop": str(home / "studies"),
        "8443": str(made.https),
        "8042": str(made.http),
        '"DicomPort": 4242': f'"DicomPort": {made.dimse}',
    }
    values = {f"gateway__modalities__{name}__host": "127.0.0.1" for name in ("pacs", "ct-1")}
    rendered = of_kind(render(ALL, **values), "ConfigMap")["organloop-gateway"]["data"]
    for name, path in (("orthanc.json", home / "orthanc"), ("nginx.conf", home)):
        text = rendered[name]
        for here, there in places.items():
            text = text.replace(here, there)
        (path / name).write_text(text)
    env = os.environ | {"ARCHIVE_USER": USER, "ARCHIVE_PASSWORD": PASSWORD}
    with (home / "log").open("w") as log:
        servers = [
            subprocess.Popen(command, env=env, stdout=log, stderr=log)
            for command in (
                [orthanc, str(home / "orthanc")],
                [nginx, "-e", "stderr", "-c", str(home / "nginx.conf")],
            )
        ]
        try:
            until(lambda: ready(made), lambda: (home / "log").read_text()[-2000:])
            yield made
        finally:
            for server in servers:
                server.terminate()
            for server in servers:
                server.wait(30)


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


def test_the_viewers_way_to_the_archive_is_checked_and_asks_for_the_password(
    gateway: Gateway, tmp_path: Path
) -> None:
    """The viewer's nginx as rendered, with a page of ours in OHIF's place."""
    port = local_process.free_port(0)
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "index.html").write_text("OHIF")
    text = of_kind(render(ALL), "ConfigMap")["organloop-viewer"]["data"]["nginx.conf"]
    for here, there in {
        "/tmp/": f"{tmp_path}/",
        "listen 8443": f"listen 127.0.0.1:{port}",
        "organloop-gateway:8443": f"localhost:{gateway.https}",
        "/etc/organloop/trust/archive.crt": str(gateway.certificate),
        "/etc/organloop/tls": str(gateway.certificate.parent),
        "/usr/share/ohif": str(tmp_path / "pages"),
    }.items():
        assert here in text
        text = text.replace(here, there)
    if os.geteuid() == 0:  # in the cluster its workers are who started it
        text = f"user root root;\n{text}"
    (tmp_path / "nginx.conf").write_text(text)
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    server = subprocess.Popen([str(program), "-e", "stderr", "-c", str(tmp_path / "nginx.conf")])
    try:
        page = Http(f"https://127.0.0.1:{port}", ca_file=gateway.certificate, attempts=6)
        read = page.stream("/segmentation", lambda answer: answer.text)
        assert read == "OHIF"
        with pytest.raises(PacsFailed, match="refused the user name or password"):
            page.json("/dicom-web/studies", list)
        gateway.client().store(ct_study(1))
        reader = Http(f"https://127.0.0.1:{port}", USER, PASSWORD, gateway.certificate)
        assert reader.json("/dicom-web/studies?limit=1", lambda studies: len(studies)) == 1
        with pytest.raises(PacsFailed, match="HTTP 405"):  # pages only: Orthanc's REST is not there
            reader.json("/tools/find", list, body={})
    finally:
        server.terminate()
        server.wait(30)


def test_orthancs_own_http_asks_for_the_password_too(gateway: Gateway) -> None:
    with pytest.raises(PacsFailed, match="refused the user name or password"):
        OrthancArchive(Http(f"http://127.0.0.1:{gateway.http}"), Http("http://127.0.0.1:9")).changes(0)


def test_dimse_answers_known_titles_by_tls_only(gateway: Gateway) -> None:
    assert gateway.echo("CT1", *gateway.tls)
    assert not gateway.echo("CT1")
    assert not gateway.echo("CT1", "+tla", "-ic")  # TLS without a certificate of its own
    assert not gateway.echo("STRANGER", *gateway.tls)
    assert not gateway.echo("CT1", *gateway.tls, called="ANOTHER")
