"""Any object but a CT image, such as a SEG: its header first, its pixels when they are wanted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydicom import Dataset, FileDataset
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.tag import BaseTag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from services.dicom.foreign.bounded_file import BoundedBytes, BoundedFile, Bounds, InflatedFile, TooLargeFile
from services.dicom.foreign.excess import without_excess
from services.dicom.foreign.head import (
    META_START,
    PIXEL_DATA,
    PIXELS,
    PREFIX,
    PREFIX_OFFSET,
    beyond_file_meta,
)
from services.dicom.foreign.limits import MIB, SEG, Limits
from services.dicom.foreign.listing import FileState, unchanged
from services.dicom.foreign.reader import as_written

_UNDEFINED = 0xFFFFFFFF
"""Length of pixel data that are encapsulated."""


@dataclass(frozen=True, eq=False)
class OpenedObject:
    """A file whose header was read, and whose pixels may be cut or missing.

    Parameters
    ----------
    path, state
        The file, as it was then.
    header
        Its elements before the pixels, with the file meta information. They are parsed when they are touched,
        and may be broken.
    limits
        Of its kind.
    pixels_at
        Where its pixels begin in the file, or in what it inflates to, bytes.
    """

    path: Path
    state: FileState
    header: FileDataset
    limits: Limits
    pixels_at: int

    @as_written()
    def whole(self) -> WholeObject:
        """Read on from the pixels.

        Raises
        ------
        ReadFailed
            If the file is not as it was.
        TooLargeFile
            If it inflates to more than it may, or takes more memory than there is.
        Exception
            What pydicom raises on bytes that are not DICOM.
        """
        implicit, little = self.header.original_encoding
        if implicit is None or little is None:
            raise InvalidDicomError("nobody can tell how it is written")
        bounded = BoundedFile(self.path, self.limits, pixels=True)
        with bounded as file, unchanged(file, self.state), file.bounds.reading():
            source: Any = file
            if _is_deflated(self.header.file_meta):
                _meta_in(file)
                source = InflatedFile(file, self.limits, pixels=True, file_bytes=self.state.size)
            with source.bounds.reading():
                source.seek(self.pixels_at)
                rest = read_dataset(
                    source, is_implicit_VR=implicit, is_little_endian=little, stop_when=_descends
                )
                pixels: object = rest.get_item(PIXEL_DATA, keep_deferred=True) if PIXEL_DATA in rest else None
                ended = True
                if isinstance(pixels, RawDataElement) and pixels.length != _UNDEFINED:
                    source.seek(pixels.value_tell + len(pixels.value or b""))
                    ended = not source.read(1)
                source.read()
        whole = _joined(self.header, rest)
        without_excess(whole)
        return WholeObject(whole, ended)


@dataclass(frozen=True, eq=False)
class WholeObject:
    """An object with its pixels.

    Parameters
    ----------
    dataset
        All its elements, with the file meta information.
    ends_with_pixels
        Whether nothing follows native pixels. Zeros may be the last pixels: bytes that a disk repeated push
        them out of their element, and every pixel before them lies elsewhere.
    """

    dataset: FileDataset
    ends_with_pixels: bool


@as_written()
def opened_object(path: Path, limits: Limits, listed: FileState | None = None) -> OpenedObject:
    """Read the header of a DICOM file; one that is cut in its pixels has one.

    Parameters
    ----------
    path
        The file, with file meta information.
    limits
        Of its kind.
    listed
        As it was when it was listed; None: as it is when it is opened.

    Raises
    ------
    ReadFailed
        If it is not as it was listed.
    TooLargeFile
        If the file or its header is over its limit.
    OSError
        If it cannot be read from the disk.
    Exception
        What pydicom raises on bytes that are not DICOM.

    Notes
    -----
    Source: PS3.10 7.1 (file meta information), PS3.5 A.5 (deflated).
    """
    with BoundedFile(path, limits) as file, unchanged(file, listed) as state, file.bounds.reading():
        if state.size > limits.file_bytes:
            raise TooLargeFile(f"it is over {limits.file_bytes // MIB} MiB")
        meta = _meta_in(file)
        if _is_deflated(meta):
            source: Any = InflatedFile(file, limits, file_bytes=state.size)
            with source.bounds.reading():
                found = read_dataset(
                    source, is_implicit_VR=False, is_little_endian=True, stop_when=_at_pixels
                )
            header = FileDataset(str(path), found, None, meta, False, True)
            header.set_original_encoding(False, True, found.original_character_set)
        else:
            source = file
            source.seek(0)
            header = read_partial(source, _at_pixels)
        return OpenedObject(path, state, header, limits, source.tell())


def object_in(content: bytes) -> FileDataset:
    """Return the object that bytes in memory are, with its pixels.

    Parameters
    ----------
    content
        Of a file that is not deflated, such as one of ours.

    Raises
    ------
    TooLargeFile
        If its elements are more than those of any SEG.
    Exception
        What pydicom raises on bytes that are not DICOM.
    """
    size = len(content)
    memory: Any = BoundedBytes(content, Bounds(SEG, size, pixels=True, file_bytes=size))
    with memory.bounds.reading():
        if _is_deflated(_meta_in(memory)):
            raise InvalidDicomError("a deflated object is opened from its file")
        memory.seek(0)
        return read_partial(memory)


def _meta_in(file: BinaryIO) -> FileMetaDataset:
    """Read the file meta information, up to where the data set begins."""
    for implicit in (False, True):
        file.seek(0)
        if file.read(META_START)[PREFIX_OFFSET:] != PREFIX:
            raise InvalidDicomError
        meta = read_dataset(file, is_implicit_VR=implicit, is_little_endian=True, stop_when=beyond_file_meta)
        with suppress(NotImplementedError):
            meta.get("TransferSyntaxUID")
            return FileMetaDataset(meta)
    raise InvalidDicomError


def _is_deflated(meta: Dataset) -> bool:
    return bool(meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian)


def _joined(header: FileDataset, rest: Dataset) -> FileDataset:
    implicit, little = header.original_encoding
    whole = FileDataset(str(header.filename), {}, None, header.file_meta, bool(implicit), bool(little))
    whole.set_original_encoding(bool(implicit), bool(little), header.original_character_set)
    whole.update(header)
    whole.update(rest)
    return whole


def _descends(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Tell whether an element behind the pixels is none: they ascend (PS3.5 7.1)."""
    return tag < min(PIXELS)


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag in PIXELS
