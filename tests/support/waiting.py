"""Waiting for what a server, a thread or a process does by itself: a condition decides, no clock.

And not waiting for what is thrown away.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from deploy.stack import local_process
from deploy.stack.local_process import LocalProcess

Found = TypeVar("Found")

GUARD_SECONDS = 600.0
"""Ends what hangs. It is no bound on what is waited for: that takes a second, or a minute under load."""


def until(true: Callable[[], Found], what: str | Callable[[], str], *, pause_seconds: float = 0.05) -> Found:
    """Ask until the answer counts as true, and return it.

    Parameters
    ----------
    true
        Asked every ``pause_seconds``.
    what
        What was waited for, if it never came; a function is called then, e.g. to show a log.
    """
    guard = time.monotonic() + GUARD_SECONDS
    while not (found := true()):
        assert time.monotonic() < guard, what if isinstance(what, str) else what()
        time.sleep(pause_seconds)
    return found


def end_at_once(process: LocalProcess | None) -> None:
    """Kill a server and all it started, whose data are thrown away: asked, it takes seconds."""
    if process is not None:
        local_process.stop(process, grace_seconds=0)
