"""The one place that turns settings into the things flows work with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from models.errors import ServingUnavailable
from services.cases.store import CaseStore
from services.inference.engine import InProcessSegmenter
from services.inference.port import Endpoint, Segmenter
from services.inference.triton import TritonSegmenter
from services.records.port import Records
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.releases.triton_repository import TritonRepository
from services.settings import Settings


@dataclass(frozen=True)
class Services:
    """What the flows work with.

    Parameters
    ----------
    settings
        What it was made from.
    releases
        Trunks, heads and releases.
    records
        What happened, and which release is the incumbent.
    segmenter
        Answers a volume for a release.
    cases
        Volumes and truth for tuning, calibration and the gate.
    repository
        What the endpoints load from.
    endpoints
        Every server a release must be loaded on before it may be the incumbent.
    """

    settings: Settings
    releases: ReleaseStore
    records: Records
    segmenter: Segmenter
    cases: CaseStore
    repository: TritonRepository
    endpoints: tuple[Endpoint, ...]


def connect(settings: Settings) -> Services:
    """Return the services of one process; nothing is asked of a server yet.

    Raises
    ------
    ServingUnavailable
        If no address of a Triton is known.
    """
    triton = TritonSegmenter(triton_url(settings), settings.serving_deadline_seconds)
    return Services(
        settings=settings,
        releases=ReleaseStore(settings.release_store),
        records=open_records(settings.records_url),
        segmenter=triton,
        cases=CaseStore(settings.case_store),
        repository=triton_repository(settings),
        endpoints=(triton,),
    )


def connect_in_process(settings: Settings) -> Services:
    """Return services that ask no server: a release answers in this process, in the same profile."""
    repository = triton_repository(settings)
    return Services(
        settings=settings,
        releases=ReleaseStore(settings.release_store),
        records=open_records(settings.records_url),
        segmenter=InProcessSegmenter(repository.versions_folder, settings.threads),
        cases=CaseStore(settings.case_store),
        repository=repository,
        endpoints=(),
    )


def triton_repository(settings: Settings) -> TritonRepository:
    """Return the repository from which Triton loads."""
    return TritonRepository(settings.triton_repository, SEGMENTER_MODEL, settings.threads)


def triton_url(settings: Settings) -> str:
    """Return Triton's gRPC address: the setting, else that of the local stack.

    Raises
    ------
    ServingUnavailable
        If there is neither; the message says what to do.
    """
    if settings.triton_url:
        return settings.triton_url
    try:
        return str(json.loads(settings.stack_file.read_bytes())["triton_url"])
    except FileNotFoundError:
        raise ServingUnavailable(
            "no Triton is known: start the local stack with `organloop up`, or set ORGANLOOP_TRITON_URL"
        ) from None


def repository_root() -> Path:
    """Return the folder that holds the packages `models`, `services`, `flows` and `deploy`."""
    return Path(__file__).resolve().parent.parent


SEGMENTER_MODEL = repository_root() / "deploy" / "triton" / "organ_segmenter" / "model.py"
"""The Python model that Triton runs for every release."""
