"""An archive of ``torch.save``, each of whose members is proved before it is read.

PyTorch compares no checksums when it loads: of a file in which a byte was flipped it makes another network
without a word.
"""

from __future__ import annotations

import re
import zipfile
from io import BytesIO

from models.errors import Refused

MOST_VALUES = 64 << 20
"""Bytes of all that is no tensor: plans, labels, and what was logged of some thousand epochs."""

BEGINS = b"PK\x03\x04"
_MEMBER = re.compile(
    r"([^/]+)/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|"
    r"\.data/serialization_id|data/\d{1,9})"
)
_LOCAL_HEADER = 30


def proved(content: bytes) -> BytesIO:
    """Return an archive anew, of members each of which is what its checksum says.

    Raises
    ------
    Refused
        `damaged-checkpoint` if a member is not what its checksum says, or the archive is cut off;
        `unreadable-checkpoint` if it is none of ``torch.save``.

    Notes
    -----
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
