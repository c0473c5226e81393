"""How much may come of one study: asked before it is fetched, and counted while it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from models.errors import Refused
from models.series.verdict import Code

MIB = 1024**2


@dataclass(frozen=True)
class StudyLimits:
    """The most that is fetched of one study.

    Parameters
    ----------
    objects
        How many objects.
    mebibytes
        All files together.
    """

    objects: int = 20_000
    mebibytes: int = 8_192

    def require(self, objects: int, size_bytes: int) -> None:
        """Refuse a study by what the archive says of its size.

        Parameters
        ----------
        objects, size_bytes
            As the archive counts; 0 where it does not say.

        Raises
        ------
        Refused
            `too-large`; nothing of it has been fetched.
        """
        if objects > self.objects or size_bytes > self.mebibytes * MIB:
            raise self.refusal(objects, size_bytes)

    def refusal(self, objects: int, size_bytes: int) -> Refused:
        """Return the refusal of a study that is larger."""
        return Refused(
            Code.TOO_LARGE,
            "The study is larger than ORGANLOOP_STUDY_LIMIT_OBJECTS or ORGANLOOP_STUDY_LIMIT_MIB allow.",
            {
                "objects": objects,
                "mebibytes": -(-size_bytes // MIB),
                "limit_objects": self.objects,
                "limit_mebibytes": self.mebibytes,
            },
        )


ORDINARY = StudyLimits()


class Allowance:
    """What came of a study so far, whatever the archive said of its size.

    Parameters
    ----------
    limits
        The most that may come.
    """

    def __init__(self, limits: StudyLimits) -> None:
        self._limits = limits
        self._objects, self._bytes = 0, 0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count what comes in this; where it fails it comes again, and counts once."""
        before = self._objects, self._bytes
        try:
            yield
        except Exception:
            self._objects, self._bytes = before
            raise

    def an_object(self) -> None:
        """Count an object. Raises `Refused`, `too-large`."""
        self._objects += 1
        self._require()

    def counted(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Pass on what comes, and count it. Raises `Refused`, `too-large`."""
        for chunk in chunks:
            self._bytes += len(chunk)
            self._require()
            yield chunk

    def _require(self) -> None:
        self._limits.require(self._objects, self._bytes)
