"""The process that runs the deployments: it registers them, then becomes a Prefect worker."""

from __future__ import annotations

import json
import os
import socket
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy import local_process
from deploy.local_process import LocalProcess
from services.releases.files import replace

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun

AT_ONCE = 4
"""Runs a worker does at a time: while one watches, one tunes and the night waits for it, one segments. More
workers do more."""


class Worker:
    """The local worker of one Organloop home; it outlives the command that started it.

    Parameters
    ----------
    home
        Folder of all state; the worker's own is ``worker/`` in it.
    """

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._state = self._home / "worker" / "process.json"

    @property
    def process(self) -> LocalProcess | None:
        """The running worker, or None."""
        state = self._noted()
        process = LocalProcess(state["pid"], state["started"]) if state else None
        return process if process and process.alive else None

    @property
    def log(self) -> Path:
        """What it says."""
        return self._home / "worker" / "worker.log"

    @property
    def started_at(self) -> datetime:
        """When it was started last; only of one that was."""
        return datetime.fromtimestamp(self._state.stat().st_mtime, UTC)

    def start(self, api_url: str) -> None:
        """Start the worker for a Prefect server; one that runs for this very server is left alone."""
        if self.process is not None:
            if self._noted().get("api_url") == api_url:
                return
            self.stop()  # it asks a server that is gone
        env = os.environ | {"PREFECT_API_URL": api_url, "ORGANLOOP_HOME": str(self._home)}
        process = local_process.start([sys.executable, "-m", "deploy.worker"], log=self.log, env=env)
        replace(self._state, json.dumps(asdict(process) | {"api_url": api_url}).encode())

    def stop(self) -> None:
        """Stop the worker and the runs it started; none is no error."""
        process = self.process
        if process is not None:
            local_process.stop(process)
        self._state.unlink(missing_ok=True)

    def _noted(self) -> dict[str, Any]:
        """Return what is known of the worker that was started last; nothing if there was none."""
        try:
            state: dict[str, Any] = json.loads(self._state.read_bytes())
        except FileNotFoundError:
            return {}
        return state


def worker_name() -> str:
    """Return the name under which this machine's worker is known at Prefect."""
    return f"organloop@{socket.gethostname()}"


def bury_dead_runs(api_url: str) -> int:
    """Mark the runs of this machine's worker whose process is gone as crashed; return how many.

    A worker that was killed could not report them: at Prefect they would run for ever, keep their places,
    and not be tried again.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import FlowRunFilter
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.states import Crashed

    unfinished = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
    buried = 0
    with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
        for run in client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(unfinished)):
            if _is_dead(run):
                client.set_flow_run_state(run.id, Crashed(message="its process is gone"), force=True)
                buried += 1
    return buried


def _is_dead(run: FlowRun) -> bool:
    """Tell whether a run that is not finished was this machine's worker's and has no process any more.

    A worker takes a run some seconds before its time; killed then, it leaves one that nobody has begun.
    """
    from deploy.deployments import WORK_POOL

    pid = run.infrastructure_pid
    if run.labels.get("prefect.worker.name") == worker_name():
        return not pid or not Path("/proc", pid).exists()
    taken_only = run.state is not None and run.state.is_pending() and not pid
    return taken_only and run.work_pool_name == WORK_POOL and "prefect.worker.name" not in run.labels


def main() -> None:
    """Register the deployments and become the worker."""
    from deploy.deployments import WORK_POOL, register
    from services.settings import Settings

    api_url = os.environ["PREFECT_API_URL"]
    register(api_url, Settings())
    bury_dead_runs(api_url)
    worker = ["worker", "start", "--pool", WORK_POOL, "--name", worker_name(), "--limit", str(AT_ONCE)]
    os.execv(sys.executable, [sys.executable, "-m", "prefect", *worker])


if __name__ == "__main__":
    main()
