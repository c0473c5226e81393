"""The one reader of DICOM that anyone may have sent: within bounds, and of a header what is needed.

A file may lie about its size. What is read of it is bounded, whatever lengths it claims: the file, its
header, the number of its elements and items, and what a deflated one inflates to.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, FileDataset, config
from pydicom.dataset import FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from services.dicom.foreign.bounded_file import BoundedFile, InflatedFile, TooLargeFile
from services.dicom.foreign.excess import BehindPixels, without_excess
from services.dicom.foreign.head import (
    META_START,
    PREFIX,
    PREFIX_OFFSET,
    before_pixels,
    beyond_file_meta,
    header_in_head,
)
from services.dicom.foreign.kept import keep_what_is_needed
from services.dicom.foreign.limits import IMAGE, MIB
from services.dicom.foreign.listing import FileState, unchanged

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

ILLEGIBLE = (*UNREADABLE, OSError)
"""What pydicom raises on an element that is parsed when it is touched: no disk is asked then."""

FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""How a data set without preamble begins: group 0002 or 0008, little endian."""

PIXEL_ATTRIBUTES = (
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames",
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept",
    "ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelData",
)  # fmt: skip
"""What is read of a file whose header has been read before."""


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
    except ILLEGIBLE:
        return None


def opened(path: Path, pixels: bool, listed: FileState | None = None) -> FileDataset | None:
    """Return the data set of a file that may be a CT image, or None where it does not begin as DICOM does.

    Parameters
    ----------
    path
        The file; without preamble it is tried if it begins as a data set does.
    pixels
        Whether the pixels are wanted, and of the header only `PIXEL_ATTRIBUTES`. Else what rules and results
        need of the header (`services.dicom.foreign.kept`).
    listed
        As it was when it was listed; None: as it is when it is opened.

    Raises
    ------
    ReadFailed
        If it is not as it was listed.
    TooLargeFile
        If the file, its header, or what it inflates to, is over its limit.
    OSError
        If the file cannot be opened or read.
    Exception
        One of `UNREADABLE` if it is broken; the caller knows what that means.
    """
    if pixels:
        return _opened(path, listed, pixels=True)
    header = _common_header(path, listed) or _opened(path, listed, pixels=False)
    if header is not None:
        keep_what_is_needed(header)
    return header


def _opened(path: Path, listed: FileState | None, *, pixels: bool) -> FileDataset | None:
    with BoundedFile(path, IMAGE, pixels=pixels) as file, unchanged(file, listed), file.bounds.reading():
        start = file.read(META_START)
        prefixed = start[PREFIX_OFFSET:] == PREFIX
        if not prefixed and start[:2] not in FIRST_GROUPS:
            return None
        if file.bounds.size > IMAGE.file_bytes:
            raise TooLargeFile(f"it is over {IMAGE.file_bytes // MIB} MiB")
        file.seek(len(start) if prefixed else 0)
        meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=beyond_file_meta)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            return _inflated(file, meta, pixels)
        file.seek(0)
        wanted = [Tag(keyword) for keyword in PIXEL_ATTRIBUTES] if pixels else None
        stop = BehindPixels() if pixels else before_pixels(meta)
        dataset = read_partial(file, stop, force=True, specific_tags=wanted)  # type: ignore[arg-type]
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    if pixels:
        without_excess(dataset)
    return dataset


def _common_header(path: Path, listed: FileState | None) -> FileDataset | None:
    """Return the header if it can be read the cheap way; what is damaged is read again, to say how."""
    with suppress(OSError, *UNREADABLE):
        return header_in_head(path, IMAGE.file_bytes, listed)
    return None


def begins_as_dicom(path: Path) -> bool:
    """Tell whether a file has the prefix of a DICOM file (PS3.10 7.1)."""
    with path.open("rb") as file:
        return file.read(META_START)[PREFIX_OFFSET:] == PREFIX


def _inflated(file: BinaryIO, meta: Dataset, pixels: bool) -> FileDataset:
    """Return a deflated data set, read from behind its file meta information.

    Source: PS3.5 A.5.
    """
    inflated: Any = InflatedFile(file, IMAGE, pixels=pixels)
    stop = BehindPixels() if pixels else before_pixels(meta)
    with inflated.bounds.reading():
        dataset = read_dataset(inflated, is_implicit_VR=False, is_little_endian=True, stop_when=stop)
    return FileDataset(str(file.name), dataset, None, FileMetaDataset(meta), False, True)
