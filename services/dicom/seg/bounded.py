"""Opening a SEG that anyone may have sent, once: what would fill the memory is refused, not unpacked."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError

from models.errors import Refused
from services.dicom.foreign.bounded_file import TooLargeFile
from services.dicom.foreign.identifiers import Named, named_in
from services.dicom.foreign.limits import SEG
from services.dicom.foreign.listing import FileState, ListedFile, read_failures
from services.dicom.foreign.objects import OpenedObject, opened_object
from services.dicom.foreign.rehearsal import rehearse_seg
from services.dicom.seg.frames import SegCode

BROKEN_DATASET = (
    InvalidDicomError, BytesLengthException, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, EOFError, OSError, NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom and its decoders raise on damaged objects; elements are parsed only when touched."""

_MAY_FOLLOW_PIXELS = (0xFFFAFFFA, 0xFFFCFFFC)
"""Digital signatures and trailing padding."""


@contextmanager
def damage_refused() -> Iterator[None]:
    """Refuse as `malformed-seg` what shows its damage only when it is parsed."""
    try:
        yield
    except MemoryError as error:
        raise _too_large("the SEG takes more memory than there is") from error
    except BROKEN_DATASET as error:
        raise Refused(SegCode.MALFORMED, "the SEG is damaged") from error


@dataclass(frozen=True, eq=False)
class OpenedSeg:
    """A SEG whose header was read; it has one too where it is cut in its pixels.

    Parameters
    ----------
    object
        The file.
    """

    object: OpenedObject

    @property
    def header(self) -> FileDataset:
        """Its elements before the pixels; they are parsed when they are touched, and may be broken."""
        return self.object.header

    def whole(self) -> Dataset:
        """Return it with its pixels.

        Raises
        ------
        Refused
            `too-large`; `not-dicom` if it cannot be read on; `malformed-seg` if something that has no place
            there follows the pixel data.
        ReadFailed
            If the file vanished, was changed or cannot be read from the disk.

        Notes
        -----
        Source: PS3.5 7.1 (elements ascend), PS3.10 7.2 (padding), PS3.3 C.12.1.1.3.1.1 (signatures).
        """
        with _refusals():
            whole = self.object.whole()
        if not whole.ends_with_pixels and not any(tag in whole.dataset for tag in _MAY_FOLLOW_PIXELS):
            raise Refused(SegCode.MALFORMED, "something follows the pixel data")
        return whole.dataset


def open_seg(path: Path, listed: FileState | None = None) -> OpenedSeg:
    """Open a SEG, in a child first, and read its header.

    Parameters
    ----------
    path
        The file.
    listed
        The file as it was listed; None: as it is now.

    Raises
    ------
    Refused
        `too-large`; `not-dicom` if it cannot be read as DICOM.
    ReadFailed
        If the file vanished, was changed or cannot be read from the disk.
    """
    with _refusals():
        state = listed or FileState.of(path.stat())
        rehearse_seg(path, state)
        return OpenedSeg(opened_object(path, SEG, state))


def as_opened(seg: Path | OpenedSeg) -> OpenedSeg:
    """Return a SEG that is open; a file is opened, as `open_seg`."""
    return open_seg(seg) if isinstance(seg, Path) else seg


def sop_class_of(file: ListedFile) -> str:
    """Return the SOP class of a file of a folder, by its first bytes; empty where they do not say.

    Raises
    ------
    ReadFailed
        If the file is not as it was listed, or cannot be read from the disk.
    """
    return _named(file).sop_class_uid


@read_failures()
def _named(file: ListedFile) -> Named:
    return named_in(file.path, file.state)


@contextmanager
def _refusals() -> Iterator[None]:
    """Refuse what is too large or no DICOM; what the disk would not give is another matter."""
    try:
        yield
    except (TooLargeFile, MemoryError) as error:
        detail = str(error) if isinstance(error, TooLargeFile) else "it takes more memory than there is"
        raise _too_large(f"the SEG cannot be read: {detail}") from error
    except BROKEN_DATASET as error:
        if isinstance(error, OSError) and error.errno is not None:
            with read_failures():
                raise
        raise Refused(SegCode.NOT_DICOM, "the file cannot be read as DICOM") from error


def _too_large(detail: str) -> Refused:
    return Refused(SegCode.TOO_LARGE, detail, {"limit_items": SEG.most_items, "limit_bytes": SEG.file_bytes})
