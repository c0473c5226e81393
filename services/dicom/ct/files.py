"""Files as they come: opened within bounds, read by pydicom.

A file may lie about its size. What is read of it is bounded, whatever lengths it claims: the file, its
header, the number of its elements, and what a deflated one inflates to.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, BytesIO, FileIO
from os import fstat
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, FileDataset, config, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from services.dicom.ct.head import (
    META_START,
    PIXEL_DATA,
    PREFIX,
    PREFIX_OFFSET,
    beyond_file_meta,
    header_in_head,
)
from services.dicom.ct.listing import FileState, unchanged

UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    struct.error,
    zlib.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
)
"""What pydicom raises on bytes that are not, or not quite, DICOM."""

FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""How a data set without preamble begins: group 0002 or 0008, little endian."""

FILE_LIMIT_BYTES = 512 * 1024**2
"""The largest file opened; a CT image of 4096 x 4096 pixels takes 32 MiB."""

INFLATED_LIMIT_BYTES = 64 * 1024**2
"""The most that a deflated data set may inflate to (PS3.5 A.5); deflate can hold a thousandfold."""

HEADER_LIMIT_BYTES = 16 * 1024**2
"""The most that is read before the pixels; of a CT image it is some kilobytes."""

READS_LIMIT = 300_000
"""The most elements and items read of one file, counted in pydicom's reads (two or three for each)."""


SMALL_READ_BYTES = 4096
"""A read of so much is done without asking how much is left of the file."""


PIXEL_ATTRIBUTES = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "PixelData",
)  # fmt: skip
"""What is read of a file whose header has been read before."""


class TooLargeFile(InvalidDicomError):
    """The file is larger than any CT image, or says or inflates to more."""


class _Bounded:
    """Bounds what is read: never more than there is, and in all no more than the limits."""

    def __init__(self, size: int, limit: int | None) -> None:
        self.size, self.reads = size, READS_LIMIT
        self.left = 2 * size + 1024 if limit is None else limit  # pydicom reads some bytes again

    def allowed(self, wanted: int | None, at: int) -> int:
        """Return how much of a read is done; raise once there was too much."""
        length = self.size - at if wanted is None or wanted < 0 else min(wanted, max(self.size - at, 0))
        self.left -= length
        self.reads -= 1
        if self.exceeded:
            raise TooLargeFile("its header is larger than any CT image's")
        return length

    def allows_small(self, wanted: int) -> bool:
        """Tell whether a read that cannot hurt by itself is within the limits; most are such."""
        self.left -= wanted
        self.reads -= 1
        return self.left >= 0 and self.reads >= 0

    @property
    def exceeded(self) -> bool:
        """Whether there was too much; pydicom may have made another error of it."""
        return self.left < 0 or self.reads < 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Tell apart what was too large, what is damaged, and what the disk would not give."""
        try:
            yield
        except Exception as error:
            if self.exceeded and not isinstance(error, TooLargeFile):
                raise TooLargeFile("its header is larger than any CT image's") from error
            if isinstance(error, OSError) and error.errno is None:  # pydicom's word for damage
                raise InvalidDicomError("it is damaged") from error
            raise


class _BoundedFile(BufferedReader):
    """A file on disk; without it a length of 4 GB in a file of 4 KB takes 4 GB."""

    def __init__(self, path: Path, limit: int | None) -> None:
        super().__init__(FileIO(str(path)))
        self.bounds = _Bounded(fstat(self.fileno()).st_size, limit)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and 0 <= size <= SMALL_READ_BYTES and self.bounds.allows_small(size):
            return super().read(size)
        return super().read(self.bounds.allowed(size, self.tell()))


class _BoundedBytes(BytesIO):
    """A data set in memory."""

    def __init__(self, content: bytes, limit: int | None) -> None:
        super().__init__(content)
        self.bounds = _Bounded(len(content), limit)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.bounds.allowed(size, self.tell()))


@contextmanager
def as_written() -> Iterator[None]:
    """Take values as they are written, without pydicom's complaints, which may quote patient data.

    What is wrong enough to matter raises or is seen by the rules.
    """
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def legible(header: Dataset, keyword: str) -> Any:
    """Return the value of an element; None where it is absent, or damaged so that nobody can tell it."""
    try:
        return header.get(keyword)
    except UNREADABLE:
        return None


def opened(path: Path, pixels: bool, listed: FileState | None = None) -> FileDataset | None:
    """Return a file's data set, or None where it does not begin as DICOM does.

    Parameters
    ----------
    path
        The file; without preamble it is tried if it begins as a data set does.
    pixels
        Whether the pixels are wanted, and of the header only `PIXEL_ATTRIBUTES`.
    listed
        As it was when it was listed; None: as it is when it is opened.

    Raises
    ------
    ReadFailed
        If it is not as it was listed.
    TooLargeFile
        If the file, or what it inflates to, is over its limit.
    OSError
        If the file cannot be opened or read.
    Exception
        One of `UNREADABLE` if it is broken; the caller knows what that means.
    """
    header = None if pixels else _common_header(path, listed)
    if header is not None:
        return header
    limit = None if pixels else HEADER_LIMIT_BYTES
    with _BoundedFile(path, limit) as file, unchanged(file, listed), file.bounds.reading():
        start = file.read(META_START)
        prefixed = start[PREFIX_OFFSET:] == PREFIX
        if not prefixed and start[:2] not in FIRST_GROUPS:
            return None
        if file.bounds.size > FILE_LIMIT_BYTES:
            raise TooLargeFile(f"it is over {FILE_LIMIT_BYTES // 1024**2} MiB")
        file.seek(len(start) if prefixed else 0)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=beyond_file_meta)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            return _inflated(file, meta, pixels)
        file.seek(0)
        wanted = list(PIXEL_ATTRIBUTES) if pixels else None
        dataset = dcmread(file, stop_before_pixels=not pixels, force=True, specific_tags=wanted)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def _common_header(path: Path, listed: FileState | None) -> FileDataset | None:
    """Return the header if it can be read the cheap way; what is damaged is read again, to say how."""
    with suppress(OSError, *UNREADABLE):
        return header_in_head(path, FILE_LIMIT_BYTES, listed)
    return None


def begins_as_dicom(path: Path) -> bool:
    """Tell whether a file has the prefix of a DICOM file (PS3.10 7.1)."""
    with path.open("rb") as file:
        return file.read(META_START)[PREFIX_OFFSET:] == PREFIX


def _inflated(file: BinaryIO, meta: Dataset, pixels: bool) -> FileDataset:
    """Return a deflated data set, read from behind its file meta information.

    Source: PS3.5 A.5.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(file.read(), INFLATED_LIMIT_BYTES)
    if len(plain) == INFLATED_LIMIT_BYTES:
        raise TooLargeFile(f"it inflates to over {INFLATED_LIMIT_BYTES // 1024**2} MiB")
    if not inflater.eof:
        raise EOFError("the deflated data set ends too early")
    buffer = _BoundedBytes(plain, None if pixels else HEADER_LIMIT_BYTES)
    stop = None if pixels else _at_pixels
    with buffer.bounds.reading():
        dataset = read_dataset(buffer, is_implicit_VR=False, is_little_endian=True, stop_when=stop)
    return FileDataset(str(file.name), dataset, None, FileMetaDataset(meta), False, True)


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag == PIXEL_DATA
