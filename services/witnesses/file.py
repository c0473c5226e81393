"""A file as a witness: lines are only ever added, on a volume that is not the database's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from models.errors import WitnessFailed
from models.words import storable
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
        return storable(f"file {self.path.name}")

    def tell(self, head: Head, at: datetime) -> None:
        """Add a line, flushed to the disk; one that a full volume cut short is ended first."""
        line = f"{at.isoformat()} {words(head)}\n".encode()
        try:
            file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    line = b"\n" + line
                while line:  # what is written in part says why at the rest
                    line = line[os.write(file, line) :]
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise WitnessFailed(
                f"the witness {self.path.name} cannot be written ({error.strerror}): is its volume there, "
                "with room on it?"
            ) from error

    def remembered(self) -> tuple[Head, ...]:
        """Return the heads of all lines."""
        try:
            return tuple(heads_in(self.path.read_text("ascii", "replace")))
        except OSError as error:
            raise WitnessFailed(
                f"the witness {self.path.name} cannot be read ({error.strerror}): is its volume there?"
            ) from error
