"""Every nginx of the project, as local stack, containers and gateway have it, the archive away or hostile."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from deploy.stack import local_process, viewer
from deploy.stack.viewer import ViewerServer
from services.pacs.accounts import Account, Accounts
from tests.support.chart import ALL, of_kind, render
from tests.support.nginx import certificate, doors_at, nginx_at, placed
from tests.support.pages import Pages, know_archive, pages_at
from tests.support.waiting import GUARD_SECONDS

READER = Account("reader", "word")
SEARCH = "/dicom-web/studies?PatientName=MUSTERMANN*&PatientBirthDate=19500101"
KINDS = ("up", "container", "gateway")
VIEWERS = KINDS[:2]


@dataclass(frozen=True)
class Served:
    """A running nginx.

    Parameters
    ----------
    port
        Where it listens.
    certificate
        What its TLS is checked against; None without TLS.
    folder
        All that it writes.
    pages
        Who know the reader that asks it; None where nobody is asked.
    """

    port: int
    certificate: Path | None
    folder: Path
    pages: Pages | None = None

    def ask(self, method: str, path: str, body: bytes | None = None, **heads: str) -> int:
        """Return the status of an answer."""
        named = {name.replace("_", "-"): value for name, value in heads.items()}
        named |= self.pages.signed_in if self.pages else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=GUARD_SECONDS)
        if self.certificate is not None:
            context = ssl.create_default_context(cafile=str(self.certificate))
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context)
        try:
            connection.request(method, path, body, named)
            return connection.getresponse().status
        finally:
            connection.close()

    @property
    def origin(self) -> str:
        """Of its own pages."""
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """All that any file of it says, but its configuration; what the pages say that it asks, too."""
        folders = [self.folder, *([self.pages.home] if self.pages else [])]
        found = [one for folder in folders for one in folder.rglob("*")]
        files = [one for one in found if one.is_file() and one.suffix != ".conf"]
        return "\n".join(one.read_text(errors="replace") for one in files)


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    with pages_at(tmp_path_factory.mktemp("pages")) as pages:
        yield pages


@pytest.fixture
def served(pages: Pages) -> Callable[[str, Path, int], AbstractContextManager[Served]]:
    """Return what runs one of them, its archive at a port of this machine; a reader asks the viewers."""
    return partial(_served, pages)


@contextmanager
def _served(pages: Pages, kind: str, folder: Path, archive_port: int) -> Iterator[Served]:
    folder.mkdir()
    if kind == "up":
        address = f"http://127.0.0.1:{archive_port}/dicom-web"
        accounts = Accounts(Account("worker", "word"), READER, "SENDER")
        know_archive(pages.home, address, accounts)
        with pytest.MonkeyPatch.context() as patch, ViewerServer(folder, pages.viewer_port) as server:
            patch.setattr(viewer, "installed", lambda: "/usr/sbin/nginx")
            port = server.start(address, pages.sign_in, accounts.reader).port
            yield Served(port, None, folder, pages)
        return
    if kind == "container":
        address = f"http://127.0.0.1:{archive_port}/dicom-web"
        know_archive(pages.home, address, Accounts(Account("worker", "word"), READER, "SENDER"))
        ports = {
            "pages": local_process.free_port(0),
            "viewer": pages.viewer_port,
            "dashboard": pages.dashboard_port,
        }
        variables = {
            "DOORS_PAGES": pages.url.removeprefix("http://"),
            "DOORS_ARCHIVE": address,
            "DOORS_PREFECT": "http://127.0.0.1:1",
            "ORGANLOOP_PAGES_ADDRESS": pages.url,
            "ORGANLOOP_VIEWER_ADDRESS": f"http://127.0.0.1:{ports['viewer']}",
            "ORGANLOOP_DASHBOARD_ADDRESS": f"http://127.0.0.1:{ports['dashboard']}",
            "ORGANLOOP_ARCHIVE_READER_USER": READER.user,
            "ORGANLOOP_ARCHIVE_READER_PASSWORD": READER.password,
            "PREFECT_API_AUTH_STRING": "organloop:word",
        }
        with doors_at(folder, variables, folder / "no-secrets", ports):
            yield Served(ports["viewer"], None, folder, pages)
        return
    tls = certificate(folder.with_name(f"{kind}-tls"))
    data = of_kind(render(ALL), "ConfigMap")[f"organloop-{kind}"]["data"]
    places = {"/etc/organloop/tls": str(tls), "127.0.0.1:8042": f"127.0.0.1:{archive_port}"}
    with nginx_at(folder, placed(data["nginx.conf"], places), data) as port:
        yield Served(port, tls / "tls.crt", folder)


@contextmanager
def hostile() -> Iterator[tuple[int, list[bytes]]]:
    """A server that keeps what it is asked and answers nonsense; yield its port and what it heard."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(65536))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nno header\0at all\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listening.getsockname()[1], heard
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize("kind", KINDS)
def test_no_name_of_a_patient_is_written_whatever_fails(kind: str, served, tmp_path: Path) -> None:
    away = local_process.free_port(0)
    with served(kind, tmp_path / kind, away) as nginx:
        assert nginx.ask("GET", SEARCH) == 502
        assert nginx.ask("POST", SEARCH, b"", Content_Length=str(2 * 1024**3)) == 413
        assert nginx.ask("GET", SEARCH, Origin="http://elsewhere.example/MUSTERMANN") == 403
        assert nginx.ask("GET", SEARCH, Range="bytes=MUSTERMANN", Host="MUSTERMANN") in (421, 502)
        assert "answered 502" in nginx.said
        assert "MUSTERMANN" not in nginx.said
        assert "19500101" not in nginx.said


