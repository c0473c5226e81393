"""Runs that are not finished: where they lie, out of which a patient is taken, which are given up."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Collection
from pathlib import Path

from services.files import storage_errors

CASES = "cases"
"""Folder of a run's prepared cases, each ``<case_id>.npz``, or half-written with that in its name."""

FEATURES = "features"
"""Folder of what a run of tuning began with of the features kept while serving."""

ABANDONED_DAYS = 7.0
"""A run that nobody took up for so long is given up: what it learnt from has changed, or nobody wants it."""

SECONDS_A_DAY = 86400.0


def run_folder(home: Path, key: str) -> Path:
    """Return where the training run of a key is kept until its candidate is published."""
    return home / "training" / key[:16]


def tuning_folder(home: Path, key: str) -> Path:
    """Return where the tuning run of a key is kept until its candidate is published."""
    return home / "tuning" / key


def give_up_runs(home: Path, key: str = "") -> int:
    """Delete unfinished runs in which nothing was written for `ABANDONED_DAYS`; return how many.

    Parameters
    ----------
    home
        Holds them.
    key
        Of the run that is taken up now: however old it is, it stays.
    """
    oldest = time.time() - ABANDONED_DAYS * SECONDS_A_DAY
    taken_up = {run_folder(home, key), tuning_folder(home, key)} if key else set()
    runs = [one for kind in ("training", "tuning") for one in home.glob(f"{kind}/*") if one.is_dir()]
    given_up = [run for run in runs if run not in taken_up and _written(run) < oldest]
    for run in given_up:
        shutil.rmtree(run, ignore_errors=True)  # what stays is deleted the next time
    return len(given_up)


def _written(run: Path) -> float:
    """Return when something was written last under a folder; held features are as old as they are."""
    times = [run.stat().st_mtime]
    for path in run.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            times.append(path.stat().st_mtime)
    return max(times)


def erase_runs(home: Path, case_ids: Collection[str]) -> int:
    """Delete every unfinished run that may have seen one of these cases.

    A training run names its cases. Tuning does not, nor what is kept of which older cases matter: minutes
    make them again, so all of it goes, also where an erasure that was cut short is repeated and no case is
    left to name.

    Returns
    -------
    int
        Runs and files deleted.

    Raises
    ------
    StorageFailed
        If a file cannot be deleted.
    """
    holding = [
        run
        for run in home.glob("training/*")
        if any(case_id in path.name for path in run.glob(f"{CASES}/*") for case_id in case_ids)
    ]  # also a file that was being written when its run was killed
    holding += home.glob("tuning/*")
    with storage_errors("an unfinished run", "cannot be deleted"):
        for run in holding:
            if run.is_dir():
                shutil.rmtree(run)
            else:
                run.unlink(missing_ok=True)
    return len(holding)
