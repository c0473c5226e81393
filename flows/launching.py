"""Starting flow runs from deployments, and finding out what became of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol, cast
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

SEGMENT = "segment-study/organloop"
INGEST = "ingest-correction/organloop"

RUN_SECONDS = 1200
"""A study's run is ended then: one that is said to be running for longer is dead, and is started again."""

QUEUE = "default"
URGENT_QUEUE = "stat"
"""Work queue of what goes first."""


class RunState(StrEnum):
    """What became of a run."""

    GOING = "going"
    """Waits for a worker, or runs."""
    DONE = "done"
    LOST = "lost"
    """Failed, crashed, cancelled, unknown, or dead without having said so."""


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
    """Runs of Prefect deployments.

    Parameters
    ----------
    longest_seconds
        A flow is ended then; one that is said to be running for longer has died with its worker.
    """

    def __init__(self, longest_seconds: float) -> None:
        self._longest = timedelta(seconds=longest_seconds)

    def launch(self, deployment: str, source: str, key: str, *, urgent: bool) -> str:
        """Start a run and return its identifier; see `Launcher`."""
        started = run_deployment(
            deployment,
            parameters={"source": source},
            timeout=0,
            idempotency_key=key,
            work_queue_name=URGENT_QUEUE if urgent else QUEUE,
            as_subflow=False,
        )
        return str(cast(FlowRun, started).id)  # nobody awaits here

    def state(self, run: str) -> RunState:
        """Return what became of a run; one that has died without saying so is marked as crashed."""
        with get_client(sync_client=True) as client:
            try:
                found = client.read_flow_run(UUID(run))
            except (ObjectNotFound, ValueError):
                return RunState.LOST
            if self._overdue(found):
                client.set_flow_run_state(
                    found.id, Crashed(message="no end was reported in time"), force=True
                )
                return RunState.LOST
        state = found.state
        if state is None or not state.is_final():
            return RunState.GOING
        return RunState.DONE if state.is_completed() else RunState.LOST

    def _overdue(self, run: FlowRun) -> bool:
        if run.state is None or not (run.state.is_running() or run.state.is_pending()):
            return False
        since: Any = run.state.timestamp
        return bool(datetime.now(UTC) - since > self._longest)
