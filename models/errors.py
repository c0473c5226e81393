"""Every error Organloop raises on purpose.

::

    OrganloopError
    ├── Refused             the data cannot be used safely (code, detail, measured); exit 3
    ├── InvalidRelease      a release, trunk or head is not what its digest says
    ├── ProofFailed         an object read back differs from what was meant; nothing was sent
    ├── StorageFailed       a disk is full or not writable; nothing half-written was left
    │   ├── ReadFailed           a file vanished, changed or cannot be read (worth trying again)
    │   └── StoredDiffers        the archive holds another object under the UID of ours
    ├── WitnessFailed       a witness could not be told the log's head, or not asked (worth trying again)
    ├── NotTold             people could not be told what waits for them (worth trying again)
    ├── LeaseLost           another process has taken this one's place; nothing was put on record
    ├── PacsFailed          the archive answered with an error, or not as it should
    │   └── PacsUnavailable      it did not answer, or is busy (worth trying again)
    └── ServingFailed       the segmenter could not answer
        ├── ServingUnavailable   no server, or the release is not loaded (worth trying again)
        ├── ServingTimedOut      no answer within the deadline (worth trying again)
        └── ServingRejected      the server refused the request (not worth trying again)

Messages carry UIDs and numbers, never a patient's name or pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class OrganloopError(Exception):
    """Root of all errors raised on purpose."""


@dataclass(frozen=True)
class Refusal:
    """What a verb says where the data cannot be used safely; its fields as `Refused`."""

    code: str
    detail: str
    measured: Mapping[str, object]


class Refused(OrganloopError):
    """The data cannot be used safely.

    Parameters
    ----------
    code
        Reason code, stable across versions (`models.series.verdict.Code` for geometry).
    detail
        One sentence for a person, without patient data.
    measured
        Numbers behind the refusal; the unit is in each key, e.g. ``gap_mm``.
    """

    def __init__(self, code: str, detail: str, measured: Mapping[str, object] | None = None) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = str(code)
        self.detail = detail
        self.measured: dict[str, Any] = dict(measured or {})

    @property
    def said(self) -> Refusal:
        """What is said of it."""
        return Refusal(self.code, self.detail, self.measured)


class InvalidRelease(OrganloopError):
    """A release, trunk or head is not what its digest says, or is incomplete."""


class TrainingDiverged(OrganloopError):
    """Numbers ran away while weights were learnt; nothing of it is kept."""


class ProofFailed(OrganloopError):
    """An object read back differs from what was meant; nothing was sent."""


class StorageFailed(OrganloopError):
    """A disk is full or not writable; nothing half-written was left."""


class ReadFailed(StorageFailed):
    """A file that was listed or named vanished, was changed or cannot be read. Worth trying again."""


class StoredDiffers(StorageFailed):
    """The archive holds another object under the UID of ours, or changed what it took.

    Parameters
    ----------
    sop_instance_uid
        Of the object.
    detail
        What was found, in words.
    """

    def __init__(self, sop_instance_uid: str, detail: str) -> None:
        super().__init__(detail)
        self.sop_instance_uid = sop_instance_uid


class WitnessFailed(OrganloopError):
    """A witness could not be told the head of the log, or what it was told cannot be read."""


class NotTold(OrganloopError):
    """People could not be told what waits for them."""


class LeaseLost(OrganloopError):
    """Another process has taken this one's place; nothing was put on record. Not worth trying again."""


class PacsFailed(OrganloopError):
    """The archive answered with an error, or not as it should."""


class PacsUnavailable(PacsFailed):
    """The archive did not answer, not to the end, or is busy. Worth trying again."""


class ServingFailed(OrganloopError):
    """The segmenter could not answer."""


class ServingUnavailable(ServingFailed):
    """No server answers, or the release asked for is not loaded. Worth trying again."""


class ServingTimedOut(ServingFailed):
    """No answer within the deadline. Worth trying again."""


class ServingRejected(ServingFailed):
    """The server refused the request. Not worth trying again."""
