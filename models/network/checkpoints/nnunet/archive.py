"""The values of a checkpoint of nnU-Net, each member of whose archive is proved before it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from models.errors import Refused
from models.network.checkpoints.file import load_values
from models.network.checkpoints.proved import BEGINS, proved

MOST_BYTES = 4 << 30
"""The largest networks that nnU-Net plans take 1.5 GB with what their optimiser keeps."""

_NUMPY = (
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray.scalar",  # as numpy 1 wrote it
    "numpy.dtype",
)
"""What genuine files ask for beside tensors: numbers that were logged, none of which is needed."""


class Inert:
    """Stands for a number of numpy that nobody reads: it is made of anything, and keeps nothing."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, _: object) -> None:
        pass


@dataclass(frozen=True, eq=False)
class Archive:
    """A checkpoint's content.

    Parameters
    ----------
    values
        What was saved, by name; numbers of numpy are `Inert`.
    sha256
        Digest of the file that was read, in hex.
    """

    values: Mapping[str, object]
    sha256: str


def is_of_nnunet(path: Path) -> bool:
    """Tell whether a file is a whole checkpoint of nnU-Net; nothing of it is run.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    try:
        return {"network_weights", "init_args"} <= set(read_archive(path).values)
    except Refused:
        return False


def read_archive(path: Path) -> Archive:
    """Read a checkpoint; nothing of it is run.

    The file is read once: what was proved is what is loaded.

    Raises
    ------
    Refused
        `damaged-checkpoint` if a member is not what its checksum says, or the archive is cut off;
        `unsafe-checkpoint` if it asks to run anything; `unreadable-checkpoint` if it is no archive of
        ``torch.save``, or larger than a checkpoint can be.
    OSError
        If the file cannot be read.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        detail = f"the file has {size} bytes; no checkpoint of nnU-Net has more than {MOST_BYTES}"
        raise Refused("unreadable-checkpoint", detail, {"size_bytes": size, "most_bytes": MOST_BYTES})
    content = path.read_bytes()
    if not content.startswith(BEGINS):
        raise Refused(
            "unreadable-checkpoint",
            "the file is no archive of PyTorch; save it again with PyTorch 2 if it is an older checkpoint",
        )
    with torch.serialization.safe_globals([(Inert, name) for name in _NUMPY]):
        values = load_values(proved(content))
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise Refused("unreadable-checkpoint", "the file holds no values by name")
    return Archive(values, hashlib.sha256(content).hexdigest())
