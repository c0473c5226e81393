"""Compose without containers: its archive in a real Orthanc, and what its services are given."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.stack import local_process
from deploy.stack.orthanc.container import CERTIFICATES, configured
from services.pacs.http import Http
from tests.conftest import ROOT
from tests.support.orthanc import orthanc_at, refuses_when_full
from tests.support.waiting import GUARD_SECONDS, until

COMPOSE = ROOT / "deploy" / "compose"


@dataclass(frozen=True)
class Shipped:
    """The running archive, and the folder of its secrets."""

    http: int
    dimse: int
    secrets: Path

    def by(self, user: str, password: str, path: str = "") -> Http:
        """Return a connection, by the name under which the container checks itself."""
        return Http(f"http://127.0.0.1:{self.http}{path}", user, (self.secrets / password).read_text())

    def dcmtk(self, program: str, title: str, *words: str) -> str:
        peer = ["-to", "5", "-aet", title, "-aec", "ORGANLOOP"]
        files = [word for word in words if word.endswith(".dcm")]
        options = [word for word in words if word not in files]
        command = [program, *peer, *options, "127.0.0.1", str(self.dimse), *files]
        done = subprocess.run(command, capture_output=True, text=True, timeout=GUARD_SECONDS)
        return done.stdout + done.stderr


@contextmanager
def archive_at(
    home: Path, modalities: str | None = None, tls: Path | None = None, **said: str
) -> Iterator[Shipped]:
    """Run the archive as Compose does, with secrets made for it; its files lie in a folder.

    What `said` names is said to Compose; `modalities` is the site's file, `tls` its folder of certificates.
    """
    subprocess.run([str(COMPOSE / "make-secrets"), str(home / "secrets")], check=True, capture_output=True)
    made = Shipped(local_process.free_port(0), local_process.free_port(0), home / "secrets")
    configuration = home / "orthanc"
    for folder in (configuration, home / "studies", home / "tls"):
        folder.mkdir()
    for name in CERTIFICATES:
        (home / "tls" / name).write_bytes((tls / name).read_bytes() if tls else b"")
    known = home / "modalities.toml"
    known.write_text((COMPOSE / "site" / "modalities.toml").read_text() if modalities is None else modalities)
    places = {
        "GATEWAY_MODALITIES": str(known),
        "GATEWAY_USERS": str(home / "secrets" / "archive_users.json"),
        "GATEWAY_TLS": str(home / "tls"),
    }
    document = configured(variables_of("archive", **said) | places)
    here = {
        "StorageDirectory": str(home / "studies"),
        "IndexDirectory": str(home / "studies"),
        "TemporaryDirectory": str(home),
        "HttpPort": made.http,
        "DicomPort": made.dimse,
    }
    assert here.keys() <= document.keys()
    if not refuses_when_full():
        here["MaximumStorageSize"] = 0
    (configuration / "orthanc.json").write_text(json.dumps(document | here))
    with orthanc_at(configuration, {}) as log:
        until(lambda: "Orthanc has started" in log.read_text(), lambda: log.read_text()[-2000:])
        yield made


def interpolated(document: Any, **said: str) -> Any:
    """Return a document of Compose with its variables replaced: in its texts, as Docker does.

    Source: the Compose Specification, "Interpolation".
    """
    if isinstance(document, dict):
        return {name: interpolated(value, **said) for name, value in document.items()}
    if isinstance(document, list):
        return [interpolated(value, **said) for value in document]
    if not isinstance(document, str):
        return document

    def value(found: re.Match[str]) -> str:
        name, empty_is_unset, default = found.groups()
        return default if name not in said or (empty_is_unset and not said[name]) else said[name]

    return re.sub(r"\$\{(\w+)(:?)-([^}]*)\}", value, document)


def variables_of(service: str, **said: str) -> dict[str, str]:
    """Return what Compose gives a service, where a site says these."""
    document = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    environment = interpolated(document["services"][service].get("environment", {}), **said)
    return {name: str(value) for name, value in environment.items()}


def secrets_of(service: str, made: Path, folder: Path) -> Path:
    """Lay a service's secrets into a folder under the names that they have in its container; return it."""
    folder.mkdir(parents=True)
    said = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    for one in said["services"][service]["secrets"]:
        source, target = (one, one) if isinstance(one, str) else (one["source"], one["target"])
        (folder / Path(target).name).write_text(
            (made / Path(said["secrets"][source]["file"]).name).read_text()
        )
    return folder
