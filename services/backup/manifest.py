"""What a backup holds, file by file, so that damage is found before anything is overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from models.errors import Refused

NAME = "backup.json"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Manifest:
    """What a backup says of itself.

    Parameters
    ----------
    taken_at
        When, ISO 8601, UTC.
    incumbent
        The release that served; None if none did.
    files
        SHA-256 of every file, by its path within the backup.
    """

    taken_at: str
    incumbent: int | None
    files: Mapping[str, str]

    def to_bytes(self) -> bytes:
        """Return the bytes of the file `NAME`."""
        return (json.dumps(asdict(self), indent=1, sort_keys=True) + "\n").encode()

    @classmethod
    def read(cls, backup: Path) -> Manifest:
        """Read what a backup says of itself.

        Raises
        ------
        Refused
            `not-a-backup` if it says nothing, nothing that can be understood, or names a file outside itself.
        """
        try:
            data: dict[str, Any] = json.loads((backup / NAME).read_bytes())
            read = cls(**data)
            outside = [name for name in read.files if not _is_within(name)]
        except (OSError, ValueError, TypeError) as error:
            raise Refused("not-a-backup", f"{backup} holds no {NAME} that can be read.") from error
        if outside:
            raise Refused("not-a-backup", f"{NAME} names {len(outside)} files outside the backup.")
        return read

    def verify(self, backup: Path) -> None:
        """Compare every file with what was written.

        Raises
        ------
        Refused
            `damaged-backup` if a file is missing or has other bytes; the first is named.
        """
        wrong = [name for name, digest in self.files.items() if digest_of(backup / name) != digest]
        if wrong:
            raise Refused(
                "damaged-backup",
                f"{len(wrong)} of {len(self.files)} files are missing or changed, the first {wrong[0]}.",
                {"damaged": len(wrong), "files": len(self.files)},
            )


def _is_within(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def digest_of(path: Path) -> str | None:
    """Return a file's SHA-256; None if it is not there."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()
