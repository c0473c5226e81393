"""The whole log, verified beside the requests: as far as it has come, and anew each hour."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import datetime

from deploy.pages.site import Site
from models.errors import StorageFailed
from services.records.chain import AuditFault
from services.records.chain_look import Looked, look_on

ANEW_SECONDS = 3600.0
"""What was verified is looked at again after so long: a line may be changed behind one's back."""


@dataclass(frozen=True)
class Verification:
    """What is known of the log as a whole.

    Parameters
    ----------
    number
        The last line that was looked at.
    at
        When; None while nothing was.
    faults, more
        What is not as it was recorded, and how many faults there are beside.
    going
        The line that a look has come to which still goes on; None where none does.
    failed
        Why the last look ended early; empty where it did not.
    """

    number: int
    at: datetime | None
    faults: tuple[AuditFault, ...]
    more: int
    going: int | None
    failed: str


class LogLook:
    """Verifies the log of a site in one thread at a time, when somebody looks.

    Parameters
    ----------
    site
        With the log.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._lock = threading.Lock()
        self._known, self._now = Looked(), Looked()
        self._lost_faults: tuple[AuditFault, ...] = ()
        self._anchor = (0, "")
        self._at: datetime | None = None
        self._began = -ANEW_SECONDS
        self._failed = ""
        self._thread: threading.Thread | None = None

    def look(self) -> Verification:
        """Say what is known, and have the rest looked at.

        Raises
        ------
        StorageFailed
            If the records cannot be reached.
        """
        head = self._site.records.head()
        number = 0 if head is None else head.number
        with self._lock:
            anew = self._at is None or time.monotonic() - self._began > ANEW_SECONDS
            if self._thread is None and (anew or number != self._known.number):
                self._thread = threading.Thread(target=self._work, name="log-look", daemon=True)
                self._thread.start()
            shown = self._known
            going = self._now.number if self._thread is not None else None
            faults = (*self._lost_faults, *shown.faults)
            return Verification(shown.number, self._at, faults, shown.more, going, self._failed)

    def wait(self) -> None:
        """Wait until no look goes on."""
        thread = self._thread
        if thread is not None:
            thread.join()

    def _work(self) -> None:
        try:
            self._look_on()
        except StorageFailed as error:
            self._failed = str(error)
        else:
            self._failed = ""
        finally:
            with self._lock:
                self._thread = None

    def _look_on(self) -> None:
        begins_anew = time.monotonic() - self._began > ANEW_SECONDS
        looked = Looked() if begins_anew else self._known
        began = time.monotonic() if begins_anew else self._began
        while (further := look_on(self._site.records, looked)) != looked:
            looked = self._now = further
        lost = self._lost()
        with self._lock:
            self._known, self._lost_faults = looked, lost
            self._began, self._at = began, datetime.now().astimezone()
            if not lost:
                self._anchor = max(self._anchor, (looked.number, looked.digest))

    def _lost(self) -> tuple[AuditFault, ...]:
        """Return what became of the last line that was verified: the end may have been cut off since."""
        number, digest = self._anchor
        if not number:
            return ()
        there = self._site.records.digests([number]).get(number)
        if there == digest:
            return ()
        code, detail = ("truncated", "is not there") if there is None else ("line-changed", "bears another")
        return (AuditFault(code, f"event {number}", f"the digest that was verified before {detail}"),)
