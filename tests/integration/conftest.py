"""A real embedded Triton, started once for all tests that ask for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.triton_server import TritonServer
from services.inference.triton import TritonSegmenter
from services.releases.store import ReleaseStore
from services.releases.triton_repository import TritonRepository
from tests.conftest import ROOT

ENVIRONMENT = ROOT / ".venv-triton"
MODEL = ROOT / "deploy" / "triton" / "organ_segmenter" / "model.py"
THREADS = 2


@dataclass(frozen=True)
class Serving:
    """A release store, the repository made from it, the server on it and a client."""

    store: ReleaseStore
    repository: TritonRepository
    server: TritonServer
    segmenter: TritonSegmenter


def serving_at(home: Path) -> Serving:
    """Put the parts together in a folder; nothing is started."""
    if not (ENVIRONMENT / "bin" / "python").exists():
        pytest.skip("the embedded Triton's environment .venv-triton is not there (make setup)")
    store = ReleaseStore(home / "releases")
    repository = TritonRepository(home / "repository", MODEL, THREADS)
    server = TritonServer(home / "server", repository.folder, ENVIRONMENT, ROOT)
    return Serving(store, repository, server, TritonSegmenter("127.0.0.1:1"))


@pytest.fixture(scope="session")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Serve an empty repository; tests write versions into it and load them."""
    parts = serving_at(tmp_path_factory.mktemp("triton"))
    with parts.server as process:
        segmenter = TritonSegmenter(process.url, deadline_seconds=60)
        yield Serving(parts.store, parts.repository, parts.server, segmenter)
        segmenter.close()
