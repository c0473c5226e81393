"""Where the tests' files lie: in memory if there is enough, for no test can cut the power.

What the program writes it forces to the disk, as it must; tests that record much take a sixth longer there. A
process that is killed leaves the same in memory as on a disk.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
NEEDED_BYTES = 8 * 1024**3
"""What a run leaves until it ends is a fraction of it."""


def use_memory() -> None:
    """Let pytest make its folders in memory; who names a place, or has little memory, keeps the disk."""
    if MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and min(_free_there(), _available()) >= NEEDED_BYTES:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def _free_there() -> int:
    return shutil.disk_usage(MEMORY).free


def _available() -> int:
    """Return the bytes of memory that the kernel could give without swapping."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0
