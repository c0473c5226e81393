"""The local stack's Prefect server."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

from deploy import local_process

START_SECONDS = 90.0


def api_url(port: int) -> str:
    """Return the address flows are reported to (PREFECT_API_URL)."""
    return f"http://127.0.0.1:{port}/api"


def healthy(port: int) -> bool:
    """Tell whether the server answers."""
    try:
        with urllib.request.urlopen(f"{api_url(port)}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def start(home: Path, port: int) -> int:
    """Start the server on 127.0.0.1, its database under ``home``; return its process id.

    Raises
    ------
    StartFailed
        If it does not answer in time; the message ends with its log.
    """
    log = home / "logs" / "prefect.log"
    env = os.environ | {
        "PREFECT_HOME": str((home / "prefect").resolve()),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_URL": api_url(port),
        "PREFECT_SERVER_API_HOST": "127.0.0.1",
        "DO_NOT_TRACK": "1",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    pid = local_process.start(command, log=log, env=env)
    local_process.wait_until(
        lambda: healthy(port), pid=pid, log=log, name="The Prefect server", deadline_seconds=START_SECONDS
    )
    return pid
