"""Processor time of a server on this machine, as the kernel counts it; for figures that are only shown."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

SESSION, USER, SYSTEM = 3, 11, 12
"""Fields of /proc/PID/stat behind the program's name (proc(5): 6, 14 and 15, counted from 1)."""


def session_seconds(pid: int) -> float | None:
    """Return the processor seconds of a process that leads a session, and of all that it started.

    Parameters
    ----------
    pid
        Its process id, which is the session's.

    Returns
    -------
    float or None
        User and system time until now, to the kernel's tick (10 ms); None if no such process leads a session.
    """
    ticks, leads = 0, False
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[SESSION]) == pid:
                ticks += int(fields[USER]) + int(fields[SYSTEM])
                leads = leads or folder.name == str(pid)
    return ticks / os.sysconf("SC_CLK_TCK") if leads else None
