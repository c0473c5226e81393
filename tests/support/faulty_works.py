"""What workers of the proof of faults do, each in a process of its own, and what is left of it in a home."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from flows.audit.files import Evidence
from flows.audit.verify import verify
from flows.corrections.ingest import ingest, memory_of
from flows.corrections.report import Ingested
from flows.promotion.promote import promote
from flows.segmentation.segment import segment
from flows.tuning.tune import tune
from models.errors import OrganloopError
from models.uids import SopUid
from services.cases.store import CaseStore
from services.records.store import open_records
from services.records.tables import Table
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import Services, connect, connect_in_process, triton_repository
from tests.support.learning import ORGANS, THREADS, TUNING
from tests.support.promotion import InProcessEndpoint, small_canary

DIGEST = re.compile("[0-9a-f]{16,}")
"""Some are of a key that each home makes itself."""


def segments(home: Path, said: dict[str, Any], study_uid: str) -> None:
    """Segment a study of the archive that the settings name."""
    segment(study_uid, None, opened(home, said), organs=ORGANS)


def ingests(home: Path, said: dict[str, Any], seg_uid: str) -> None:
    """Take in a SEG of the archive that the settings name."""
    ingest(seg_uid, memory=memory_of(Settings(home=home, threads=THREADS, **said)))


def ingests_in_run(home: Path, said: dict[str, Any], seg_uid: str, prefect: dict[str, str]) -> None:
    """Take in a SEG as a worker does: in a run of the flow, of which a Prefect server is told."""
    plain = {key: one.get_secret_value() if isinstance(one, SecretStr) else one for key, one in said.items()}
    named = {f"ORGANLOOP_{key.upper()}": str(value) for key, value in plain.items()}
    os.environ |= named | prefect | {"ORGANLOOP_HOME": str(home), "ORGANLOOP_THREADS": str(THREADS)}
    from flows.corrections.flow import ingest_correction  # Prefect reads its settings as it is imported

    try:
        document = ingest_correction(SopUid(seg_uid))
    except OrganloopError:
        raise
    except Exception as error:  # Prefect raises its own for a server that is away
        raise RunLost(f"{type(error).__name__}: {error}") from error
    assert isinstance(document, Ingested), document


class RunLost(OrganloopError):
    """A run that Prefect could not be told of."""


def tunes(home: Path, said: dict[str, Any]) -> None:
    """Tune on all that was corrected."""
    tune(opened(home, said), settings=TUNING)


def promotes(home: Path, said: dict[str, Any]) -> None:
    """Promote release 2 by a server that has loaded what the repository holds."""
    settings = Settings(home=home, **said)
    repository = triton_repository(settings)
    endpoint = InProcessEndpoint(repository.versions_folder)
    endpoint.load()
    services = Services(
        settings=settings,
        releases=ReleaseStore(settings.release_store),
        records=open_records(settings.records_url),
        segmenter=endpoint,
        cases=CaseStore(settings.case_store),
        repository=repository,
        endpoints=(endpoint,),
    )
    promote(2, services, "Dr B", "better spleens", canary=small_canary)


def opened(home: Path, said: dict[str, Any]) -> Services:
    """Return the services of a home and other settings; a Triton answers only where they name one."""
    settings = Settings(home=home, threads=THREADS, **said)
    return connect(settings) if settings.triton_url else connect_in_process(settings)


@dataclass(frozen=True)
class Left:
    """What a home holds: it is the same after any faults.

    Parameters
    ----------
    files
        Their paths without digests, but those of the database.
    temporary
        What is hidden, as files are until they are whole.
    rows
        How many of each table, leases aside; of the log how many of each kind.
    faults
        What `audit verify` finds.
    """

    files: dict[str, int]
    temporary: frozenset[str]
    rows: dict[str, int]
    faults: tuple[str, ...]


def left_in(home: Path, **said: Any) -> Left:
    """Look through a home."""
    services = opened(home, said)
    records, scores = services.records, services.settings.score_store
    evidence = Evidence(records, services.releases, services.cases, services.repository, scores)
    faults = tuple(f"{one.code} {one.what}: {one.detail}" for one in verify(evidence).faults)
    tables = [one for one in Table.metadata.sorted_tables if one.name not in ("leases", "events")]
    with records._engine.connect() as connection:
        rows = {one.name: len(connection.execute(one.select()).all()) for one in tables}
    rows |= Counter(line.what for line in records.lines())
    records.close()
    paths = {str((Path(top) / name).relative_to(home)) for top, _, names in os.walk(home) for name in names}
    hidden = frozenset(one for one in paths if "/." in f"/{one}")
    whole = (one for one in paths - hidden if not one.startswith("records.sqlite"))
    return Left(dict(Counter(DIGEST.sub("#", one) for one in whole)), hidden, rows, faults)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *json.loads(sys.argv[3]))
