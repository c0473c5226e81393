"""Where a training run is, kept on disk so that a killed one goes on."""

from __future__ import annotations

import io
import os
import zipfile
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


def whole_state(content: bytes) -> dict[str, Any] | None:
    """Return what `torch.save` wrote, on the CPU; None if a bit of it is not as it was written.

    torch itself does not look: a flipped bit of a weight would be another weight.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as file:
            if file.testzip() is not None:  # torch writes each tensor's checksum
                return None
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception:  # damage may break anything in either reader
        return None
    return state


def read_state(keep: Keep) -> Mapping[str, Any] | None:
    """Return what is kept of a run; None if nothing is.

    Raises
    ------
    StorageFailed
        If the file cannot be read or is damaged: deleting it starts the run again.
    """
    damaged = f"what is kept of the training run cannot be read; delete {keep.path} to start it again"
    try:
        content = keep.path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageFailed(damaged) from error
    state = whole_state(content)
    if state is None:
        raise StorageFailed(damaged)
    return state


def write_state(keep: Keep, state: Mapping[str, object]) -> None:
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
