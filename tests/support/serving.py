"""The parts of serving put together in a folder, round a real embedded Triton."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.stack.triton import TritonProcess, TritonServer
from services.inference.engine import InProcessSegmenter
from services.records.events.serving import VersionWritten
from services.releases.store import ReleaseStore
from services.triton.client import TritonSegmenter
from services.triton.repository import TritonRepository
from services.wiring import Services
from tests.conftest import ROOT
from tests.support.tiny_networks import publish_tiny
from tests.support.waiting import GUARD_SECONDS, end_at_once

ENVIRONMENT = ROOT / ".venv-triton"
MODEL = ROOT / "deploy" / "triton" / "organ_segmenter" / "model.py"
THREADS = 2


@dataclass(frozen=True)
class Serving:
    """A release store, the repository made from it, the server on it and both segmenters."""

    store: ReleaseStore
    repository: TritonRepository
    server: TritonServer
    triton: TritonSegmenter
    in_process: InProcessSegmenter

    def add(self, number: int, **seeds: int) -> Path:
        """Publish a tiny release whose heads differ by their seeds; return its version folder."""
        return self.repository.write_version(publish_tiny(self.store, number, seeds), self.store)


def server_at(home: Path) -> TritonServer:
    """Return a server whose state and repository lie in a folder; it is not started."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        pytest.skip("the embedded Triton's environment .venv-triton is not there (make setup)")
    return TritonServer(home / "server", home / "repository", ENVIRONMENT, ROOT)


@contextmanager
def thrown_away(server: TritonServer) -> Iterator[TritonProcess]:
    """Run a server that is killed at the end: asked, it takes up to five seconds."""
    try:
        yield server.start()
    finally:
        end_at_once(server.process)
        server.stop()


def put_on_record(services: Services) -> None:
    """Have a home's records know the versions in the repository that it was given, as they are."""
    for number in services.repository.versions():
        written = VersionWritten(release=number, files=services.repository.digests(number))
        services.records.record(written, who="test")


@contextmanager
def serving_at(home: Path) -> Iterator[Serving]:
    """Serve releases 1 and 2, which differ in the spleen's head only."""
    store = ReleaseStore(home / "releases")
    repository = TritonRepository(home / "repository", MODEL, THREADS)
    server = server_at(home)
    for number, spleen in ((1, 2), (2, 3)):
        release = publish_tiny(store, number, {"liver": 1, "spleen": spleen})
        repository.write_version(release, store)
    with thrown_away(server) as process:
        client = TritonSegmenter(process.url, deadline_seconds=GUARD_SECONDS, pause_seconds=0.1)
        try:
            in_process = InProcessSegmenter(repository.versions_folder, THREADS)
            yield Serving(store, repository, server, client, in_process)
        finally:
            client.close()
