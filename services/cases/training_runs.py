"""Runs that are not finished: where training is kept, and out of which a patient is taken."""

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
    """Delete every unfinished run that may have seen one of these cases.

    A training run names its cases. Tuning does not, nor what is kept of which older cases matter: minutes
    make them again, so all of it goes.

    Returns
    -------
    int
        Runs and files deleted.

    Raises
    ------
    StorageFailed
        If a file cannot be deleted.
    """
    wanted = {f"{case_id}.npz" for case_id in case_ids}
    holding = [
        run for run in home.glob("training/*") if any(p.name in wanted for p in run.glob(f"{CASES}/*"))
    ]
    holding += home.glob("tuning/*") if wanted else ()
    try:
        for run in holding:
            if run.is_dir():
                shutil.rmtree(run)
            else:
                run.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"an unfinished run cannot be deleted: {error.strerror}") from error
    return len(holding)
