"""Training runs that are not finished: where each is kept, and out of which a patient is taken."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from models.errors import StorageFailed

CASES = "cases"
"""Folder of a run's prepared cases, each ``<case_id>.npz``."""


def run_folder(home: Path, key: str) -> Path:
    """Return where the run of a key is kept until its candidate is published."""
    return home / "training" / key[:16]


def erase_runs(home: Path, case_ids: Collection[str]) -> int:
    """Delete every unfinished run that holds one of these cases: its weights have seen it.

    Returns
    -------
    int
        Runs deleted.

    Raises
    ------
    StorageFailed
        If a file cannot be deleted.
    """
    wanted = {f"{case_id}.npz" for case_id in case_ids}
    holding = [
        run for run in home.glob("training/*") if any(p.name in wanted for p in run.glob(f"{CASES}/*"))
    ]
    try:
        for run in holding:
            shutil.rmtree(run)
    except OSError as error:
        raise StorageFailed(f"an unfinished training run cannot be deleted: {error.strerror}") from error
    return len(holding)
