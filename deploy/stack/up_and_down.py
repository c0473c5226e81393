"""The local stack on 127.0.0.1, without root or Docker: archive, pages, viewer, Triton, Prefect and a worker.

Archive and viewer are Debian's and npm's: where one is not installed the rest runs without it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from deploy.preparation import prepare
from deploy.stack import archive as archive_server
from deploy.stack import nginx
from deploy.stack import viewer as viewer_server
from deploy.stack.archive import ArchiveServer
from deploy.stack.credentials import close_to_others
from deploy.stack.dashboard import DashboardServer
from deploy.stack.local_process import NotInstalled, StartFailed
from deploy.stack.loopback import is_open_to_others
from deploy.stack.nginx import SignIn
from deploy.stack.pages import PagesServer
from deploy.stack.prefect import USER, Access, PrefectServer
from deploy.stack.triton import TritonServer
from deploy.stack.viewer import ViewerServer
from deploy.stack.worker import Worker
from models.release import sha256_hex
from services.files import replace
from services.people.local_account import LocalAccount
from services.records.events.operations import RunFreed
from services.records.store import open_records
from services.settings import Settings
from services.triton.config import triton_config
from services.wiring import (
    connect_in_process,
    readers_archive,
    repository_root,
    triton_at,
    triton_repository,
)

TRITON_ENVIRONMENT = repository_root() / ".venv-triton"
SERVED_CODE = (
    "deploy/triton/organ_segmenter/model.py",
    "models/*.py",
    "models/inference/*.py",
    "models/nnunet/*.py",
    "services/inference/*.py",
)
"""What a Triton keeps in memory of the project, as patterns under its root."""
NOT_RUNNING = "not running: `organloop up` starts it"
WATCH_LATE = timedelta(minutes=2)
"""A watch is on record every 10 s; a worker that has not watched for so long is stuck."""


class State(StrEnum):
    """How a part of the stack is.

    ``missing``: not installed here, which is no failure. ``elsewhere``: named by a setting, not ours to run.
    """

    UP = "up"
    DOWN = "down"
    MISSING = "missing"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Part:
    """One part of the stack as found.

    Parameters
    ----------
    name
        What it is.
    state
        How it is; ``up`` if it answers.
    address
        Where, unless it is down or missing.
    detail
        What it serves, or what to do.
    """

    name: str
    state: State
    address: str
    detail: str


def triton_server(settings: Settings) -> TritonServer:
    """Return the embedded Triton of this home, running or not."""
    return TritonServer(
        settings.home / "triton",
        settings.triton_repository,
        TRITON_ENVIRONMENT,
        repository_root(),
    )


def archive(settings: Settings) -> ArchiveServer:
    """Return the archive of this home, running or not."""
    return ArchiveServer(settings.archive_home, settings.archive_port, settings.archive_dicom_port)


def viewer(settings: Settings) -> ViewerServer:
    """Return the viewer of this home, running or not."""
    return ViewerServer(
        settings.home / "viewer",
        settings.viewer_port,
        address=settings.viewer_address,
        ca_file=settings.archive_ca_file,
    )


def dashboard(settings: Settings) -> DashboardServer:
    """Return the door to the dashboard of this home, open or not."""
    return DashboardServer(
        settings.home / "dashboard", settings.dashboard_port, address=settings.dashboard_address
    )


def pages(settings: Settings) -> PagesServer:
    """Return the pages of this home, running or not."""
    return PagesServer(settings.home / "pages", settings.pages_port)


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


def status(settings: Settings) -> tuple[Part, ...]:
    """Say what runs where."""
    server = prefect(settings)
    api = server.url
    process = triton_server(settings).process
    password = f"the interface, which asks for {USER}:<{server.password_file}>"
    return (
        _archive_part(settings),
        _viewer_part(settings),
        _pages_part(settings),
        _triton_part(settings, process.url if process else None),
        Part("prefect", State.UP, api, password) if api else Part("prefect", State.DOWN, "", NOT_RUNNING),
        _dashboard_part(settings),
        _worker_part(settings, api),
    )


def _archive_part(settings: Settings) -> Part:
    remote = remote_archive(settings)
    if remote is not None:
        return Part("archive", State.ELSEWHERE, remote, "named by a setting, so not started here")
    server = archive(settings)
    running = server.process
    if running is None:
        return _not_running("archive", _missing(archive_server.installed))
    state = State.UP if server.url else State.DOWN
    sender = f"from {server.accounts.sender} to {server.aet} on port {running.dicom_port}"
    said = f"DICOMweb at /dicom-web; DIMSE: {sender}"
    if any(map(is_open_to_others, (running.http_port, running.dicom_port))):
        said += "; other machines reach its ports, since this kernel cannot keep it to 127.0.0.1"
    return Part("archive", state, running.url, said)


def _viewer_part(settings: Settings) -> Part:
    running = viewer(settings).process
    if running is not None and viewer(settings).url is not None:
        return Part("viewer", State.UP, running.url, f"OHIF: open {_door(settings, 'viewer')} in a browser")
    missing = _missing(viewer_server.installed)
    if missing is None and remote_archive(settings) is None and _missing(archive_server.installed):
        missing = "has no archive to show"
    return _not_running("viewer", missing)


def _pages_part(settings: Settings) -> Part:
    url = pages(settings).url
    if url is None:
        return Part("pages", State.DOWN, "", NOT_RUNNING)
    return Part("pages", State.UP, url, f"who you are, and a token for the command: open {url} in a browser")


def _dashboard_part(settings: Settings) -> Part:
    url = dashboard(settings).url
    if url is None:
        return _not_running("dashboard", _missing(nginx.program))
    said = f"Prefect's, to look at: open {_door(settings, 'dashboard')} in a browser"
    return Part("dashboard", State.UP, url, said)


def _door(settings: Settings, name: str) -> str:
    """Return the page by which people come to a server behind the sign-in."""
    return f"{settings.pages_address or pages(settings).url or '<pages, which do not run>'}/{name}"


def _not_running(name: str, missing: str | None) -> Part:
    return Part(name, State.MISSING, "", missing) if missing else Part(name, State.DOWN, "", NOT_RUNNING)


def _missing(installed: Callable[[], str]) -> str | None:
    """Return what has to be installed; None where all is there."""
    try:
        installed()
    except NotInstalled as error:
        return str(error)
    return None


def _triton_part(settings: Settings, url: str | None) -> Part:
    if url is None:
        return Part("triton", State.DOWN, "", NOT_RUNNING)
    client = triton_at(url, settings)
    try:
        served = [n for n in triton_repository(settings).versions() if client.ready(n)]
    finally:
        client.close()
    incumbent = open_records(settings.records_url).incumbent()
    return Part(
        "triton",
        State.UP if incumbent in served else State.DOWN,
        url,
        f"incumbent: release {incumbent}; serving releases {', '.join(map(str, served)) or 'none'}",
    )


def _worker_part(settings: Settings, api_url: str | None) -> Part:
    """Tell whether flows are run: a worker that has not watched for long is as good as none."""
    worker = Worker(settings.home)
    if worker.process is None or api_url is None:
        return Part("worker", State.DOWN, "", NOT_RUNNING)
    records, now = open_records(settings.records_url), datetime.now(UTC)
    watch = records.last_watch()
    lost = sum(now - one.at < timedelta(days=1) for one in records.all(RunFreed))
    freed = f"; {lost} runs of the last day had no process any more" if lost else ""
    said = f"watched at {watch.at.astimezone():%Y-%m-%d %H:%M:%S}" if watch else "has not watched yet"
    trouble = f", in vain: {watch.trouble}" if watch and watch.trouble else ""
    late = now - max(watch.at if watch else worker.started_at, worker.started_at) > WATCH_LATE
    log = trouble + freed + (f"; see {worker.log}" if late else "")
    nightly = "runs the flows; tunes every night at 02:00 UTC; "
    return Part("worker", State.DOWN if late else State.UP, "", f"{nightly}{said}{log}")


def prefect(settings: Settings) -> PrefectServer:
    """Return the Prefect server of this home, running or not."""
    return PrefectServer(settings.home / "prefect", settings.prefect_port)


def remote_archive(settings: Settings) -> str | None:
    """Return the DICOMweb address of the archive that the settings name; None for the local one."""
    if settings.dicomweb_url is None and settings.orthanc_url is None:
        return None
    return settings.dicomweb_url or f"{str(settings.orthanc_url).rstrip('/')}/dicom-web"


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
    missing = _missing(archive_server.installed)
    if missing:
        progress(f"going on without it: {missing}")
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
    missing = _missing(viewer_server.installed)
    if missing:
        progress(f"going on without it: {missing}")
    there = remote_archive(settings) is not None or archive(settings).url is not None
    shown = readers_archive(settings) if there else None
    if missing or shown is None:
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
    missing = _missing(nginx.program)
    if missing:
        progress(f"going on without the dashboard's door: {missing}")
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
