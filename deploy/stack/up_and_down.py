"""The local stack on 127.0.0.1, without root or Docker: archive, pages, viewer, Triton, Prefect and a worker.

Archive and viewer are Debian's and npm's: where one is not installed the rest runs without it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from deploy.doors.configuration import SignIn
from deploy.preparation import prepare
from deploy.stack import archive as archive_server
from deploy.stack import nginx
from deploy.stack import viewer as viewer_server
from deploy.stack.credentials import close_to_others
from deploy.stack.local_process import StartFailed
from deploy.stack.prefect import Access
from deploy.stack.servers import (
    archive,
    dashboard,
    missing,
    pages,
    prefect,
    remote_archive,
    triton_server,
    viewer,
)
from deploy.stack.status import Part, status
from deploy.stack.worker import Worker
from models.release import sha256_hex
from services.files import replace
from services.people.local_account import LocalAccount
from services.settings import Settings
from services.triton.config import triton_config
from services.wiring import (
    connect_in_process,
    readers_archive,
    repository_root,
    triton_at,
)

SERVED_CODE = (
    "deploy/triton/organ_segmenter/model.py",
    "models/*.py",
    "models/inference/*.py",
    "models/nnunet/*.py",
    "services/inference/*.py",
)
"""What a Triton keeps in memory of the project, as patterns under its root."""


def up(settings: Settings, progress: Callable[[str], None]) -> tuple[Part, ...]:
    """Start what is not running yet and say what runs where; a second call changes nothing.

    Once it returns, every flow may be started. A Triton that still runs an older program, e.g. after an
    update, is started again.

    Raises
    ------
    StartFailed, ServingFailed
        If a server does not come up; the message ends with its log.
    InvalidRelease
        If the incumbent is damaged, cannot be loaded, or its export does not agree with torch.
    StorageFailed
        If the home is not writable.
    """
    close_to_others(settings.home)
    open_archive(settings, progress)
    open_pages(settings, progress)
    open_viewer(settings, progress)
    if prefect(settings).access is None:
        progress("starting the Prefect server")
    with ThreadPoolExecutor(1) as beside:  # it wants nothing of the releases, and may take as long as they do
        started = beside.submit(prefect(settings).start)
        serve_incumbent(settings, progress)
        access = started.result()
    _note(settings, prefect_url=access.url)
    worker = Worker(settings.home)
    worker.start(access)
    worker.await_online(access, progress)
    open_dashboard(settings, access, progress)
    return status(settings)


def down(settings: Settings, progress: Callable[[str], None]) -> None:
    """Stop everything `up` started; releases, records and logs stay."""
    progress("stopping the worker and the Prefect server")
    Worker(settings.home).stop()
    prefect(settings).stop()
    progress("stopping Triton")
    triton_server(settings).stop()
    progress("stopping the pages, the dashboard's door, the viewer and the archive")
    dashboard(settings).stop()
    viewer(settings).stop()
    pages(settings).stop()
    archive(settings).stop()
    settings.stack_file.unlink(missing_ok=True)


def open_archive(settings: Settings, progress: Callable[[str], None]) -> None:
    """Start the archive where it is installed and the settings name no other.

    Raises
    ------
    StartFailed, StorageFailed
        As `up`.
    """
    if remote_archive(settings) is not None:
        archive(settings).stop()
        return
    lacking = missing(archive_server.installed)
    if lacking:
        progress(f"going on without it: {lacking}")
        return
    if archive(settings).url is None:
        progress("starting the archive")
    running = archive(settings).start()
    _note(settings, orthanc_url=running.url, dicomweb_url=running.dicomweb_url)


def open_viewer(settings: Settings, progress: Callable[[str], None]) -> None:
    """Start the viewer where it is installed, on the archive of the settings; the pages run.

    Raises
    ------
    StartFailed, StorageFailed
        As `up`.
    """
    lacking = missing(viewer_server.installed)
    if lacking:
        progress(f"going on without it: {lacking}")
    there = remote_archive(settings) is not None or archive(settings).url is not None
    shown = readers_archive(settings) if there else None
    if lacking or shown is None:
        return
    if viewer(settings).url is None:
        progress("starting the viewer")
    running = viewer(settings).start(
        shown.dicomweb_url, sign_in(settings), shown.account, archive_asks=shown.asks
    )
    _note(settings, viewer_url=running.url)


def open_dashboard(settings: Settings, access: Access, progress: Callable[[str], None]) -> None:
    """Open the door to Prefect's dashboard where nginx is installed; the pages run.

    Raises
    ------
    StartFailed, StorageFailed
        As `up`.
    """
    lacking = missing(nginx.program)
    if lacking:
        progress(f"going on without the dashboard's door: {lacking}")
        return
    if dashboard(settings).url is None:
        progress("opening the dashboard's door")
    running = dashboard(settings).start(access, sign_in(settings))
    _note(settings, dashboard_url=running.url)


def sign_in(settings: Settings) -> SignIn:
    """Return where the pages of this home are asked, and opened.

    Raises
    ------
    StartFailed
        If they do not answer.
    """
    url = pages(settings).url
    if url is None:
        raise StartFailed("the pages do not answer, and nobody else lets people in: organloop up")
    return SignIn(url, (settings.pages_address or url).rstrip("/"))


def open_pages(settings: Settings, progress: Callable[[str], None]) -> None:
    """Start the pages, and make their local account where nobody else signs people in.

    Raises
    ------
    StartFailed, StorageFailed
        As `up`.
    """
    if settings.oidc_issuer is None and settings.trusted_proxies is None:
        first = LocalAccount(settings.people_folder / "account.json").make()
        if first is not None:
            progress(f"first password of the pages, shown once: {first}")
    if pages(settings).url is None:
        progress("starting the pages")
    pages(settings).start(settings.home)


def serve_incumbent(settings: Settings, progress: Callable[[str], None]) -> None:
    """Make sure that a Triton of this program serves the incumbent, at first the starter.

    Raises
    ------
    StartFailed, ServingFailed, InvalidRelease, StorageFailed
        As `up`.
    """
    from flows.serving.serve import current, load

    prepare(settings, progress, starter=True)
    in_process = connect_in_process(settings)
    server, program = triton_server(settings), served_program(settings)
    if server.process is not None and _noted_program(settings) != program:
        progress("stopping Triton: it runs an older program")
        server.stop()
    if server.process is None:
        progress("starting Triton")
    process = server.start()
    url = process.url
    _note(settings, triton_url=url, triton_pid=process.pid, served_program=program)
    with closing(triton_at(url, settings, loads=True)) as client:
        load(
            current(in_process.releases, in_process.records),
            dataclasses.replace(in_process, endpoints=(client,)),
            progress,
        )


def served_program(settings: Settings) -> str:
    """Return the digest of the program Triton runs: its model, the code this imports, its configuration."""
    root = repository_root()
    files = sorted(path for pattern in SERVED_CODE for path in root.glob(pattern))
    digests = [f"{path.relative_to(root)} {sha256_hex(path.read_bytes())}" for path in files]
    return sha256_hex("\n".join([*digests, triton_config(settings.threads)]).encode())


def _noted_program(settings: Settings) -> str | None:
    """Return what the running Triton was started with; None where nobody has noted it."""
    program = _noted(settings).get("served_program")
    return None if program is None else str(program)


def _noted(settings: Settings) -> dict[str, str | int]:
    try:
        addresses: dict[str, str | int] = json.loads(settings.stack_file.read_bytes())
    except FileNotFoundError:
        return {}
    return addresses


def _note(settings: Settings, **entries: str | int) -> None:
    """Note addresses where every process of this home finds them."""
    replace(settings.stack_file, json.dumps(_noted(settings) | entries).encode())
