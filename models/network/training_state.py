"""Where a training run is, kept on disk so that a killed one goes on."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from models.errors import StorageFailed


@dataclass(frozen=True)
class Keep:
    """Where and how often a run is kept.

    Parameters
    ----------
    path
        The file. It belongs to one run: whoever names it names it by all the run depends on.
    every
        Steps between two writes.
    """

    path: Path
    every: int = 50


def read_state(keep: Keep) -> Mapping[str, Any] | None:
    """Return what is kept of a run; None if nothing is.

    Raises
    ------
    StorageFailed
        If the file cannot be read: deleting it starts the run again.
    """
    try:
        return torch.load(keep.path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise StorageFailed(
            f"what is kept of the training run cannot be read; delete {keep.path} to start it again"
        ) from error


def write_state(keep: Keep, state: Mapping[str, Any]) -> None:
    """Keep a run: all of it or, if this is cut, what was kept before.

    Raises
    ------
    StorageFailed
        If the disk is full or not writable.
    """
    aside = keep.path.with_name(f".{keep.path.name}.{os.getpid()}")
    try:
        keep.path.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(keep.path)
    except (OSError, RuntimeError) as error:
        aside.unlink(missing_ok=True)
        raise StorageFailed(f"the training run cannot be kept: {error}") from error
