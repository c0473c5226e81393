"""What is asked of whoever starts runs: which deployments and queues there are, and what became of a run."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

SEGMENT = "segment-study/organloop"
INGEST = "ingest-correction/organloop"
NIGHT = "nightly-tuning/organloop"
TUNE = "tune-heads/organloop"
"""The heavy part of a night, a job of its own."""

RUN_SECONDS = 1200
"""A study's run is ended then; one that is said to be running for longer has died, and is started again."""

QUEUE = "default"
URGENT_QUEUE = "stat"
"""Work queue of what goes first."""


class RunState(StrEnum):
    """What became of a run."""

    GOING = "going"
    """Waits for a worker, or runs."""
    DONE = "done"
    FAILED = "failed"
    """By itself, with an error of its own."""
    LATE = "late"
    """Ended because it took too long, which says nothing about what it worked on."""
    LOST = "lost"
    """Ended by somebody, or without a word: crashed, cancelled, unknown, or dead for long."""


class Launcher(Protocol):
    """Starts work that a worker does."""

    def launch(self, deployment: str, source: str, key: str, *, urgent: bool) -> str:
        """Start a run and return its name; the same key starts nothing twice.

        Parameters
        ----------
        deployment
            ``flow/deployment``.
        source
            UID of what the flow works on.
        key
            Of this very attempt.
        urgent
            Whether it goes before the others.
        """

    def state(self, run: str) -> RunState:
        """Return what became of a run."""

    def close(self) -> None:
        """Let go of what is held open; it is opened anew when it is wanted."""
