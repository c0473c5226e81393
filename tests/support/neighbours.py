"""Threads that outlive a test, so that no test depends on what ran before it in the same process."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parents[2]
DRAINED_SECONDS = 10.0
"""A server that runs takes what is left in less."""
OURS = tuple(f"{ROOT / part}/" for part in ("models", "services", "flows", "deploy", "tests"))


def threads_of_ours() -> dict[threading.Thread, str]:
    """Return the threads, apart from this one, that run code of this repository, and where they are."""
    frames = sys._current_frames()
    here = threading.current_thread()
    return {
        thread: place
        for thread in threading.enumerate()
        if thread is not here and (place := _place(frames.get(thread.ident or 0)))
    }


def left_running(before: Collection[threading.Thread], patience_seconds: float) -> list[str]:
    """Return the threads of ours that are new and do not end, each with its name and place."""
    end = time.monotonic() + patience_seconds
    while True:
        left = {thread: place for thread, place in threads_of_ours().items() if thread not in before}
        if not left or time.monotonic() >= end:
            return [f"{thread.name} at {place}" for thread, place in left.items()]
        time.sleep(0.01)


def silence_prefect() -> None:
    """Close Prefect's connection for events, which pings its server with numbers from the global `random`.

    A flow that was called in this process leaves it open. Hypothesis seeds the global `random` and gives up
    when somebody else draws from it. The next flow opens another one.
    """
    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker

        # There is no loop here; a connection to a server that has ended never closes, and pings nobody.
        EventsWorker.drain_all(DRAINED_SECONDS, at_exit=False)  # type: ignore[unused-coroutine]


def _place(frame: FrameType | None) -> str:
    """Return the innermost line of ours in a stack; nothing if there is none."""
    while frame is not None:
        if frame.f_code.co_filename.startswith(OURS):
            return f"{Path(frame.f_code.co_filename).relative_to(ROOT)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""
