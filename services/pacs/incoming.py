"""Objects that come from an archive, on their way to files named by their SOP Instance UID."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from models.errors import PacsFailed, Refused
from models.series.verdict import Code
from models.uids import SopUid, is_uid
from services.dicom.foreign.identifiers import named_in
from services.files import folder_aside, storage_errors

ASIDE = ".organloop-fetching-"
"""How the name of a folder that is being filled begins; a killed process leaves it, and nobody reads it."""
_WHAT = "What came from the archive"
_NO_OBJECT = "The archive sent something that is no DICOM object with a UID."


@contextlib.contextmanager
def fetching(into: Path) -> Iterator[Path]:
    """Yield a new folder under `into` that nobody reads, and remove what is left of it at the end."""
    with contextlib.ExitStack() as held:
        with storage_errors(_WHAT):  # what fails later is not always the disk's
            folder = held.enter_context(folder_aside(into / f"{ASIDE}{uuid.uuid4().hex}"))
        yield folder


def bring(whole: Path, place: Path) -> None:
    """Give a complete folder, or file, its name, in place of an earlier one."""
    with storage_errors(_WHAT):
        if place.is_dir():  # a folder is not renamed onto another
            with fetching(place.parent) as earlier:
                place.rename(earlier / place.name)
                whole.rename(place)
        else:
            whole.rename(place)


def write_object(folder: Path, pieces: Iterable[bytes], sop_instance_uid: SopUid | None = None) -> Path:
    """Write one object to a file of a folder, named by its SOP Instance UID, and return it.

    Parameters
    ----------
    folder
        Where.
    pieces
        The bytes of the file, cut anywhere.
    sop_instance_uid
        Its UID, where it is known already; None reads it from the object.

    Raises
    ------
    Refused
        `missing-uid` if its SOP Instance UID is none: as a file name it could lead out of the folder.
    PacsFailed
        If it is no DICOM file, or has no SOP Instance UID.
    StorageFailed
        If the disk is full or not writable.
    """
    if sop_instance_uid is not None:
        require_uid(sop_instance_uid)
    part = folder / f"{ASIDE}{uuid.uuid4().hex}"
    try:
        with storage_errors(_WHAT):
            file: BinaryIO = part.open("wb")
        try:
            for piece in pieces:  # an error of the network is not one of the disk
                with storage_errors(_WHAT):
                    file.write(piece)
        finally:
            with storage_errors(_WHAT):
                file.close()
        uid = _uid_in(part) if sop_instance_uid is None else sop_instance_uid
        require_uid(uid)
        with storage_errors(_WHAT):
            return part.rename(folder / f"{uid}.dcm")
    finally:
        part.unlink(missing_ok=True)


def _uid_in(path: Path) -> SopUid:
    """Return the SOP Instance UID in a file; nothing behind it is inflated or parsed."""
    try:
        uid = named_in(path).sop_instance_uid
    except Exception as error:  # bytes of others: pydicom fails in many ways
        raise PacsFailed(_NO_OBJECT) from error
    if not uid:
        raise PacsFailed(_NO_OBJECT)
    return SopUid(uid)


def require_uid(text: str) -> None:
    """Refuse a SOP Instance UID that is none: `missing-uid`."""
    if not is_uid(text):
        detail = "The archive holds an object whose SOP Instance UID is none (PS3.5 9.1)."
        raise Refused(Code.MISSING_UID, detail, {"characters": len(text)})
