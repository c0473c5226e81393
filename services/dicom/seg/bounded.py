"""Opening a DICOM file that anyone may have sent: what would fill the memory is refused, not unpacked."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from models.errors import Refused
from services.dicom.ct.head import META_START, PREFIX, PREFIX_OFFSET, beyond_file_meta
from services.dicom.ct.listing import FileState, ListedFile, read_failures, unchanged
from services.dicom.seg.frames import SegCode

MAX_SEG_BYTES = 2**30
"""Largest SEG that is opened, inflated; nine fractional organs on 300 slices of 512 x 512 take 0.7 GB."""

BROKEN_DATASET = (
    InvalidDicomError, BytesLengthException, ValueError, TypeError, LookupError, AttributeError,
    ArithmeticError, EOFError, OSError, NotImplementedError, RuntimeError, struct.error, zlib.error,
)  # fmt: skip
"""What pydicom and its decoders raise on damaged objects; elements are parsed only when touched."""

_MAY_FOLLOW_PIXELS = (0xFFFAFFFA, 0xFFFCFFFC)
"""Digital signatures and trailing padding."""

_UNDEFINED = 0xFFFFFFFF
"""Length of pixel data that are encapsulated."""

_META_BYTES = 64 * 1024
"""So much is read of a file for its meta information, which takes some hundred."""

_GROUP_LENGTH_BYTES = 12
"""Of the element FileMetaInformationGroupLength, after which that many bytes of meta information follow."""


@contextmanager
def damage_refused() -> Iterator[None]:
    """Refuse as `malformed-seg` what shows its damage only when it is parsed."""
    try:
        yield
    except BROKEN_DATASET as error:
        raise Refused(SegCode.MALFORMED, f"the SEG is damaged ({type(error).__name__})") from error


def open_bounded(path: Path, *, stop_before_pixels: bool = False, listed: FileState | None = None) -> Dataset:
    """Read a DICOM file of at most `MAX_SEG_BYTES`, also when it is deflated.

    Parameters
    ----------
    path
        The file.
    stop_before_pixels
        Whether the pixel data are left out.
    listed
        The file as it was listed; None: as it is when it is opened.

    Returns
    -------
    Dataset
        With its file meta information; elements are parsed when they are touched, and may be broken.

    Raises
    ------
    Refused
        `too-large`; `not-dicom` if it cannot be read as DICOM; `malformed-seg` if something that has
        no place there follows the pixel data.
    ReadFailed
        If the file vanished, was changed or cannot be read from the disk.

    Notes
    -----
    Source: PS3.10 7.1 (file meta information), PS3.5 A.5 (deflated).
    """
    content = _content(path, listed)  # apart from parsing: there pydicom raises OSError for damage too
    try:
        meta = _meta_of(content)
        if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian:
            dataset, plain = _inflated(meta, content)
        else:
            plain = content
            dataset = dcmread(BytesIO(content), stop_before_pixels=stop_before_pixels)
        if not stop_before_pixels:
            _require_pixels_at_the_end(dataset, plain)
    except BROKEN_DATASET as error:
        raise Refused(
            SegCode.NOT_DICOM, f"the file cannot be read as DICOM ({type(error).__name__})"
        ) from error
    return dataset


def sop_class_of(file: ListedFile) -> str:
    """Return the SOP class of a file of a folder, by its file meta information or else the whole header.

    Raises
    ------
    Refused
        As `open_bounded`.
    ReadFailed
        If the file is not as it was listed, or cannot be read from the disk.
    Exception
        One of `BROKEN_DATASET`.
    """
    with read_failures(), file.path.open("rb") as opened, unchanged(opened, file.state):
        head = opened.read(_META_BYTES)
    named = _meta_of(head).get("MediaStorageSOPClassUID")  # inflates nothing
    if not named:
        named = open_bounded(file.path, stop_before_pixels=True, listed=file.state).get("SOPClassUID")
    return str(named or "")


def _require_pixels_at_the_end(dataset: Dataset, plain: bytes) -> None:
    """Refuse what follows the pixel data: bytes too many before them shift all that is drawn.

    Notes
    -----
    Source: PS3.5 7.1 (elements ascend), PS3.10 7.2 (padding), PS3.3 C.12.1.1.3.1.1 (signatures).
    """
    pixels: object = dataset.get_item("PixelData") if "PixelData" in dataset else None
    if not isinstance(pixels, RawDataElement) or pixels.length == _UNDEFINED or pixels.value is None:
        return
    if not plain.endswith(pixels.value) and not any(tag in dataset for tag in _MAY_FOLLOW_PIXELS):
        raise Refused(SegCode.MALFORMED, "something follows the pixel data")


@read_failures()
def _content(path: Path, listed: FileState | None) -> bytes:
    """Return all bytes of a file of at most `MAX_SEG_BYTES`, as it was when it was opened or listed."""
    with path.open("rb") as file, unchanged(file, listed):
        if os.fstat(file.fileno()).st_size > MAX_SEG_BYTES:
            raise _too_large()
        return file.read()


def _meta_of(content: bytes) -> FileMetaDataset:
    """Return the file meta information; some write it, against the standard, without VRs."""
    if content[PREFIX_OFFSET:META_START] != PREFIX:
        raise InvalidDicomError
    for implicit in (False, True):
        file = BytesIO(content)
        file.seek(META_START)
        meta = read_dataset(file, is_implicit_VR=implicit, is_little_endian=True, stop_when=beyond_file_meta)
        with suppress(NotImplementedError):
            meta.get("TransferSyntaxUID")
            return FileMetaDataset(meta)
    raise InvalidDicomError


def _inflated(meta: FileMetaDataset, content: bytes) -> tuple[Dataset, bytes]:
    """Return the dataset and its bytes, inflated up to the bound; pydicom knows none."""
    packed = content[META_START + _GROUP_LENGTH_BYTES + int(meta.FileMetaInformationGroupLength) :]
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(packed, MAX_SEG_BYTES)
    if inflater.unconsumed_tail:
        raise _too_large()
    if not inflater.eof:
        raise EOFError("the deflated dataset ends too early")
    dataset = read_dataset(BytesIO(plain), is_implicit_VR=False, is_little_endian=True)
    dataset.file_meta = meta
    return dataset, plain


def _too_large() -> Refused:
    return Refused(SegCode.TOO_LARGE, "the SEG is larger than any can be", {"limit_bytes": MAX_SEG_BYTES})
