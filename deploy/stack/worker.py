"""The process that runs the deployments: it registers them, then becomes a Prefect worker."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess, StartFailed
from deploy.stack.local_server import LocalServer
from deploy.stack.prefect import Access
from services.program import code_digest
from services.wiring import repository_root

AT_ONCE = 3
"""Runs a worker does at a time: while one tunes and the night waits for it, one segments. More workers do
more."""
GRACE_SECONDS = 2.0
"""How long `organloop down` waits for runs; they are reported, and started again by the next `up`."""
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class WorkerProcess(LocalProcess):
    """A running worker, as noted in its state file.

    Parameters
    ----------
    api_url
        The Prefect server it takes runs from.
    program
        Digest of the code it has imported.
    """

    api_url: str = ""
    program: str = ""


class Worker(LocalServer[WorkerProcess]):
    """The local worker of one Organloop home.

    Parameters
    ----------
    home
        Folder of all state; the worker's own is ``worker/`` in it.
    """

    name = "The worker"
    kind = WorkerProcess
    grace_seconds = 20.0

    def __init__(self, home: Path) -> None:
        super().__init__(home / "worker", "worker.log", "process.json")
        self._organloop = home.resolve()

    @property
    def started_at(self) -> datetime:
        """When it was started last; only of one that was."""
        return datetime.fromtimestamp(self._state.stat().st_mtime, UTC)

    def start(self, access: Access) -> None:
        """Start the worker for a Prefect server; one that runs this program for this very server stays.

        Its runs are forks of what it has imported: after an update it would go on with the older program.
        """
        running, program = self.process, code_digest(repository_root())
        if running is not None:
            if (running.api_url, running.program) == (access.url, program):
                return
            self.stop()
        env = os.environ | access.variables | {"ORGANLOOP_HOME": str(self._organloop)}
        self._launch([sys.executable, "-m", "deploy.stack.worker"], env, access.url, program)

    def await_online(self, access: Access, progress: Callable[[str], None]) -> None:
        """Wait until the worker takes runs, which it does once it has registered the flows.

        However long that takes beside other work: a worker that cannot do it ends, and that is noticed.

        Raises
        ------
        StartFailed
            If it ends before; the message ends with its log.
        """
        if self._online(access):
            return
        progress("waiting for the worker: it registers the flows")
        while not self._online(access):
            if self.process is None:
                raise StartFailed(f"{self.name} ended while starting.\n{local_process.log_tail(self.log)}")
            time.sleep(LOOK_SECONDS)

    def _online(self, access: Access) -> bool:
        """Tell whether Prefect has heard from this worker since it was started."""
        import httpx
        from prefect.client.orchestration import get_client
        from prefect.exceptions import ObjectNotFound

        from deploy.runs.deployments import WORK_POOL
        from deploy.runs.pool_worker import worker_name

        process = self.process
        try:
            with access.used(), get_client(sync_client=True) as client:
                known = client.read_workers_for_work_pool(WORK_POOL)
        except (ObjectNotFound, httpx.HTTPError):
            return False  # no pool yet, or the server does other things
        heard = [one.last_heartbeat_time for one in known if one.name == worker_name(WORK_POOL)]
        return process is not None and any(at is not None and at >= self.started_at for at in heard)


def main() -> None:
    """Register the deployments and become the worker."""
    from deploy.runs.deployments import QUEUES, WORK_POOL, register
    from services.settings import Settings

    register(Settings())
    words = ["--pool", WORK_POOL, "--at-once", str(AT_ONCE), "--grace-seconds", str(GRACE_SECONDS)]
    queues = [f"--queue={name}" for name in QUEUES]
    # A process of its own: what registering has imported is not needed any more.
    os.execv(
        sys.executable,
        [sys.executable, "-m", "deploy.runs.pool_worker", *words, *queues, "--watch", "--no-health"],
    )


if __name__ == "__main__":
    main()
