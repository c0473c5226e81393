"""The chart's gateway as Helm renders it, in a real Orthanc and a real nginx of this machine."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.stack import local_process
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from tests.support.chart import ALL, of_kind, render
from tests.support.nginx import certificate, nginx_at, placed
from tests.support.orthanc import orthanc_at, refuses_when_full
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
    context = ssl.create_default_context(cafile=str(gateway.certificate))
    try:
        with urllib.request.urlopen(f"{gateway.url}/ready", timeout=5, context=context) as answer:
            return answer.status == 200 and answer.read() == b"Orthanc answers\n"
    except OSError:
        return False
