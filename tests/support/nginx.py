"""A real nginx with one of the project's configurations, its paths and ports led to a folder of the test."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from deploy.doors.open import configured
from deploy.stack import local_process
from tests.conftest import ROOT
from tests.support.waiting import until

INCLUDED = ("requests.conf", "archive.conf")
OHIF = {"index.html": "OHIF", "app-config.js": "'/dicom-web'"}
"""What stands for its pages."""


def installed() -> str:
    """Return the path of nginx; skip where it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    return program


def placed(text: str, places: Mapping[str, str]) -> str:
    """Return a configuration with other places in it; each must be there."""
    for here, there in places.items():
        assert here in text, here
        text = text.replace(here, there)
    return text


@contextmanager
def nginx_at(folder: Path, text: str, included: Mapping[str, str] | None = None) -> Iterator[int]:
    """Run nginx with a configuration of a container; yield the port it has here.

    What it says goes to ``folder/log``. Its files in ``/tmp`` lie in ``folder/tmp``, its pages beside them.
    """
    port = local_process.free_port(0)
    (folder / "tmp").mkdir(exist_ok=True)
    text = re.sub(
        r"listen (3000|8443)", f"listen 127.0.0.1:{port}", text.replace(" /tmp/", f" {folder}/tmp/")
    )
    if os.geteuid() == 0:  # in a container its workers are who started it
        text = f"user root root;\n{text}"
    (folder / "nginx.conf").write_text(text)
    for name in INCLUDED:
        source = (included or {}).get(name) or (ROOT / "deploy" / "doors" / name).read_text()
        (folder / name).write_text(source)
    with _running(folder, folder / "nginx.conf", port):
        yield port


@contextmanager
def doors_at(
    folder: Path, variables: Mapping[str, str], secrets: Path, ports: Mapping[str, int]
) -> Iterator[None]:
    """Run the doors of a container, as its program configures them, at ports of this machine.

    What nginx says goes to ``folder/log``.
    """
    ohif = folder / "ohif"
    ohif.mkdir(parents=True)
    for name, text in OHIF.items():
        (ohif / name).write_text(text)
    listens = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
    with _running(folder, configured(variables, folder / "doors", ohif, secrets, listens), ports["viewer"]):
        yield


@contextmanager
def _running(folder: Path, configuration: Path, port: int) -> Iterator[None]:
    command = [installed(), "-p", str(configuration.parent), "-e", "stderr", "-c", str(configuration)]
    with (folder / "log").open("a") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            until(lambda: _listens(port), lambda: (folder / "log").read_text()[-2000:])
            yield
        finally:
            server.terminate()
            server.wait(30)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def certificate(folder: Path, *names: str) -> Path:
    """Make a key and a certificate that signs itself, for this machine and names; return their folder."""
    folder.mkdir()
    alternative = ",".join(["IP:127.0.0.1", *(f"DNS:{name}" for name in ("localhost", *names))])
    asked = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=organloop",
    ]
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subprocess.run(
        [*asked, "-addext", f"subjectAltName={alternative}", *files], check=True, capture_output=True
    )
    shutil.copy(folder / "tls.crt", folder / "ca.crt")
    return folder
