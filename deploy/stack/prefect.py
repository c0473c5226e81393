"""The local stack's Prefect server: a process of its own on 127.0.0.1, its database under the home."""

from __future__ import annotations

import json
import os
import sys
import time
import urllib.error
import urllib.request
from dataclasses import asdict
from pathlib import Path

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess, StartFailed
from services.files import replace

NO_PROXY = "http://127.0.0.1:9"
"""Where nothing listens."""
HISTORY_DAYS = 14
"""Flow runs older than this are deleted from the dashboard."""
LOOPS = (
    "CANCELLATION_CLEANUP",
    "CLEANUP_RECONCILER",
    "FOREMAN",
    "LATE_RUNS",
    "PAUSE_EXPIRATIONS",
    "REPOSSESSOR",
)
"""Services of the server that look every 5 to 20 s; once a minute is enough, and costs a third less."""


class PrefectServer:
    """The Prefect server of one Organloop home; it outlives the command that started it.

    Parameters
    ----------
    home
        Folder for its database, log and state file.
    port
        Wanted port; one in use takes a free one.
    """

    def __init__(self, home: Path, port: int) -> None:
        self._home = home.resolve()
        self._port = port
        self._state = self._home / "server.json"

    @property
    def api_url(self) -> str | None:
        """The address flows are reported to (PREFECT_API_URL); None while it does not run."""
        try:
            state = json.loads(self._state.read_bytes())
        except FileNotFoundError:
            return None
        process = LocalProcess(**state["process"])
        return _api_url(state["port"]) if process.alive and _healthy(state["port"]) else None

    def start(self) -> str:
        """Start the server, or find it running; return the address flows are reported to.

        Raises
        ------
        StartFailed
            If it does not answer in time; the message ends with its log.
        """
        running = self.api_url
        if running is not None:
            return running
        port = local_process.free_port(self._port)
        log = self._home / "server.log"
        env = os.environ | {
            "PREFECT_HOME": str(self._home),
            "PREFECT_API_URL": _api_url(port),
            # Pages of its dashboard would have it fetch lists from GitHub; refused, it takes its own copies.
            "https_proxy": NO_PROXY,
            "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",  # nothing here is automated by events
            # In memory, places that runs hold under a limit would outlive the server, never given back.
            "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
            # What matters is in the records, not here.
            "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
            "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(HISTORY_DAYS * 24 * 3600),
        }
        env |= {f"PREFECT_SERVER_SERVICES_{name}_LOOP_SECONDS": "60" for name in LOOPS}
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1"]
        process = local_process.start([*command, "--port", str(port)], log=log, env=env)
        replace(self._state, json.dumps({"process": asdict(process), "port": port}).encode())
        local_process.wait_until(
            lambda: _healthy(port),
            process=process,
            log=log,
            name="The Prefect server",
        )
        return _api_url(port)

    def stop(self) -> None:
        """Stop the server; none is no error."""
        try:
            state = json.loads(self._state.read_bytes())
        except FileNotFoundError:
            return
        local_process.stop(LocalProcess(**state["process"]))
        self._state.unlink(missing_ok=True)


def wait_for_api(api_url: str, seconds: float) -> None:
    """Return once the Prefect server at an address answers.

    Raises
    ------
    StartFailed
        If it has not by then.
    """
    deadline = time.monotonic() + seconds
    while not _answers(api_url):
        if time.monotonic() > deadline:
            raise StartFailed(f"the Prefect server at {api_url} has not answered for {seconds:.0f} s")
        time.sleep(1)


def _api_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def _healthy(port: int) -> bool:
    return _answers(_api_url(port))


def _answers(api_url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
