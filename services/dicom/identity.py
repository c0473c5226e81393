"""UIDs of what we write: a hash of what went in, so that a repeated step makes the same objects."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version

from models.uids import SopUid

SOFTWARE_VERSION = version("organloop")
WRITER_VERSION = "/".join(
    ("7", *(f"{package}-{version(package)}" for package in ("organloop", "highdicom", "pydicom")))
)
"""Changes whenever the same results would be written as other bytes; part of every UID."""


def hashed_uid(*parts: str) -> str:
    """Return a UID that is always the same for the same parts, in the same order.

    Parameters
    ----------
    parts
        Any texts; they cannot run together (``("ab", "c")`` and ``("a", "bc")`` differ).

    Returns
    -------
    str
        ``2.25.`` and the decimal value of an RFC 9562 version 8 UUID; at most 44 characters.

    Notes
    -----
    Source: DICOM PS3.5 B.2, UUID derived UID. 122 bits of SHA-256 make a collision a matter of
    10^18 objects.
    """
    digest = hashlib.sha256(json.dumps(parts).encode()).digest()
    value = int.from_bytes(digest[:16], "big")
    value = (value & ~(0xF << 76)) | (8 << 76)  # version 8: made by a rule of one's own
    value = (value & ~(0x3 << 62)) | (0x2 << 62)  # variant of RFC 9562
    return f"2.25.{uuid.UUID(int=value).int}"


def tracking_uid(name: str, sop_instance_uids: Iterable[SopUid]) -> str:
    """Return the TrackingUID of one thing in these images, whatever order they are named in."""
    return hashed_uid("tracking", name, *sorted(sop_instance_uids))


@dataclass(frozen=True)
class Identity:
    """What the objects of one result are the result of.

    Parameters
    ----------
    inputs
        SOP Instance UIDs of the CT images, sorted: the order they arrived in says nothing.
    release_digest
        Digest of the release that answered.
    profile
        Profile of the organ SEG, with its option: what `services.dicom.results.write.receiver` names.
    settings_digest
        Digest of all settings that may change the result.
    """

    inputs: tuple[SopUid, ...]
    release_digest: str
    profile: str
    settings_digest: str

    @classmethod
    def of(
        cls, sop_instance_uids: Iterable[SopUid], release_digest: str, profile: str, settings_digest: str
    ) -> Identity:
        """Return the identity of a result, whatever order the images are named in."""
        return cls(tuple(sorted(sop_instance_uids)), release_digest, profile, settings_digest)

    def uid(self, kind: str, part: str) -> str:
        """Return the UID of one part (``instance``, ``series``, …) of the object of a kind."""
        return hashed_uid(
            kind, part, self.release_digest, self.profile, self.settings_digest, WRITER_VERSION, *self.inputs
        )

    def tracking_uid(self, name: str) -> str:
        """Return the UID that follows one thing in these images, whichever release finds it again."""
        return tracking_uid(name, self.inputs)
