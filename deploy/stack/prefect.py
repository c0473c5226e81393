"""The local stack's Prefect server: a process of its own on 127.0.0.1, its database under the home.

Whoever may ask it anything may have the worker run flows, so it answers nobody without the home's password.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy.stack import local_process
from deploy.stack.credentials import password_in
from deploy.stack.local_process import LocalProcess, StartFailed
from deploy.stack.local_server import LocalServer, answer_of
from services.addresses import PREFECT_USER
from services.settings import SECRETS

NO_PROXY = "http://127.0.0.1:9"
"""Where nothing listens."""
NO_ORIGIN = "https://none.invalid"
"""The one origin whose pages may read answers: no page has it, and the dashboard's own asks for no leave."""
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
class Access:
    """Where a Prefect server is, and what it asks for.

    Parameters
    ----------
    url
        Its address (PREFECT_API_URL).
    auth
        ``user:password`` (PREFECT_API_AUTH_STRING); empty for one that asks for none.
    """

    url: str
    auth: str = field(repr=False)

    @classmethod
    def from_environment(cls, secret: Path = SECRETS / "prefect_auth") -> Access | None:
        """Return what the environment says; None where it names no server.

        Parameters
        ----------
        secret
            File of the password, where no variable has it: a command in a container of Compose.
        """
        url, auth = os.environ.get("PREFECT_API_URL"), os.environ.get("PREFECT_API_AUTH_STRING")
        if auth is None:
            auth = secret.read_text().strip() if secret.is_file() else ""
        return cls(url, auth) if url else None

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that asks it."""
        return {"PREFECT_API_URL": self.url, "PREFECT_API_AUTH_STRING": self.auth}

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Have Prefect's clients of this process ask it, whatever was set when Prefect was imported."""
        from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: self.url, PREFECT_API_AUTH_STRING: self.auth}):
            yield


@dataclass(frozen=True)
class PrefectProcess(LocalProcess):
    """A running Prefect server.

    Parameters
    ----------
    port
        On 127.0.0.1.
    locked
        Whether it asks for a password; one that a version before passwords has started does not.
    """

    port: int
    locked: bool = False

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
    def access(self) -> Access | None:
        """Where it is asked, and with what; None while it does not run."""
        url = self.url
        return None if url is None else self._access(url)

    @property
    def password_file(self) -> Path:
        """Where the password of its API and dashboard is kept; the user is `PREFECT_USER`."""
        return self._home / "password"

    def start(self) -> Access:
        """Start the server, or find it running; return where it is asked, and with what.

        Raises
        ------
        StartFailed
            If it does not answer in time; the message ends with its log.
        """
        process = self.process
        if process is not None and not process.locked:
            self.stop()
        if running := self.access:
            return running
        port = local_process.free_port(self._port)
        access = self._access(_api_url(port))
        env = os.environ | {
            "PREFECT_HOME": str(self._home),
            **access.variables,  # it asks itself, too
            "PREFECT_SERVER_API_AUTH_STRING": access.auth,
            "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
            "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": NO_ORIGIN,
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
        self._await(self._launch([*command, "--port", str(port)], env, port, True))
        return access

    def _access(self, url: str) -> Access:
        return Access(url, f"{PREFECT_USER}:{password_in(self.password_file)}")

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
