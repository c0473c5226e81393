"""A Prefect process worker of a container, which ends well: no run is lost with it.

Prefect's own worker ends at once when it is asked to, its runs with it, and at the server they would run for
ever. This one takes no more runs, lets those under way end, and reports those it could not wait for, so that
they are started again. So it does at its start: what its predecessor in the container left is dead, and so is
what a worker left that has not been heard of for minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, WorkerFilter
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Crashed
from prefect.workers.process import ProcessWorker

from deploy import logs
from services.settings import Settings

UNFINISHED = {"state": {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}}
LOOK_SECONDS = 0.5
SILENT_SECONDS = 180.0
"""A worker is dead that has said nothing for so long; it speaks every 30 s."""

_log = logging.getLogger("deploy.pool_worker")


class PoolWorker:
    """One worker of a process pool.

    Parameters
    ----------
    pool
        Its work pool.
    queues
        The queues it takes from.
    at_once
        Runs at a time.
    grace_seconds
        How long runs under way may go on once it is asked to end.
    """

    def __init__(self, pool: str, queues: Sequence[str], at_once: int, grace_seconds: float) -> None:
        self.name = f"{pool}@{socket.gethostname()}"
        self._pool = pool
        self._worker = ProcessWorker(
            name=self.name, work_pool_name=pool, work_queues=list(queues), limit=at_once
        )
        self._grace = grace_seconds
        self._asked_to_end = asyncio.Event()

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; then end well."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end.set)
        take = self._worker.get_and_submit_flow_runs

        async def take_unless_ending() -> object:
            return [] if self._asked_to_end.is_set() else await take()

        # Prefect has no other way to tell a worker to take no more.
        self._worker.get_and_submit_flow_runs = take_unless_ending  # type: ignore[method-assign, assignment]
        await self._bury()
        working = asyncio.create_task(self._worker.start(with_healthcheck=True, printer=_say))
        ending = asyncio.create_task(self._asked_to_end.wait())
        await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            await self._drain()
            working.cancel()
        ending.cancel()
        await asyncio.gather(working, ending, return_exceptions=True)
        await self._bury()
        if not working.cancelled() and working.exception():
            raise working.exception() or AssertionError

    async def _drain(self) -> None:
        """Wait for the runs under way."""
        under_way = self._worker.limiter.borrowed_tokens
        _say(f"asked to end: no more runs are taken; waiting for {under_way}, {self._grace:.0f} s at most")
        deadline = asyncio.get_running_loop().time() + self._grace
        while self._worker.limiter.borrowed_tokens and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LOOK_SECONDS)

    async def _bury(self) -> None:
        """Report runs that are not finished and have no process any more as crashed.

        Those of this worker, and of workers of the pool that have said nothing for long: a node that died
        reports nothing, its worker comes back under another name, and its runs would keep their places for
        ever.
        """
        async with get_client() as client:
            living = await self._others_that_live(client)
            for run in await client.read_flow_runs(flow_run_filter=FlowRunFilter.model_validate(UNFINISHED)):
                worker = str(run.labels.get("prefect.worker.name", ""))
                if worker.startswith(f"{self._pool}@") and worker not in living:
                    _say(f"run {run.id} of {worker} has no process any more: reported as crashed")
                    await client.set_flow_run_state(run.id, Crashed(message="its worker ended"), force=True)

    async def _others_that_live(self, client: PrefectClient) -> set[str]:
        """Return the names of the pool's other workers that were heard of lately."""
        lately = datetime.now(UTC) - timedelta(seconds=SILENT_SECONDS)
        heard = WorkerFilter.model_validate({"last_heartbeat_time": {"after_": lately}})
        try:
            workers = await client.read_workers_for_work_pool(self._pool, worker_filter=heard)
        except PrefectHTTPStatusError as error:
            if error.response.status_code != HTTPStatus.NOT_FOUND:
                raise
            return set()  # the job that makes the pool comes later: nothing has run in it
        return {one.name for one in workers} - {self.name}


def _say(text: str) -> None:
    _log.info(text)


def main() -> None:
    """Be a worker until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pool", default="organloop", help="work pool")
    parser.add_argument("--queue", action="append", required=True, help="work queue; may be given again")
    parser.add_argument("--at-once", type=int, default=1, help="runs at a time")
    parser.add_argument(
        "--grace-seconds", type=float, default=1200.0, help="longest wait for runs when asked to end, seconds"
    )
    asked = parser.parse_args()

    logs.set_up(Settings().log_format)
    _log.setLevel(logging.INFO)

    async def work() -> None:
        await PoolWorker(asked.pool, asked.queue, asked.at_once, asked.grace_seconds).run()

    asyncio.run(work())


if __name__ == "__main__":
    main()