@pytest.mark.parametrize("kind", KINDS)
def test_nor_where_the_archive_speaks_nonsense(kind: str, served, tmp_path: Path) -> None:
    with hostile() as (port, _), served(kind, tmp_path / kind, port) as nginx:
        assert nginx.ask("GET", SEARCH) == 502
        assert nginx.ask("POST", SEARCH, b"MUSTERMANN" * 10, Origin=nginx.origin) == 502
        assert "MUSTERMANN" not in nginx.said


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_s_encoding_does_not_reach_the_archive_nor_does_an_origin(
    kind: str, served, tmp_path: Path
) -> None:
    with hostile() as (port, heard), served(kind, tmp_path / kind, port) as nginx:
        nginx.ask("POST", "/dicom-web/studies", b"x", Content_Encoding="gzip", Origin=nginx.origin)
        [asked] = [one for one in heard if one]
        assert asked.startswith(b"POST /dicom-web/studies HTTP/1.1\r\n")
        assert b"encoding" not in asked.lower().replace(b"accept-encoding", b"")
        assert b"\r\norigin" not in asked.lower()


@pytest.mark.parametrize("kind", VIEWERS)
def test_readers_reach_studies_series_and_instances_and_nothing_else(
    kind: str, served, tmp_path: Path
) -> None:
    """An archive that is away answers 502 where the way leads to it."""
    with served(kind, tmp_path / kind, local_process.free_port(0)) as nginx:
        for path in ("studies", "series", "instances", "studies/1.2/series/3.4/metadata"):
            assert nginx.ask("GET", f"/dicom-web/{path}") == 502
            saves = path == "studies"  # the pages take saves, and no other POST
            said = nginx.ask("POST", f"/dicom-web/{path}", Origin=nginx.origin)
            assert said == (502 if saves else 404), path
            assert {nginx.ask(method, f"/dicom-web/{path}") for method in ("PUT", "DELETE", "OPTIONS")} == {
                403
            }
        for path in (
            "",
            "servers",
            "servers/a/get",
            "studies/../servers",
            "studies/%2e%2e/servers",
            "studiesque",
        ):
            assert {nginx.ask(method, f"/dicom-web/{path}") for method in ("GET", "POST", "PUT")} == {403}, (
                path
            )
        assert nginx.ask("GET", "/tools/find") == 200, "a page: Orthanc's REST is not there"
        assert nginx.ask("POST", "/tools/find") == 405


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "heads",
    [
        {"Origin": "http://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "https://127.0.0.1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
    ids=lambda heads: "-".join(heads.values()),
)
def test_a_page_from_elsewhere_does_not_reach_the_archive(
    kind: str, heads: dict[str, str], served, tmp_path: Path
) -> None:
    with served(kind, tmp_path / kind, local_process.free_port(0)) as nginx:
        assert nginx.ask("GET", "/dicom-web/studies", **heads) == 403
        assert nginx.ask("GET", "/dicom-web/studies", Sec_Fetch_Site="same-origin") == 502
