"""The loop that notices what comes to the archive: of all workers one watches, another when that one dies.

Idle, a look is one question to the archive. A Prefect run is started when there is work for one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date
from threading import Event
from typing import TypeVar

from flows.arrivals.query import retrieve
from flows.arrivals.rules import ARRIVING
from flows.arrivals.watch import UNFINISHED, look, read_on, submit, take_in
from flows.launching import Launcher
from models.errors import LeaseLost, OrganloopError, PacsFailed
from services.records.entries.arrivals import ArrivalState
from services.records.entries.leases import Lease
from services.records.port import Records
from services.wiring import Services
from services.witnesses.port import EVERY_SECONDS

T = TypeVar("T")

WATCH = "watch-arrivals"
"""Name of the lease."""
LEASE_SECONDS = 30.0
"""After so long another worker follows one that died."""
RENEW_SECONDS = 10.0
TRY_SECONDS = 5.0
"""Between two tries to take the lease, or to do what did not work."""
FOLLOW_SECONDS = 2.0
"""Between two looks at what waits or is worked on, and for acts that people have asked for."""
AGAIN_SECONDS = 10.0
"""Between two looks at what still arrives; the feed tells at once when a study is complete, and might be
restarted before it does."""
RETRIEVE_SECONDS = 60.0
"""Between two queries of a PACS."""
FREE_SECONDS = 60.0
"""Between two looks for runs whose process is gone."""

_OPEN = (ArrivalState.WAITING, ArrivalState.SUBMITTED)

_log = logging.getLogger(__name__)


@dataclass
class _Known:
    """What was seen, and when what is due again, in seconds of the clock."""

    cursor: int | None = None
    day: date | None = None
    open: bool = True
    """Whether something waits or is worked on."""
    follow_at: float = 0.0
    arriving_at: float = 0.0
    incomplete_at: float = 0.0
    retrieve_at: float = 0.0
    free_at: float = 0.0
    tell_at: float = 0.0
    told: Future[None] | None = None
    asked_at: float = 0.0
    acted: Future[None] | None = None
    renew_at: float = 0.0
    retrieved: Future[None] | None = None
    trouble: dict[str, str] = field(default_factory=dict)
    """What is in the way now, by who is; empty where nothing is."""
    said: set[str] = field(default_factory=set)
    """At the look before."""
    saying: set[str] = field(default_factory=set)


class ArrivalLoop:
    """Watches the archive while it holds the lease; for one thread.

    Parameters
    ----------
    connect
        Makes the services; called anew after a failure.
    launcher
        Starts the runs.
    holder
        Names this process, and no other, in the lease.
    free
        Ends runs whose process is gone; says on record which.
    launched
        Told when runs were started, so that this worker need not wait for its next poll.
    tell_head
        Tells the head of the log to whoever shall remember it.
    asked, act
        Whether people have asked for acts on the pages; does them.
    clock
        Seconds that only grow.
    today
        The date here.
    """

    def __init__(
        self,
        connect: Callable[[], Services],
        launcher: Launcher,
        holder: str,
        *,
        free: Callable[[Records], object] = lambda _: None,
        launched: Callable[[], object] = lambda: None,
        tell_head: Callable[[Records], object] = lambda _: None,
        asked: Callable[[Records], bool] = lambda _: False,
        act: Callable[[Services], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        today: Callable[[], date] = date.today,
    ) -> None:
        self._connect, self._launcher, self._holder = connect, launcher, holder
        self._free, self._launched, self._tell_head = free, launched, tell_head
        self._asked, self._act = asked, act
        self._clock, self._today = clock, today
        self._services: Services | None = None
        self._lease: Lease | None = None
        self._retrieving = ThreadPoolExecutor(1, thread_name_prefix="retrieve")
        self._telling = ThreadPoolExecutor(1, thread_name_prefix="witness")
        self._acting = ThreadPoolExecutor(1, thread_name_prefix="act")
        self._known = _Known()

    def run(self, ended: Event) -> None:
        """Watch until it is told to end; then the lease is given back."""
        try:
            while not ended.wait(self.step()):
                pass
        finally:
            self.close()

    def step(self) -> float:
        """Do what is due, and return how long to wait for the next step, seconds.

        Whatever fails is told, and tried again: a watch that has ended by itself would be noticed by nobody.
        """
        try:
            services = self._watching()
            if services is None:
                return TRY_SECONDS
            self._look(services)
            self._keep(services.records)
        except LeaseLost:
            _log.warning("another worker watches the archive now")
            self._let_go()
            return TRY_SECONDS
        except Exception as error:
            _log.warning("%s", error, exc_info=not isinstance(error, OrganloopError))
            self._start_anew(error)
            return TRY_SECONDS
        return services.feed.every_seconds if services.feed is not None else FOLLOW_SECONDS

    def close(self) -> None:
        """Give the lease back, so that another worker follows at once."""
        for aside in (self._retrieving, self._telling, self._acting):
            aside.shutdown(wait=False, cancel_futures=True)
        services, lease = self._services, self._lease
        self._let_go()
        if services is not None and lease is not None:
            try:
                services.records.release(lease)
            except OrganloopError as error:
                _log.warning("the watch could not be given back: %s", error)
        self._launcher.close()

    def _watching(self) -> Services | None:
        """Return the services to watch with, whose records are fenced; None while another watches."""
        if self._services is None:
            self._services = self._connect()
        if self._lease is None:
            self._lease = self._services.records.acquire(WATCH, self._holder, LEASE_SECONDS)
            if self._lease is None:
                return None
            _log.info("this worker watches the archive")
        return replace(self._services, records=self._services.records.fenced(self._lease))

    def _look(self, services: Services) -> None:
        now, today = self._clock(), self._today()
        if self._known.cursor is None or today != self._known.day:
            take_in(services.feed, services.records, today, services.settings.watch_from, self._tell)
            self._known.cursor, self._known.day = services.records.feed_cursor() or 0, today
            came, quiet = True, True
        else:
            news = read_on(services.feed, services.records, self._known.cursor, self._tell)
            self._known.cursor, came, quiet = news.cursor, bool(news.study_uids), news.quiet
        again = self._again(now, quiet=quiet)
        if came or again or (self._known.open and now >= self._known.follow_at):
            self._follow(services, again)
            self._known.follow_at = now + FOLLOW_SECONDS
        if now >= self._known.retrieve_at and services.source is not None and self._lease is not None:
            self._retrieve(self._lease)
            self._known.retrieve_at = now + RETRIEVE_SECONDS
        if now >= self._known.free_at:
            self._free(services.records)
            self._known.free_at = now + FREE_SECONDS
        if now >= self._known.tell_at:
            self._tell_witnesses(services.records)
            self._known.tell_at = now + EVERY_SECONDS
        if now >= self._known.asked_at:
            if _is_free(self._known.acted) and self._asked(services.records):
                # In a thread of its own: what comes does not wait for a promotion.
                self._known.acted = self._acting.submit(_beside, self._act, services)
            self._known.asked_at = now + FOLLOW_SECONDS

    def _tell_witnesses(self, records: Records) -> None:
        """Tell the log's head in a thread of its own: a witness that is away takes ten seconds to say so."""
        if _is_free(self._known.told):
            self._known.told = self._telling.submit(_beside, self._tell_head, records)

    def _again(self, now: float, *, quiet: bool) -> tuple[str, ...]:
        """Return what incomplete studies are looked at anew now, by code."""
        if now >= self._known.incomplete_at:
            self._known.incomplete_at, self._known.arriving_at = now + RETRIEVE_SECONDS, now + AGAIN_SECONDS
            return UNFINISHED
        if quiet:
            return UNFINISHED
        if self._known.open and now >= self._known.arriving_at:
            self._known.arriving_at = now + AGAIN_SECONDS
            return (ARRIVING,)
        return ()

    def _follow(self, services: Services, again: Collection[str]) -> None:
        """Look after what came and what is under way, and start what is to be done."""
        self._known.said, self._known.saying = self._known.saying, set()
        _, unanswered = look(services, self._launcher, self._tell, again=again)
        started, _ = submit(services, self._launcher, self._tell)
        if started:
            self._launched()
        self._known.open = any(one.state in _OPEN for one in services.records.open_arrivals())
        names = ", ".join(unanswered)
        self._known.trouble["archive"] = f"the archive did not answer for {names}" if unanswered else ""

    def _retrieve(self, lease: Lease) -> None:
        """Query the PACS in a thread of its own: what was pushed does not wait for it."""
        if self._known.retrieved is not None and not self._known.retrieved.done():
            return
        self._known.retrieved = self._retrieving.submit(self._retrieve_now, lease)

    def _retrieve_now(self, lease: Lease) -> None:
        try:
            services = self._connect()
            records = services.records.fenced(lease)
            not_sent = retrieve(services.source, services.archive, records, self._today(), _log.info)
            names = ", ".join(not_sent)
            self._known.trouble["pacs"] = f"the PACS did not send {names}" if not_sent else ""
        except LeaseLost:
            pass  # who watches now asks the PACS
        except Exception as error:
            _log.warning("%s", error, exc_info=not isinstance(error, OrganloopError))
            self._known.trouble["pacs"] = str(error)

    def _keep(self, records: Records) -> None:
        """Keep the lease, and put on record that the archive was watched, every few seconds."""
        now = self._clock()
        if now < self._known.renew_at or self._lease is None:
            return
        records.renew(self._lease, LEASE_SECONDS)
        records.note_watch("; ".join(filter(None, self._known.trouble.values())))
        self._known.renew_at = now + RENEW_SECONDS

    def _start_anew(self, error: Exception) -> None:
        """Forget what was known, so that nothing half-done is built upon; the lease is kept if it can be."""
        services, lease = self._services, self._lease
        self._let_go()
        if services is None or lease is None:
            return
        self._lease = lease
        if isinstance(error, PacsFailed):
            self._services = services  # it comes back by itself
        try:
            services.records.renew(lease, LEASE_SECONDS)
            services.records.fenced(lease).note_watch(f"{type(error).__name__}: {error}")
        except OrganloopError as lost:
            _log.warning("the watch could not be kept: %s", lost)
            self._lease = None

    def _let_go(self) -> None:
        self._services = self._lease = None
        self._launcher.close()
        self._known = _Known()  # all is looked at in the next step

    def _tell(self, message: str) -> None:
        """Log what has not been said at the look before: a look every second would repeat itself."""
        self._known.saying.add(message)
        if message not in self._known.said:
            _log.info(message)


def _is_free(before: Future[None] | None) -> bool:
    return before is None or before.done()


def _beside(work: Callable[[T], object], given: T) -> None:
    """Do something beside the watch; what fails is told, and tried again when it is due."""
    try:
        work(given)
    except LeaseLost:
        pass  # who watches now does it
    except Exception as error:
        _log.warning("%s", error, exc_info=not isinstance(error, OrganloopError))
