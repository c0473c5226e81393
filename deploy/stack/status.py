"""What of the local stack runs where, and what to do about what does not."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from deploy.stack import archive as archive_server
from deploy.stack import nginx
from deploy.stack import viewer as viewer_server
from deploy.stack.loopback import is_open_to_others
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
from deploy.stack.worker import Worker
from services.addresses import PREFECT_USER
from services.records.events.operations import RunFreed
from services.records.store import open_records
from services.settings import Settings
from services.wiring import triton_at, triton_repository

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


def status(settings: Settings) -> tuple[Part, ...]:
    """Say what runs where."""
    server = prefect(settings)
    api = server.url
    process = triton_server(settings).process
    password = f"the interface, which asks for {PREFECT_USER}:<{server.password_file}>"
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
        return _not_running("archive", missing(archive_server.installed))
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
    lacking = missing(viewer_server.installed)
    if lacking is None and remote_archive(settings) is None and missing(archive_server.installed):
        lacking = "has no archive to show"
    return _not_running("viewer", lacking)


def _pages_part(settings: Settings) -> Part:
    url = pages(settings).url
    if url is None:
        return Part("pages", State.DOWN, "", NOT_RUNNING)
    return Part(
        "pages",
        State.UP,
        url,
        f"worklist, questions, who you are, a token for the command: open {url} in a browser",
    )


def _dashboard_part(settings: Settings) -> Part:
    url = dashboard(settings).url
    if url is None:
        return _not_running("dashboard", missing(nginx.program))
    said = f"Prefect's, to look at: open {_door(settings, 'dashboard')} in a browser"
    return Part("dashboard", State.UP, url, said)


def _door(settings: Settings, name: str) -> str:
    """Return the page by which people come to a server behind the sign-in."""
    return f"{settings.pages_address or pages(settings).url or '<pages, which do not run>'}/{name}"


def _not_running(name: str, lacking: str | None) -> Part:
    return Part(name, State.MISSING, "", lacking) if lacking else Part(name, State.DOWN, "", NOT_RUNNING)


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
