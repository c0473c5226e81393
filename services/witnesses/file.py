"""A file as a witness: lines are only ever added, on a volume that is not the database's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.errors import WitnessFailed
from services.witnesses.port import Head, heads_in, words


@dataclass(frozen=True)
class FileWitness:
    """Keeps a line for each head; see `services.witnesses.port.Witness`.

    Parameters
    ----------
    path
        The file; its folder must be there, for a volume that is not mounted must be missed.
    """

    path: Path

    @property
    def name(self) -> str:
        """What it is called."""
        return f"file {self.path.name}"

    def tell(self, head: Head, at: datetime) -> None:
        """Add a line, flushed to the disk."""
        line = f"{at.isoformat()} {words(head)}\n".encode()
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise WitnessFailed(
                f"the witness {self.path.name} cannot be written ({error.strerror}): is its volume there?"
            ) from error

    def remembered(self) -> tuple[Head, ...]:
        """Return the heads of all lines."""
        try:
            return tuple(heads_in(self.path.read_text("ascii", "replace")))
        except OSError as error:
            raise WitnessFailed(
                f"the witness {self.path.name} cannot be read ({error.strerror}): is its volume there?"
            ) from error
