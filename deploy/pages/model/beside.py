"""What takes long is worked out beside the requests: one thread a thing, the last answer kept in memory."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from models.errors import OrganloopError

T = TypeVar("T")

RETRY_SECONDS = 60.0
"""What failed is tried again after so long, while somebody looks."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What is known of a thing.

    Parameters
    ----------
    value
        The last answer; None before the first.
    at
        When it was begun to be worked out.
    newest
        Whether it is of what it was asked for now.
    working
        Whether one is being worked out.
    failed
        Why the last try came to no answer; empty where it did.
    """

    value: T | None
    at: datetime | None
    newest: bool
    working: bool
    failed: str


class Beside(Generic[T]):
    """Works one thing out when somebody looks, and never while the one who looks waits.

    Parameters
    ----------
    work
        Works it out; called in a thread of its own, never twice at once.
    seconds
        An answer older than this is worked out anew at the next look.
    clock
        Seconds that only grow.
    """

    def __init__(
        self, work: Callable[[], T], seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._work, self._seconds, self._clock = work, seconds, clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._value: T | None = None
        self._at: datetime | None = None
        self._key: object = None
        self._tried: tuple[object, float] | None = None
        self._failed = ""

    def look(self, key: object = None) -> Answer[T]:
        """Say what is known; have it worked out where the answer is too old, or was for another key."""
        with self._lock:
            if self._thread is None and self._is_due(key):
                self._tried = key, self._clock()
                self._thread = threading.Thread(target=self._run, args=(key,), daemon=True)
                self._thread.start()
            newest = self._value is not None and self._key == key
            return Answer(self._value, self._at, newest, self._thread is not None, self._failed)

    def forget(self) -> None:
        """Have it worked out anew at the next look: something was done to it."""
        with self._lock:
            self._tried = None

    def wait(self) -> None:
        """Wait until nothing is being worked out."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _is_due(self, key: object) -> bool:
        if self._tried is None or self._tried[0] != key:
            return True
        longest = min(RETRY_SECONDS, self._seconds) if self._failed else self._seconds
        return self._clock() - self._tried[1] > longest

    def _run(self, key: object) -> None:
        began, failed, value = datetime.now().astimezone(), "", None
        try:
            value = self._work()
        except OrganloopError as error:
            failed = str(error)
        except Exception as error:  # the page says so: a thread that ends in silence would be waited for
            _log.exception("what a page shows could not be worked out")
            failed = f"{type(error).__name__}: the log of the pages says more"
        with self._lock:
            self._thread, self._failed = None, failed
            if not failed:
                self._value, self._at, self._key = value, began, key
