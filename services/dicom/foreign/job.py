"""What a child is asked to read, and what it answers; as lines of JSON between the two."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from services.dicom.foreign.listing import FileState, ListedFile


class Kind(StrEnum):
    """How files are read."""

    IMAGES = "images"
    """As headers of what may be CT images."""
    SEG = "seg"
    """As a SEG, up to its pixels."""


@dataclass(frozen=True)
class Job:
    """Files to read.

    Parameters
    ----------
    kind
        How.
    paths
        Where they are.
    states
        Size in bytes, and time of the last change in nanoseconds since 1970, of each; none where it was not
        listed before.
    memory_bytes, seconds
        What the job may take beside what the child has taken before.
    """

    kind: Kind
    paths: tuple[str, ...]
    states: tuple[tuple[int, int] | None, ...]
    memory_bytes: int
    seconds: int

    @classmethod
    def of(cls, kind: Kind, files: list[ListedFile], memory_bytes: int, seconds: int) -> Job:
        """Return the job of reading files as they were listed."""
        states = tuple((file.state.size, file.state.modified_ns) if file.state else None for file in files)
        paths = tuple(str(file.path.absolute()) for file in files)  # the child has another folder
        return cls(kind, paths, states, memory_bytes, seconds)

    @property
    def files(self) -> list[ListedFile]:
        """The files, as they were listed."""
        states = (FileState(*state) if state else None for state in self.states)
        return [ListedFile(Path(path), state) for path, state in zip(self.paths, states, strict=True)]

    def line(self) -> bytes:
        """Return it as it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Job:
        """Return what was sent."""
        said = json.loads(line)
        return cls(Kind(said.pop("kind")), **said)


@dataclass(frozen=True)
class Rehearsed:
    """What came of a job.

    Parameters
    ----------
    too_large
        Which of its files, by their index, are too large.
    """

    too_large: tuple[int, ...]

    def line(self) -> bytes:
        """Return it as it is sent."""
        return json.dumps(self.too_large).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Rehearsed:
        """Return what was sent."""
        return cls(tuple(int(index) for index in json.loads(line)))
