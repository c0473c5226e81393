"""A Prefect process worker that ends well, starts runs at once, and may watch the archive beside.

Prefect's own worker ends at once when it is asked to, its runs with it, and at the server they would run for
ever. This one takes no more runs, lets those under way end, and reports those it could not wait for, so that
they are started again. So it does at its start: what its predecessor left is dead.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
from prefect.client.orchestration import get_client
from prefect.workers.process import ProcessWorker

from deploy import logs
from deploy.runs import warm_runs
from deploy.runs.dead_runs import DeadRuns
from deploy.runs.fork_configuration import ForkConfiguration
from services.files import OWNER_ONLY
from services.records.store import open_records
from services.settings import Settings

if TYPE_CHECKING:
    from flows.arrivals.loop import ArrivalLoop
    from services.records.port import Log, Records

LOOK_SECONDS = 0.5
TRY_SECONDS = 2.0
"""Between two questions to a server that does not answer."""

_log = logging.getLogger("deploy.runs.pool_worker")


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
    settings
        Where the records are.
    """

    def __init__(
        self, pool: str, queues: Sequence[str], at_once: int, grace_seconds: float, settings: Settings
    ) -> None:
        self.name = worker_name(pool)
        self._settings = settings
        self._worker = ProcessWorker(
            name=self.name, work_pool_name=pool, work_queues=list(queues), limit=at_once
        )
        self._worker.job_configuration = ForkConfiguration
        self._grace = grace_seconds
        self._asked_to_end = asyncio.Event()
        self._watch_ended = Event()
        self.dead_runs = DeadRuns(self.name, self.held)

    def held(self) -> set[UUID]:
        """Return the runs it has under way."""
        limiter = self._worker._limiter
        return (
            set()
            if limiter is None
            else {one for one in limiter.statistics().borrowers if isinstance(one, UUID)}
        )

    async def run(self, *, watches: bool = False, healthcheck: bool = True) -> None:
        """Work until SIGTERM or SIGINT; then end well.

        Parameters
        ----------
        watches
            Whether it watches the archive when no other worker does.
        healthcheck
            Whether it answers on PREFECT_WORKER_WEBSERVER_PORT.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked_to_end.set)
        take = self._worker.get_and_submit_flow_runs

        async def take_unless_ending() -> object:
            return [] if self._asked_to_end.is_set() else await take()

        # Prefect has no other way to tell a worker to take no more, or to start its processes otherwise.
        self._worker.get_and_submit_flow_runs = take_unless_ending  # type: ignore[method-assign, assignment]
        self._worker.run = warm_runs.run_forked  # type: ignore[method-assign, assignment]
        await asyncio.to_thread(warm_runs.warm_up)
        await self._bury_at_last()
        working = asyncio.ensure_future(self._worker.start(with_healthcheck=healthcheck, printer=_say))
        ending = asyncio.ensure_future(self._asked_to_end.wait())
        parts: set[asyncio.Future[Any]] = {working, ending}
        if watches:
            parts.add(loop.run_in_executor(None, self._watch(take_unless_ending).run, self._watch_ended))
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        self._asked_to_end.set()
        self._watch_ended.set()
        if not working.done():
            await self._drain()
            working.cancel()
        await asyncio.gather(*parts, return_exceptions=True)
        try:
            await asyncio.to_thread(self.bury)
        except httpx.HTTPError as error:
            _log.warning("the server could not be told which runs were left: %s", error)
        for part in done:
            part.result()

    def _watch(self, take: Callable[[], Awaitable[object]]) -> ArrivalLoop:
        """Return the watch of the archive, at which what is to be run is taken without waiting for a poll."""
        loop = asyncio.get_running_loop()
        taking: set[asyncio.Future[object]] = set()

        def take_now() -> None:
            task = asyncio.ensure_future(take())
            taking.add(task)
            task.add_done_callback(taking.discard)

        return arrival_loop(self.dead_runs, lambda: loop.call_soon_threadsafe(take_now))

    async def _bury_at_last(self) -> None:
        """Bury before anything is taken; a server that is away is waited for."""
        while not self._asked_to_end.is_set():
            try:
                return await asyncio.to_thread(self.bury)
            except httpx.HTTPError as error:
                _log.warning("the Prefect server does not answer (%s): asked again", type(error).__name__)
                await asyncio.sleep(TRY_SECONDS)

    async def _drain(self) -> None:
        """Wait for the runs under way."""
        longest = f"{self._grace:.0f} s at most"
        _say(f"asked to end: no more runs are taken; waiting for {len(self.held())}, {longest}")
        deadline = asyncio.get_running_loop().time() + self._grace
        while self.held() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(LOOK_SECONDS)

    def bury(self) -> None:
        """Report the runs of this worker that have no process any more as crashed."""
        records = open_records(self._settings.records_url)
        try:
            with get_client(sync_client=True) as client:
                self.dead_runs.free_own(client, records, _say)
        finally:
            records.close()


def worker_name(pool: str) -> str:
    """Return the name under which this machine's worker of a pool is known at Prefect."""
    return f"{pool}@{socket.gethostname()}"


def arrival_loop(dead_runs: DeadRuns, launched: Callable[[], object]) -> ArrivalLoop:
    """Return the watch of the archive.

    Parameters
    ----------
    dead_runs
        Ends runs that nobody works on.
    launched
        Told when runs were started.
    """
    from deploy.runs.launcher import PrefectLauncher
    from flows.arrivals.loop import ArrivalLoop
    from flows.audit.witnessing import tell_witnesses
    from flows.launching import RUN_SECONDS
    from flows.promotion.asked import AskedActs, is_asked
    from services.wiring import connect, witnesses_of

    launcher = PrefectLauncher(RUN_SECONDS)

    def free(log: Log) -> None:
        dead_runs.free(launcher.client, log, _say)

    def tell_head(records: Records) -> None:
        tell_witnesses(witnesses_of(Settings()), records)

    holder = f"{socket.gethostname()}/{os.getpid()}/{uuid4()}"
    return ArrivalLoop(
        lambda: connect(Settings()),
        launcher,
        holder,
        free=free,
        launched=launched,
        tell_head=tell_head,
        asked=is_asked,
        act=lambda services: AskedActs(services).do(),
    )


def _say(text: str) -> None:
    _log.info(text)


def main() -> None:
    """Be a worker until told to end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pool", default="organloop", help="work pool")
    parser.add_argument("--queue", action="append", required=True, help="work queue; may be given again")
    parser.add_argument("--at-once", type=int, default=1, help="runs at a time")
    parser.add_argument("--watch", action="store_true", help="watch the archive when no other worker does")
    parser.add_argument("--no-health", action="store_true", help="open no port for probes")
    parser.add_argument(
        "--grace-seconds", type=float, default=1200.0, help="longest wait for runs when asked to end, seconds"
    )
    asked = parser.parse_args()
    os.umask(OWNER_ONLY)
    settings = Settings()
    logs.set_up(settings.log_format)
    for name in ("deploy", "flows"):
        logging.getLogger(name).setLevel(logging.INFO)

    async def work() -> None:
        worker = PoolWorker(asked.pool, asked.queue, asked.at_once, asked.grace_seconds, settings)
        await worker.run(watches=asked.watch, healthcheck=not asked.no_health)

    asyncio.run(work())


if __name__ == "__main__":
    main()
