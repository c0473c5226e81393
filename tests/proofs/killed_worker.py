"""A worker that is killed at the step named by KILLED_AT, and is quick to call others dead."""

from __future__ import annotations

import os
import signal
from typing import Any

from prefect.workers.process import ProcessWorker

from deploy.runs import dead_runs, pool_worker, warm_runs
from flows.arrivals import loop as arrival_loop
from tests.support.own_flows_worker import know


async def die(*_: Any, **__: Any) -> None:
    """End as a machine without power does, all processes at once."""
    os.killpg(0, signal.SIGKILL)


async def take_and_die(worker: Any, run: Any) -> None:
    """Die when the run is taken, and bears nobody's name yet."""
    await _take(worker, run)
    await die()


_take = ProcessWorker._propose_pending_state
killed_at = os.environ.get("KILLED_AT")
if killed_at == "taken":
    ProcessWorker._propose_pending_state = take_and_die  # type: ignore[method-assign, assignment]
if killed_at == "starting":
    warm_runs.run_forked = die  # type: ignore[assignment]
dead_runs.SILENT_SECONDS = 10.0
arrival_loop.FREE_SECONDS = 2.0

know("night", "night_for_proof.night")

if __name__ == "__main__":
    pool_worker.main()
