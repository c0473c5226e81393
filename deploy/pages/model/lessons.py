"""What the next night learns: worked out in a process of its own, which labels may fill and keep busy."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from threading import Lock

from deploy.pages.model.beside import Answer, Beside
from deploy.pages.site import Site
from flows.tuning.tonight import Tonight
from models.errors import OrganloopError
from services.records.events import arrivals, corrections, operations, reading, results
from services.settings import Settings

LONGEST_SECONDS = 6 * 3600.0
"""An answer is worked out anew after so long: files may have changed that no line of the log speaks of."""

NICE = 15
"""Readers' pages go first."""

TEACH_NOTHING = frozenset(
    kind.what
    for kind in (
        arrivals.StudyGone,
        arrivals.StudyIgnored,
        arrivals.ArrivalFailed,
        arrivals.StudyRenewed,
        arrivals.StudyRefused,
        arrivals.CorrectionRefused,
        arrivals.SavesArrived,
        arrivals.PacsQueried,
        arrivals.StudyNotSent,
        results.ResultRecorded,
        results.ResultKept,
        results.KeptResultSent,
        results.ResultDiffers,
        results.StudySegmented,
        results.AuditDrawn,
        reading.StudyListed,
        corrections.SavedInViewer,
        operations.BackupTaken,
        operations.BackupFailed,
        operations.RunFreed,
        operations.PlaceFreed,
        operations.NightStarted,
        operations.NightStopped,
    )
)
"""Kinds of events after which a night learns what it would have before: segmenting is most of the log."""


class NotWorkedOut(OrganloopError):
    """What the next night would learn could not be worked out."""


class Lessons:
    """What the next night of a site would learn, as far as it is known.

    Parameters
    ----------
    site
        With the records; labels are read by another process.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self.beside: Beside[Tonight] = Beside(lambda: in_own_process(site.settings), LONGEST_SECONDS)
        self._lock = Lock()
        self._changed, self._seen = -1, -1

    def look(self) -> Answer[Tonight]:
        """Say what is known; have it worked out where something came that may teach otherwise."""
        head = self._site.records.head()
        number = 0 if head is None else head.number
        with self._lock:
            if self._seen < 0 or not self._site.records.kinds_since(self._seen) <= TEACH_NOTHING:
                self._changed = number
            self._seen = number
            key = self._changed
        return self.beside.look(key)


def in_own_process(settings: Settings) -> Tonight:
    """Return the document of the `tonight` verb, made by a process that ends with it.

    Raises
    ------
    NotWorkedOut
        If there is none, and why.
    """
    try:
        with ProcessPoolExecutor(1, get_context("spawn"), os.nice, (NICE,)) as pool:
            found = pool.submit(_tonight, settings).result()
    except BrokenProcessPool as error:
        detail = "the process that reads labels was ended: it may lack memory; `organloop tonight` says more"
        raise NotWorkedOut(detail) from error
    if isinstance(found, str):
        raise NotWorkedOut(found)
    return found


def _tonight(settings: Settings) -> Tonight | str:
    """Return what the verb answers, or why it does not: errors of ours do not travel between processes."""
    from flows.tuning.plan import AUTO, tuning_settings
    from flows.tuning.tonight import tonight
    from services.wiring import connect_in_process

    try:
        return tonight(connect_in_process(settings), tuning_settings(AUTO, settings))
    except OrganloopError as error:
        return str(error)
