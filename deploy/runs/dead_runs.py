"""Runs that nobody works on any more: ended at Prefect, their places given back.

A worker or a node that dies reports nothing. At Prefect its runs would wait or run for ever, and keep the one
place that a schedule or a deployment has: every later night would be cancelled for it.

Nothing is dead because a time has passed. It is dead when its process is gone from this machine, or when it
gave no sign while this process saw the server answer for long: one that was away says nothing about runs.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Cancelled, Crashed

from flows.progress import Progress, silent
from services.records.events.operations import PlaceFreed, RunFreed
from services.records.port import Log

SILENT_SECONDS = 180.0
"""Who gave no sign for so long is dead; a worker speaks every 30 s."""
PROCESS = "process"
"""Type of the work pools whose runs die with their worker."""
HEARTBEAT = "prefect.flow-run.heartbeat"
"""Event of a run that lives, where PREFECT_FLOWS_HEARTBEAT_FREQUENCY is set, as in a cluster's jobs."""

_HOLDING = ("RUNNING", "PENDING", "CANCELLING")
"""Types of the states in which a run holds its places."""
_WORKER = "prefect.worker.name"
_PAGE = 200
_START_SLACK_SECONDS = 60.0


class DeadRuns:
    """Finds and ends the runs that nobody works on; remembers what it saw last.

    Parameters
    ----------
    worker
        Name of this process's worker.
    held
        The runs it has under way.
    clock
        Seconds that only grow.
    """

    def __init__(
        self, worker: str, held: Callable[[], Collection[UUID]], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._worker, self._held, self._clock = worker, held, clock
        self._signs: dict[str, tuple[object, float]] = {}

    def free(self, client: SyncPrefectClient, log: Log, progress: Progress = silent) -> int:
        """End the runs that are dead, and give back the places that none holds; return how many of both."""
        self._signs = {key: sign for key, sign in self._signs.items() if self._clock() - sign[1] < 86400}
        types = {pool.name: pool.type for pool in client.read_work_pools()}
        heard = {
            worker.name: worker.last_heartbeat_time
            for pool in types
            for worker in client.read_workers_for_work_pool(pool)
        }
        freed, holding = 0, Counter[UUID | None]()
        for run in _unfinished(client):
            why = self._why_dead(run, types.get(str(run.work_pool_name), ""), heard, client)
            if why is None:
                holding[run.deployment_id] += 1
                continue
            freed += 1
            self._end(run, why, client, log, progress)
        return freed + self._give_back(holding, client, log, progress)

    def free_own(self, client: SyncPrefectClient, log: Log, progress: Progress = silent) -> int:
        """End what an earlier process of this worker left; before this one takes anything, or at its end."""
        left = [run for run in _unfinished(client) if run.labels.get(_WORKER) == self._worker]
        dead = [run for run in left if run.id not in self._held() and not _has_process(run)]
        for run in dead:
            self._end(run, "its worker ended", client, log, progress)
        return len(dead)

    def _why_dead(
        self, run: FlowRun, pool_type: str, heard: Mapping[str, object], client: SyncPrefectClient
    ) -> str | None:
        """Return why nobody works on a run; None if somebody may."""
        worker = str(run.labels.get(_WORKER, ""))
        if worker == self._worker and pool_type == PROCESS:
            here = run.id in self._held() or _has_process(run)
            return None if here else "its process is gone"
        taken_only = run.state is not None and run.state.is_pending()
        if run.deployment_id is None or not (worker or taken_only):
            return None  # begun by hand, in somebody's own process
        sign: object = (run.state.id if run.state else None, heard.get(worker))
        if worker and pool_type == PROCESS:
            silent_one = f"its worker {worker}"
        elif taken_only:
            silent_one = "the worker that took it"
        else:
            silent_one, sign = "it", (sign, _last_heartbeat(run, client))
        if not self._silent(f"{run.id}:{worker}", sign):
            return None
        return f"{silent_one} has given no sign for {SILENT_SECONDS:.0f} s"

    def _silent(self, key: str, sign: object) -> bool:
        """Return whether a sign has been the same for long while this process looked."""
        before, since = self._signs.get(key, (None, None))
        if since is None or before != sign:
            self._signs[key] = sign, self._clock()
            return False
        return self._clock() - since >= SILENT_SECONDS

    def _end(self, run: FlowRun, why: str, client: SyncPrefectClient, log: Log, progress: Progress) -> None:
        was = run.state.type.value if run.state else ""
        end: State[Any] = Cancelled(message=why) if was == "CANCELLING" else Crashed(message=why)
        progress(f"run {run.id} ({was.lower()}) is ended at Prefect: {why}")
        client.set_flow_run_state(run.id, end, force=True)
        event = RunFreed(run=str(run.id), was=was.lower(), pool=run.work_pool_name or "", why=why)
        log.record(event, who="dead_runs", key=event.key(run.id, run.state.id if run.state else ""))

    def _give_back(
        self, holding: Counter[UUID | None], client: SyncPrefectClient, log: Log, progress: Progress
    ) -> int:
        """Give back the places that no run holds: a server that is killed between two steps leaves some."""
        freed = 0
        for deployment in client.read_deployments():
            limit = deployment.global_concurrency_limit
            if limit is None or limit.active_slots <= holding[deployment.id]:
                continue
            if not self._silent(f"{limit.id}", (limit.active_slots, holding[deployment.id])):
                continue
            places = limit.active_slots - holding[deployment.id]
            progress(f"{places} of {deployment.name}'s places were held by no run: given back")
            client.request(
                "PATCH",
                "/v2/concurrency_limits/{id_or_name}",
                path_params={"id_or_name": str(limit.id)},
                json={"active_slots": holding[deployment.id]},
            )
            log.record(PlaceFreed(deployment=str(deployment.id), places=places), who="dead_runs")
            freed += places
        return freed


def _unfinished(client: SyncPrefectClient) -> Iterator[FlowRun]:
    wanted = FlowRunFilter.model_validate({"state": {"type": {"any_": list(_HOLDING)}}})
    found: list[FlowRun] = []
    while len(page := client.read_flow_runs(flow_run_filter=wanted, limit=_PAGE, offset=len(found))) == _PAGE:
        found += page
    return iter([*found, *page])


def _last_heartbeat(run: FlowRun, client: SyncPrefectClient) -> str:
    """Return when a run said last that it lives; empty if it never did."""
    asked = {
        "filter": {
            "event": {"name": [HEARTBEAT]},
            "any_resource": {"id": [f"prefect.flow-run.{run.id}"]},
            "order": "DESC",
        },
        "limit": 1,
    }
    events = client.request("POST", "/events/filter", json=asked).json()["events"]
    return str(events[0]["occurred"]) if events else ""


def _has_process(run: FlowRun) -> bool:
    """Return whether a run of this machine has a process; a number that is used again is another's."""
    pid = run.infrastructure_pid
    if not pid or not pid.isdecimal():
        return False
    try:
        fields = Path("/proc", pid, "stat").read_text().rsplit(")", 1)[1].split()
        up = float(Path("/proc/uptime").read_text().split()[0])
    except (FileNotFoundError, ProcessLookupError):
        return False
    if fields[0] == "Z":
        return False
    process_began = time.time() - up + int(fields[19]) / os.sysconf("SC_CLK_TCK")
    begun: Any = run.start_time or (run.state.timestamp if run.state else None)
    return begun is None or process_began <= begun.timestamp() + _START_SLACK_SECONDS
