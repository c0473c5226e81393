"""Acts that take a while: done beside the request, one at a time, and what became of the last one."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from flows.progress import Progress
from models.errors import OrganloopError, Refused
from models.people import Person

_LOG = logging.getLogger(__name__)

Work = Callable[[Progress], str]
"""Does the act, tells each step, and returns what is so then, one sentence."""


@dataclass(frozen=True)
class Act:
    """One act.

    Parameters
    ----------
    what
        In words: ``promotes release 8``.
    release
        Which it is about.
    who
        Whose act it is.
    since_ms
        When it began, milliseconds since 1970.
    step
        What is being done; of an act that has ended, what is so now, or why it came to nothing.
    ended
        Whether it has.
    code
        Of a refusal, or `failed`; empty of an act that is done or at work.
    """

    what: str
    release: int
    who: str
    since_ms: int
    step: str = "beginning"
    ended: bool = False
    code: str = ""


class ActAtWork:
    """The act that is being done, or the last one that was: it is told on the pages until the next begins."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._act: Act | None = None
        self._thread: threading.Thread | None = None

    @property
    def act(self) -> Act | None:
        """The act; None before the first since this process began."""
        with self._lock:
            return self._act

    def begin(self, what: str, release: int, who: Person, work: Work) -> None:
        """Begin an act.

        Raises
        ------
        Refused
            `act-at-work` while another is being done: whose, and which.
        """
        with self._lock:
            going = self._act
            if going is not None and not going.ended:
                detail = f"{going.who} {going.what} just now; wait for it to end, then look again"
                raise Refused("act-at-work", detail, {"who": going.who, "release": going.release})
            self._act = Act(what, release, who.name, int(time.time() * 1000))
        self._thread = threading.Thread(target=self._do, args=(work,), name="act", daemon=True)
        self._thread.start()

    def wait(self) -> None:
        """Wait for the end of the act that is being done."""
        if self._thread is not None:
            self._thread.join()

    def _do(self, work: Work) -> None:
        try:
            self._end(work(lambda step: self._say(step=step)))
        except Refused as refusal:
            self._end(refusal.detail, refusal.code)
        except OrganloopError as error:
            self._end(str(error), "failed")
        except Exception as error:
            _LOG.exception("an act came to nothing")
            self._end(f"it came to nothing, and the pages' log says more: {error}", "failed")

    def _end(self, step: str, code: str = "") -> None:
        self._say(step=step, ended=True, code=code)

    def _say(self, **changed: object) -> None:
        with self._lock:
            assert self._act is not None
            self._act = replace(self._act, **changed)  # type: ignore[arg-type]
