"""What integration tests share: the local stack with the shipped release, and a site that was corrected."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.stack import up_and_down as stack
from deploy.stack.archive import ArchiveServer
from deploy.stack.local_process import NotInstalled
from deploy.stack.prefect import Access
from deploy.stack.worker import Worker
from flows.speech.speech import speak
from services.records.store import open_records
from services.settings import Settings
from tests.support.waiting import end_at_once

if TYPE_CHECKING:
    from flows.corrections.report import Ingested, NotTaken
    from flows.corrections.returned_seg import Memory
    from tests.support.imported import Imported
    from tests.support.learning import Site

ARRIVED_SECONDS = 3
"""How long a study must have been quiet in the stack's archive."""


@dataclass(frozen=True)
class Answer:
    """What a verb said: its exit code, its JSON document and its words on stderr."""

    exit_code: int
    document: Any
    stderr: str


@dataclass(frozen=True)
class Command:
    """The command `organloop` in one home.

    Parameters
    ----------
    home
        Of its state.
    deployments
        What was registered at Prefect when `up` had returned.
    """

    home: Path
    deployments: frozenset[str] = frozenset()

    def __call__(self, *words: object, **variables: str) -> Answer:
        environment = {"ORGANLOOP_HOME": str(self.home)} | variables
        result = CliRunner().invoke(app, [*map(str, words), "--json"], env=environment)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Answer(result.exit_code, json.loads(result.stdout), result.stderr)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Return a folder for a Prefect server, its database in it already."""
    from tests.support.prefect_database import laid

    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return lambda home: laid(home, shared)


@pytest.fixture(scope="session")
def organloop(
    tmp_path_factory: pytest.TempPathFactory, prefect_home: Callable[[Path], Path]
) -> Iterator[Command]:
    """Start the whole stack with the shipped starter release; stop it at the end."""
    home = tmp_path_factory.mktemp("home") / "organloop"
    settings = Settings(home=home)
    prefect_home(home / "prefect")
    with contextlib.suppress(NotInstalled):  # `up` finds it; a study counts as arrived sooner than at a site
        ports = (settings.archive_port, settings.archive_dicom_port)
        ArchiveServer(home / "archive", *ports, stable_seconds=ARRIVED_SECONDS).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_WORKER_QUERY_SECONDS", "1")  # no test waits for a poll
        stack.up(settings, lambda _: None)
    with closing(open_records(settings.records_url)) as records:
        speak("test", "results go to the archive, unless a test is about silence", records)
    yield Command(home, registered(stack.prefect(settings).start()))
    end_at_once(Worker(home).process)
    end_at_once(stack.triton_server(settings).process)
    end_at_once(stack.archive(settings).process)
    stack.down(settings, lambda _: None)


def registered(access: Access) -> frozenset[str]:
    """Return the names of the deployments that a Prefect server knows."""
    from prefect.client.orchestration import get_client

    with access.used(), get_client(sync_client=True) as client:
        flows = {flow.id: flow.name for flow in client.read_flows()}
        return frozenset(f"{flows[one.flow_id]}/{one.name}" for one in client.read_deployments())


@pytest.fixture(scope="session")
def phantom_study(tmp_path_factory: pytest.TempPathFactory, organloop: Command) -> Path:
    """Write one phantom of site A, which the starter has not seen: ``ct/`` and ``truth.npz``."""
    out = tmp_path_factory.mktemp("phantom")
    answer = organloop("phantom", "--out", out, "--site", "A", "--seed", "810000")
    return Path(answer.document[0]["ct"]).parent


@pytest.fixture(scope="session")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Imported:
    """Import a small public network of 32 classes, once for all tests; each works on a copy of its home."""
    from tests.support.imported import imported_at

    return imported_at(tmp_path_factory.mktemp("imported"))


@pytest.fixture(scope="session")
def corrected(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Open a site where a reader painted stomach and aorta in three studies; who changes it takes a copy."""
    from tests.support.learning import SEEDS, open_site

    site = open_site(tmp_path_factory.mktemp("corrected"))
    for seed in SEEDS:
        site.correct(seed, "stomach", "aorta")
    return site


@pytest.fixture(scope="session")
def tuned(corrected: Site, tmp_path_factory: pytest.TempPathFactory) -> tuple[Site, dict[str, Any]]:
    """Tune on a copy of that site; return it and what `tune` said."""
    from tests.support.learning import TUNING, tune_document

    site = corrected.copy(tmp_path_factory.mktemp("tuned"))
    return site, tune_document(site.services, settings=TUNING)


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    """Open records and a case store that hold nothing; a model grid of 5 mm."""
    from flows.corrections.returned_seg import Memory
    from services.cases.store import CaseStore
    from services.records.store import open_records
    from tests.support.paper_releases import paper_contract

    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield Memory(records, CaseStore(tmp_path / "cases"), paper_contract(("liver",), 5.0))
    records.close()


@pytest.fixture
def take_in(ohif: Path, memory: Memory) -> Callable[..., Ingested | NotTaken]:
    """Take in a SEG as the correction of what release 1 sent."""
    from flows.corrections.ingest import Said, ingest
    from tests.support.returned_segs import put_on_record

    put_on_record(memory.records, ohif / "sent.dcm", ohif / "ct")

    def run(seg: Path, *answers: str, **said: object) -> Ingested | NotTaken:
        return ingest(
            seg, ohif / "ct", ohif / "sent.dcm", memory, said=Said(answers, **{"reader": "Dr A"} | said)
        )

    return run
