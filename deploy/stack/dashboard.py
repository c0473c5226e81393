"""Prefect's dashboard behind the pages' sign-in: nginx lets operators look, and nobody change anything."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from deploy.doors.configuration import DASHBOARD_TOLD, Door, SignIn, files
from deploy.stack import local_process, nginx
from deploy.stack.local_process import LocalProcess
from deploy.stack.local_server import LocalServer, answer_of
from deploy.stack.prefect import Access
from models.release import sha256_hex
from services.pacs.accounts import Account


@dataclass(frozen=True)
class DashboardProcess(LocalProcess):
    """A running door to the dashboard, as noted in its state file.

    Parameters
    ----------
    port
        On 127.0.0.1.
    doors
        Digest of what it was told to open and to whom.
    """

    port: int
    doors: str = ""

    @property
    def url(self) -> str:
        """Where it is opened; who is not signed in is sent to the sign-in."""
        return f"http://127.0.0.1:{self.port}"


class DashboardServer(LocalServer[DashboardProcess]):
    """The door to the dashboard of one Organloop home; as a context manager it is started by `start`.

    Parameters
    ----------
    home
        Folder for its configuration, log and state file.
    port
        Wanted port; None, or one in use, takes a free one.
    address
        Where people open it, if not at that port of this machine.
    """

    name = "The dashboard's door"
    kind = DashboardProcess

    def __init__(self, home: Path, port: int | None = None, *, address: str | None = None) -> None:
        super().__init__(home)
        self._port = port
        self._address = address

    def start(self, prefect: Access, sign_in: SignIn) -> DashboardProcess:
        """Open the door to a Prefect server, or find it open; to another server it is opened anew.

        Parameters
        ----------
        prefect
            The server, and its password, which no browser learns.
        sign_in
            Who is asked whether somebody is an operator; without an answer nobody is.

        Raises
        ------
        NotInstalled
            If nginx is not on this machine.
        StartFailed
            If it ended or did not answer in time; the message ends with its log.
        StorageFailed
            If the home is not writable.
        """
        running, doors = self.process, self._doors(prefect, sign_in)
        if running and running.doors == doors and self._answers(running):
            return running
        nginx.program()
        self.stop()
        port = local_process.free_port(self._port or 0)
        user, _, password = prefect.auth.partition(":")
        door = Door(
            "dashboard",
            f"127.0.0.1:{port}",
            self._address,
            nginx.given(Account(user, password)),
            {"said": DASHBOARD_TOLD, "prefect": prefect.url.removesuffix("/api")},
        )
        configuration = nginx.configure(self._home, door, sign_in)
        command = nginx.command(self._home, self.log, configuration)
        return self._await(self._launch(command, os.environ, port, doors))

    def _answers(self, process: DashboardProcess) -> bool:
        return answer_of(f"{process.url}/door") is not None

    def __enter__(self) -> DashboardServer:
        return self

    def _doors(self, prefect: Access, sign_in: SignIn) -> str:
        said = f"{sign_in} {self._address} {prefect.url} {prefect.auth}".encode()
        return sha256_hex(b"\0".join((*files(), said)))
