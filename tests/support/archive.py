"""A real Orthanc for the tests, and what they ask of it apart from our own client."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from deploy.stack.archive import ArchiveProcess, ArchiveServer, installed
from deploy.stack.local_process import NotInstalled
from deploy.stack.local_server import basic
from deploy.stack.orthanc.modalities import Modality
from services.pacs.accounts import Account
from services.pacs.http import Http
from services.pacs.orthanc import OrthancArchive
from tests.support.waiting import GUARD_SECONDS, end_at_once

STABLE_SECONDS = 1
SENDERS = {title.lower(): Modality(title) for title in ("STORESCU", "ECHOSCU")}
"""DCMTK's tools, by the titles they give themselves."""


@dataclass(frozen=True)
class Archive:
    """A running archive."""

    server: ArchiveServer
    process: ArchiveProcess

    @property
    def url(self) -> str:
        return self.process.url

    @property
    def dicomweb_url(self) -> str:
        return self.process.dicomweb_url

    @property
    def dicom_port(self) -> int:
        return self.process.dicom_port

    @property
    def aet(self) -> str:
        return self.server.aet

    @property
    def worker(self) -> Account:
        return self.server.accounts.worker

    @property
    def reader(self) -> Account:
        return self.server.accounts.reader

    @property
    def named(self) -> dict[str, Any]:
        """The settings that name this archive and open it."""
        account = self.worker
        password = SecretStr(account.password)
        return {"orthanc_url": self.url, "archive_user": account.user, "archive_password": password}

    @property
    def variables(self) -> dict[str, str]:
        """The same as variables of the environment."""
        said = self.named | {"archive_password": self.worker.password}
        return {f"ORGANLOOP_{name.upper()}": value for name, value in said.items()}

    def http(self, path: str = "", account: Account | None = None, **options: Any) -> Http:
        """Return a connection of ours, e.g. ``http("/dicom-web")``; None is the worker's account."""
        one = account or self.worker
        return Http(self.url + path, one.user, one.password, **options)

    def client(self, **options: Any) -> OrthancArchive:
        """Return it as our processes see it."""
        return OrthancArchive(self.http(**options), self.http("/dicom-web", **options))

    def ask(self, path: str, content: bytes | None = None, method: str | None = None) -> Any:
        """Return Orthanc's JSON answer, e.g. ``ask("/statistics")``; a body makes it a POST."""
        with self._open(path, content, method) as answer:
            return json.loads(answer.read() or b"null")

    def bytes_of(self, sop_instance_uid: str) -> bytes:
        """Return the file of one object."""
        [found] = self.ask("/tools/lookup", sop_instance_uid.encode())
        with self._open(f"{found['Path']}/file") as answer:
            return bytes(answer.read())

    def put(self, *files: Path | bytes) -> None:
        """Store files over REST, folders at any depth."""
        for item in files:
            paths = sorted(p for p in item.rglob("*") if p.is_file()) if _is_folder(item) else [item]
            for one in paths:
                self.ask("/instances", one if isinstance(one, bytes) else one.read_bytes())

    def instances(self, level: str = "Instance", **query: str) -> list[dict[str, Any]]:
        """Return the main tags of what matches, e.g. ``instances("Series", Modality="SEG")``."""
        asked = {"Level": level, "Query": query, "Expand": True}
        return [one["MainDicomTags"] for one in self.ask("/tools/find", json.dumps(asked).encode())]

    def empty(self) -> None:
        for patient in self.ask("/patients"):
            self.ask(f"/patients/{patient}", method="DELETE")

    def _open(self, path: str, content: bytes | None = None, method: str | None = None) -> Any:
        request = urllib.request.Request(self.url + path, content, basic(self.worker), method=method)
        return urllib.request.urlopen(request, timeout=GUARD_SECONDS)


@contextmanager
def archive_at(home: Path, **options: Any) -> Iterator[Archive]:
    """Run an archive in a folder; options as `ArchiveServer`. Skip where Orthanc is not installed."""
    try:
        installed()
    except NotInstalled as error:
        pytest.skip(str(error))
    known = {"stable_seconds": STABLE_SECONDS, "modalities": SENDERS}
    server = ArchiveServer(home, **known | options)
    try:
        yield Archive(server, server.start())
    finally:
        end_at_once(server.process)
        server.stop()


def _is_folder(item: Path | bytes) -> bool:
    return isinstance(item, Path) and item.is_dir()
