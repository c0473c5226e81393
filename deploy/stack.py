"""The local stack on 127.0.0.1, without root or Docker: Triton with the releases, Prefect, a worker."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from deploy.prefect_server import PrefectServer
from deploy.triton_server import TritonServer
from deploy.worker import Worker
from models.errors import InvalidRelease
from models.release import sha256_hex
from services.inference.triton import TritonSegmenter
from services.records.port import ReleaseState
from services.records.store import open_records
from services.releases.files import replace
from services.releases.triton_repository import triton_config
from services.settings import Settings
from services.wiring import Services, connect_in_process, repository_root, triton_repository

STARTER = repository_root() / "models" / "starter"
TRITON_ENVIRONMENT = repository_root() / ".venv-triton"
SERVED_CODE = ("deploy/triton/organ_segmenter/model.py", "models/*.py", "services/inference/*.py")
"""What a Triton keeps in memory of the project, as patterns under its root."""


@dataclass(frozen=True)
class Part:
    """One part of the stack as found.

    Parameters
    ----------
    name
        What it is.
    running
        Whether it answers.
    address
        Where, while it runs.
    detail
        What it serves, or what to do.
    """

    name: str
    running: bool
    address: str
    detail: str


def triton_server(settings: Settings) -> TritonServer:
    """Return the embedded Triton of this home, running or not."""
    return TritonServer(
        settings.home / "triton",
        settings.triton_repository,
        TRITON_ENVIRONMENT,
        repository_root(),
        grpc_port=settings.triton_grpc_port,
        http_port=settings.triton_http_port,
    )


def up(settings: Settings, progress: Callable[[str], None]) -> tuple[Part, ...]:
    """Start what is not running yet and say what runs where; a second call changes nothing.

    A Triton that still runs an older program, e.g. after an update, is started again.

    Raises
    ------
    StartFailed, ServingFailed
        If a server does not come up; the message ends with its log.
    InvalidRelease
        If the incumbent is damaged, cannot be loaded, or its export does not agree with torch.
    StorageFailed
        If the home is not writable.
    """
    serve_incumbent(settings, progress)
    if prefect(settings).api_url is None:
        progress("starting the Prefect server")
    Worker(settings.home).start(prefect(settings).start())
    return status(settings)


def down(settings: Settings, progress: Callable[[str], None]) -> None:
    """Stop everything `up` started; releases, records and logs stay."""
    progress("stopping the worker and the Prefect server")
    Worker(settings.home).stop()
    prefect(settings).stop()
    progress("stopping Triton")
    triton_server(settings).stop()
    settings.stack_file.unlink(missing_ok=True)


def status(settings: Settings) -> tuple[Part, ...]:
    """Say what runs where."""
    api = prefect(settings).api_url
    process = triton_server(settings).status()
    worker = Worker(settings.home).process
    return (
        _triton_part(settings, process.url if process else None),
        Part(
            "prefect", api is not None, api or "", "dashboard: the same address without /api" if api else ""
        ),
        Part(
            "worker",
            worker is not None,
            "",
            "runs the flows; tunes every night at 02:00 UTC" if worker else "",
        ),
    )


def _triton_part(settings: Settings, url: str | None) -> Part:
    if url is None:
        return Part("triton", False, "", "not running: `organloop up` starts it")
    client = TritonSegmenter(url)
    try:
        served = [n for n in triton_repository(settings).versions() if client.ready(n)]
    finally:
        client.close()
    incumbent = open_records(settings.records_url).incumbent()
    return Part(
        "triton",
        incumbent in served,
        url,
        f"incumbent: release {incumbent}; serving releases {', '.join(map(str, served)) or 'none'}",
    )


def prefect(settings: Settings) -> PrefectServer:
    """Return the Prefect server of this home, running or not."""
    return PrefectServer(settings.home / "prefect", settings.prefect_port)


def serve_incumbent(settings: Settings, progress: Callable[[str], None]) -> None:
    """Make sure that a Triton of this program serves the incumbent, at first the starter.

    Raises
    ------
    StartFailed, ServingFailed, InvalidRelease, StorageFailed
        As `up`.
    """
    from flows.serving import current, load, write  # Prefect is loaded only when it is needed

    in_process = connect_in_process(settings)
    if in_process.records.incumbent() is None:
        _take_in_starter(in_process, progress)
    write(current(in_process), in_process, progress)
    _renew_others(in_process, progress)
    server, program = triton_server(settings), served_program(settings)
    if server.status() is not None and _noted_program(settings) != program:
        progress("stopping Triton: it runs an older program")
        server.stop()
    if server.status() is None:
        progress("starting Triton")
    url = server.start().url
    replace(settings.stack_file, json.dumps({"triton_url": url, "served_program": program}).encode())
    with closing(TritonSegmenter(url, settings.serving_deadline_seconds)) as client:
        load(current(in_process), dataclasses.replace(in_process, endpoints=(client,)), progress)


def served_program(settings: Settings) -> str:
    """Return the digest of the program Triton runs: its model, the code this imports, its configuration."""
    root = repository_root()
    files = sorted(path for pattern in SERVED_CODE for path in root.glob(pattern))
    digests = [f"{path.relative_to(root)} {sha256_hex(path.read_bytes())}" for path in files]
    return sha256_hex("\n".join([*digests, triton_config(settings.threads)]).encode())


def _noted_program(settings: Settings) -> str | None:
    """Return what the running Triton was started with; None where nobody has noted it."""
    try:
        program: str | None = json.loads(settings.stack_file.read_bytes()).get("served_program")
    except FileNotFoundError:
        return None
    return program


def _take_in_starter(services: Services, progress: Callable[[str], None]) -> None:
    progress("taking in the demonstration release (trained on phantoms, not for clinical use)")
    number = services.releases.import_from(STARTER)[0]
    release = services.releases.release(number)
    services.records.record_release(number, release.digest, ReleaseState.PROMOTED)
    services.records.set_incumbent(number, approver="organloop up", reason="the first release of this home")


def _renew_others(services: Services, progress: Callable[[str], None]) -> None:
    """Bring the program in the other version folders up to date; a damaged one is in nobody's way."""
    incumbent = services.records.incumbent()
    for number in services.repository.versions():
        if number != incumbent:
            try:
                services.repository.write_version(services.releases.release(number), services.releases)
            except InvalidRelease as error:
                progress(f"release {number} is left as it is: {error}")
