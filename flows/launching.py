"""Starting flow runs from deployments, and finding out what became of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed, Scheduled

SEGMENT = "segment-study/organloop"
INGEST = "ingest-correction/organloop"

RUN_SECONDS = 1200
"""A study's run is ended then; one that is said to be running for longer has died, and is started again."""

QUEUE = "default"
URGENT_QUEUE = "stat"
"""Work queue of what goes first."""

_TIMED_OUT = "TimedOut"
"""Prefect's name for the state of a run that it ended after `RUN_SECONDS`."""


class RunState(StrEnum):
    """What became of a run."""

    GOING = "going"
    """Waits for a worker, or runs."""
    DONE = "done"
    FAILED = "failed"
    """By itself, with an error of its own."""
    LATE = "late"
    """Ended because it took too long, which says nothing about what it worked on."""
    LOST = "lost"
    """Ended by somebody, or without a word: crashed, cancelled, unknown, or dead for long."""


class Launcher(Protocol):
    """Starts work that a worker does."""

    def launch(self, deployment: str, source: str, key: str, *, urgent: bool) -> str:
        """Start a run and return its name; the same key starts nothing twice.

        Parameters
        ----------
        deployment
            ``flow/deployment``.
        source
            UID of what the flow works on.
        key
            Of this very attempt.
        urgent
            Whether it goes before the others.
        """

    def state(self, run: str) -> RunState:
        """Return what became of a run."""


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
        """Start a run and return its identifier; see `Launcher`."""
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
