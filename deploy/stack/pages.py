"""The local stack's pages: a process of its own on 127.0.0.1."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess
from deploy.stack.local_server import LocalServer, answer_of
from services.program import code_digest
from services.wiring import repository_root

HOST = "127.0.0.1"


@dataclass(frozen=True)
class PagesProcess(LocalProcess):
    """The running pages.

    Parameters
    ----------
    port
        On 127.0.0.1.
    program
        Digest of the code that it has imported.
    """

    port: int
    program: str = ""

    @property
    def url(self) -> str:
        """Where they are opened."""
        return f"http://{HOST}:{self.port}"


class PagesServer(LocalServer[PagesProcess]):
    """The pages of one Organloop home; as a context manager they are started by `start`.

    Parameters
    ----------
    home
        Folder for log and state file.
    port
        Wanted port; one in use takes a free one.
    """

    name = "The pages"
    kind = PagesProcess

    def __init__(self, home: Path, port: int) -> None:
        super().__init__(home)
        self._port = port

    def start(self, organloop: Path) -> PagesProcess:
        """Start the pages, or find this very program running.

        Parameters
        ----------
        organloop
            The home whose pages they are; every other setting is that of this process.

        Raises
        ------
        StartFailed
            If they end or do not answer in time; the message ends with their log.
        StorageFailed
            If the home is not writable.
        """
        running, program = self.process, code_digest(repository_root())
        if running and running.program == program and self._answers(running):
            return running
        self.stop()
        port = local_process.free_port(self._port)
        command = [sys.executable, "-m", "deploy.pages.server", HOST, str(port)]
        environment = os.environ | {"ORGANLOOP_HOME": str(organloop.resolve())}
        return self._await(self._launch(command, environment, port, program))

    def _answers(self, process: PagesProcess) -> bool:
        return answer_of(f"{process.url}/healthz") is not None

    def __enter__(self) -> PagesServer:
        return self
