"""Whether the forwarder has worked lately: what its container is asked every minute.

Nothing is imported but what Python brings: the forwarder itself takes seconds of a core to import.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

ALIVE = Path("/tmp/forwarder-alive")
"""Touched by the forwarder whenever it gets on."""
STUCK_SECONDS = 600.0
"""A forwarder that has done nothing for so long is stuck."""


def main() -> int:
    """Exit 0 if one has worked lately, else 1."""
    return 0 if ALIVE.exists() and time.time() - ALIVE.stat().st_mtime < STUCK_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
