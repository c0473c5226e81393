"""Starting flow runs of Prefect deployments, and finding out what became of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed, Scheduled

from flows.launching import QUEUE, URGENT_QUEUE, RunState

_TIMED_OUT = "TimedOut"
"""Prefect's name for the state of a run that it ended after its time limit."""


class PrefectLauncher:
    """Runs of Prefect deployments; one connection to the server, for one thread, until it is closed.

    Parameters
    ----------
    longest_seconds
        A flow is ended then; one that is said to be running for longer has died with its worker.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest = timedelta(seconds=longest_seconds)
        self._client: SyncPrefectClient | None = None

    def launch(self, deployment: str, source: str, key: str, *, urgent: bool) -> str:
        """Start a run and return its identifier; see `flows.launching.Launcher`."""
        client = self.client
        started = client.create_flow_run_from_deployment(
            client.read_deployment_by_name(deployment).id,
            parameters={"source": source},
            state=Scheduled(),
            idempotency_key=key,
            work_queue_name=URGENT_QUEUE if urgent else QUEUE,
        )
        return str(started.id)

    def state(self, run: str) -> RunState:
        """Return what became of a run; one that has died without saying so is marked as crashed."""
        client = self.client
        try:
            found = client.read_flow_run(UUID(run))
        except (ObjectNotFound, ValueError):
            return RunState.LOST
        if self._overdue(found):
            client.set_flow_run_state(found.id, Crashed(message="no end was reported in time"), force=True)
            return RunState.LOST
        state = found.state
        if state is None or not state.is_final():
            return RunState.GOING
        if state.is_completed():
            return RunState.DONE
        if not state.is_failed():
            return RunState.LOST
        return RunState.LATE if state.name == _TIMED_OUT else RunState.FAILED

    def close(self) -> None:
        """Let go of the connection."""
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None

    @property
    def client(self) -> SyncPrefectClient:
        """The connection; to make one costs twenty times what a question costs."""
        if self._client is None:
            self._client = get_client(sync_client=True).__enter__()
        return self._client

    def _overdue(self, run: FlowRun) -> bool:
        if run.state is None or not (run.state.is_running() or run.state.is_pending()):
            return False
        since: Any = run.state.timestamp
        return bool(datetime.now(UTC) - since > self._longest)
