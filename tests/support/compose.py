"""Compose without containers: its archive in a real Orthanc, and what its services are given."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from deploy.stack import local_process
from services.pacs.http import Http
from tests.conftest import ROOT
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


@contextmanager
def archive_at(home: Path) -> Iterator[Shipped]:
    """Run the archive as Compose does, with secrets made for it; its files lie in a folder."""
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


def variables_of(service: str) -> dict[str, str]:
    """Return what Compose gives a service, where nobody says otherwise."""
    said = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())["services"][service]
    return {
        name: re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", str(value))
        for name, value in said.get("environment", {}).items()
    }


def secrets_of(service: str, made: Path, folder: Path) -> Path:
    """Lay a service's secrets into a folder under the names that they have in its container; return it."""
    folder.mkdir(parents=True)
    said = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
    for one in said["services"][service]["secrets"]:
        source, target = (one, one) if isinstance(one, str) else (one["source"], one["target"])
        (folder / target).write_text((made / Path(said["secrets"][source]["file"]).name).read_text())
    return folder
