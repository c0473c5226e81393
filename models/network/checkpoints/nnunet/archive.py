"""The bytes of a checkpoint: a zip file of ``torch.save``, each of whose members is proved before it is read.

PyTorch compares no checksums when it loads: of a file in which a byte was flipped it makes another network
without a word.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import torch

from models.errors import Refused
from models.network.checkpoints.file import load_values

MOST_BYTES = 4 << 30
"""The largest networks that nnU-Net plans take 1.5 GB with what their optimiser keeps."""

MOST_VALUES = 64 << 20
"""Bytes of all that is no tensor: plans, labels, and what was logged of some thousand epochs."""

_BEGINS = b"PK\x03\x04"
_MEMBER = re.compile(
    r"([^/]+)/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/\d{1,9})"
)
_LOCAL_HEADER = 30
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
    if not content.startswith(_BEGINS):
        raise Refused(
            "unreadable-checkpoint",
            "the file is no archive of PyTorch; save it again with PyTorch 2 if it is an older checkpoint",
        )
    with torch.serialization.safe_globals([(Inert, name) for name in _NUMPY]):
        values = load_values(_proved(content))
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise Refused("unreadable-checkpoint", "the file holds no values by name")
    return Archive(values, hashlib.sha256(content).hexdigest())


def _proved(content: bytes) -> BytesIO:
    """Return an archive anew, of members each of which is what its checksum says.

    PyTorch has a reader of its own, and what it makes of an archive's tables is not always what Python does:
    a member that is marked as a folder it takes for empty, and leaves its numbers to chance.
    """
    anew = BytesIO()
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive, zipfile.ZipFile(anew, "w") as written:
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            _require_form(members, content)
            for member in members:
                written.writestr(member.filename, _whole(archive, member))
    except Refused:
        raise
    except Exception as error:  # a damaged archive fails anywhere in its reader
        raise Refused("damaged-checkpoint", "the archive is cut off or damaged; copy it again") from error
    anew.seek(0)
    return anew


def _whole(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """Return a member's bytes, which its checksum proves."""
    try:
        content = archive.read(member)
    except zipfile.BadZipFile as error:
        detail = f"{member.filename} is not what its checksum says; copy the file again"
        raise Refused("damaged-checkpoint", detail, {"member": member.filename}) from error
    if member.filename.endswith("/byteorder") and content != b"little":
        raise Refused("unreadable-checkpoint", "its numbers are not written with the least byte first")
    return content


def _require_form(members: list[zipfile.ZipInfo], content: bytes) -> None:
    """Require members by the names of ``torch.save``, each once, as they are, one after the other."""
    found = [_MEMBER.fullmatch(member.filename) for member in members]
    odd = [member.filename for member, match in zip(members, found, strict=True) if match is None]
    roots = {match[1] for match in found if match is not None}
    kinds = [match[2] for match in found if match is not None]
    if odd or len(roots) != 1 or len(set(kinds)) != len(kinds) or "data.pkl" not in kinds:
        detail = "the archive is none of PyTorch; unpack it first if a results folder is in it"
        raise Refused("unreadable-checkpoint", detail, {"members": odd[:6]})
    largest = next(one.file_size for one in members if one.filename.endswith("/data.pkl"))
    if largest > MOST_VALUES:
        detail = f"what it holds beside tensors takes {largest} bytes, {MOST_VALUES} at most"
        raise Refused("unreadable-checkpoint", detail, {"size_bytes": largest, "most_bytes": MOST_VALUES})
    end = 0
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            detail = f"{member.filename} is packed, which PyTorch never does"
            raise Refused("unreadable-checkpoint", detail, {"member": member.filename})
        if member.header_offset < end:
            detail = f"{member.filename} lies in another member"
            raise Refused("damaged-checkpoint", detail, {"member": member.filename})
        end = member.header_offset + _LOCAL_HEADER + len(member.filename.encode()) + member.file_size
    if members[0].header_offset != 0 or end > len(content):
        raise Refused("damaged-checkpoint", "the archive does not begin and end as it says; copy it again")
