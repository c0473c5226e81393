"""The local stack on 127.0.0.1, without root or Docker: Triton with the releases, Prefect, a worker."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass

from deploy.prefect_server import PrefectServer
from deploy.triton_server import TritonServer
from deploy.worker import Worker
from models.errors import ServingUnavailable
from services.inference.triton import TritonSegmenter
from services.records.port import ReleaseState
from services.records.store import open_records
from services.releases.files import replace
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import repository_root, triton_repository

STARTER = repository_root() / "models" / "starter"
TRITON_ENVIRONMENT = repository_root() / ".venv-triton"


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

    Raises
    ------
    StartFailed, ServingFailed
        If a server does not come up; the message ends with its log.
    InvalidRelease
        If a release is damaged, or its export does not agree with torch.
    StorageFailed
        If the home is not writable.
    """
    incumbent = prepare_incumbent(settings, progress)
    server = triton_server(settings)
    if server.status() is None:
        progress("starting Triton")
    process = server.start()
    replace(settings.stack_file, json.dumps({"triton_url": process.url}).encode())
    await_release(settings, process.url, incumbent)
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


def await_release(settings: Settings, url: str, release: int) -> None:
    """Wait until Triton serves a release.

    Raises
    ------
    ServingUnavailable
        If it is not served within the serving deadline.
    """
    end = time.monotonic() + settings.serving_deadline_seconds
    client = TritonSegmenter(url)
    try:
        while not client.ready(release):
            if time.monotonic() > end:
                log = triton_server(settings).log_tail()
                raise ServingUnavailable(f"Triton does not serve release {release}; its log ends:\n{log}")
            time.sleep(0.1)
    finally:
        client.close()


def prefect(settings: Settings) -> PrefectServer:
    """Return the Prefect server of this home, running or not."""
    return PrefectServer(settings.home / "prefect", settings.prefect_port)


def prepare_incumbent(settings: Settings, progress: Callable[[str], None]) -> int:
    """Make sure that Triton's repository holds the incumbent, at first the starter; return its number."""
    store = ReleaseStore(settings.release_store)
    records = open_records(settings.records_url)
    number = records.incumbent()
    if number is None:
        progress("taking in the demonstration release (trained on phantoms, not for clinical use)")
        number = store.import_from(STARTER)[0]
        records.record_release(number, store.release(number).digest, ReleaseState.PROMOTED)
        records.set_incumbent(number, approver="organloop up", reason="the first release of this home")
    release = store.release(number)
    if not all(store.has_export(digest) for digest in (release.trunk, *release.heads.values())):
        progress(f"exporting release {number} to ONNX and proving it against torch")
        from services.releases.exporter import export_release  # torch is loaded only when it is needed

        export_release(release, store, threads=settings.threads)
    triton_repository(settings).write_version(release, store)
    return number
