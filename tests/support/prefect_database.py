"""An empty database of Prefect, made once for all tests: a server takes longer to make one than to start."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

NAME = "prefect.db"


def laid(home: Path, kept: Path) -> Path:
    """Lay an empty database into the folder of a Prefect server that is not there yet; return the folder.

    Parameters
    ----------
    home
        Of the server.
    kept
        Folder that the processes of this run of the tests share: who comes first makes the database there.
    """
    with (kept / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / NAME).exists():
            _make(kept / NAME)
    home.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kept / NAME, home / NAME)
    return home


def _make(path: Path) -> None:
    """Make one as a server does at its first start."""
    making = path.with_name("making")
    making.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    env = os.environ | {"PREFECT_HOME": str(making)}
    subprocess.run(command, env=env, check=True, capture_output=True)
    (making / NAME).rename(path)
