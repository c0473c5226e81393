"""The local stack's Prefect server: a process of its own on 127.0.0.1, its database under the home."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess, StartFailed
from deploy.stack.local_server import LocalServer, answer_of

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


@dataclass(frozen=True)
class PrefectProcess(LocalProcess):
    """A running Prefect server.

    Parameters
    ----------
    port
        On 127.0.0.1.
    """

    port: int

    @property
    def url(self) -> str:
        """The address flows are reported to (PREFECT_API_URL)."""
        return _api_url(self.port)


class PrefectServer(LocalServer[PrefectProcess]):
    """The Prefect server of one Organloop home.

    Parameters
    ----------
    home
        Folder for its database, log and state file.
    port
        Wanted port; one in use takes a free one.
    """

    name = "The Prefect server"
    kind = PrefectProcess

    def __init__(self, home: Path, port: int) -> None:
        super().__init__(home)
        self._port = port

    @property
    def api_url(self) -> str | None:
        """The address flows are reported to (PREFECT_API_URL); None while it does not run."""
        return self.url

    def start(self) -> str:
        """Start the server, or find it running; return the address flows are reported to.

        Raises
        ------
        StartFailed
            If it does not answer in time; the message ends with its log.
        """
        if running := self.url:
            return running
        port = local_process.free_port(self._port)
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
        return self._await(self._launch([*command, "--port", str(port)], env, port)).url

    def _answers(self, process: PrefectProcess) -> bool:
        return _healthy(process.url)

    def _read(self, noted: dict[str, Any]) -> dict[str, Any]:
        return {**noted["process"], "port": noted["port"]}

    def _written(self, noted: dict[str, Any]) -> dict[str, Any]:
        port = noted.pop("port")
        return {"process": noted, "port": port}


def wait_for_api(api_url: str, seconds: float) -> None:
    """Return once the Prefect server at an address answers.

    Raises
    ------
    StartFailed
        If it has not by then.
    """
    deadline = time.monotonic() + seconds
    while not _healthy(api_url, direct=False):
        if time.monotonic() > deadline:
            raise StartFailed(f"the Prefect server at {api_url} has not answered for {seconds:.0f} s")
        time.sleep(1)


def _api_url(port: int) -> str:
    return f"http://127.0.0.1:{port}/api"


def _healthy(api_url: str, *, direct: bool = True) -> bool:
    return answer_of(f"{api_url}/health", seconds=2, direct=direct) is not None
