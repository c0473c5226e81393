"""The common file, read cheaply: its header lies in its first bytes, and plain pixels end it.

Whatever is odd is left to `services.dicom.foreign.reader.opened`, which reads anything, within bounds.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from pydicom import Dataset, FileDataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from services.dicom.foreign.listing import FileState, unchanged

HEAD_BYTES = 64 * 1024
"""So much is read at once; of most CT images it holds the whole header."""

PREFIX = b"DICM"
PREFIX_OFFSET = 128
"""A DICOM file has so many bytes of preamble before its prefix (PS3.10 7.1)."""

META_START = PREFIX_OFFSET + len(PREFIX)
"""Where the file meta information begins."""

PIXEL_DATA = 0x7FE00010
PIXELS = frozenset((PIXEL_DATA, 0x7FE00009, 0x7FE00008))
"""PixelData, and the pixels in floating point that no CT image has."""

_IMAGE_GROUP_ENDS = 0x0028FFFF
"""Up to here lies what says whose an object is, and how large (PS3.6)."""

Stop = Callable[[BaseTag, str | None, int], bool]
"""Tells by tag, VR and length of an element whether a parser stops before it."""

NATIVE = frozenset((ExplicitVRLittleEndian, ImplicitVRLittleEndian))
"""Transfer syntaxes whose pixels lie in the file as they do in memory."""


@dataclass(frozen=True)
class NativePixels:
    """Where the pixels lie that end a file, in bytes, and when the file was last changed."""

    offset: int
    length: int
    modified_ns: int

    def read_into(self, path: Path, stored: NDArray[Any]) -> bool:
        """Fill an array with the pixels; tell whether they are exactly so many and the file is the same."""
        if self.length != stored.nbytes + stored.nbytes % 2:  # padded to even length (PS3.5 8.1.1)
            return False
        with path.open("rb", buffering=0) as file:
            expected = FileState(self.offset + self.length, self.modified_ns)
            if FileState.of(os.fstat(file.fileno())) != expected:
                return False
            file.seek(self.offset)
            read = file.readinto(stored)  # type: ignore[arg-type]  # a buffer
            return read == stored.nbytes and FileState.of(os.fstat(file.fileno())) == expected


class Header(FileDataset):
    """A header without pixels that knows where the pixels are, if they are native and end the file."""

    native: NativePixels | None = None


class _AtPixels:
    """Stops the parser at the pixels and keeps where their value begins and how long it is."""

    def __init__(self, file: BytesIO, stop: Stop) -> None:
        self.file, self.stop, self.tag, self.offset, self.length = file, stop, 0, 0, 0

    def __call__(self, tag: BaseTag, vr: str | None, length: int) -> bool:
        if not self.stop(tag, vr, length):
            return False
        self.tag, self.offset, self.length = int(tag), self.file.tell(), length
        return True


def header_in_head(path: Path, size_limit: int, listed: FileState | None = None) -> Header | None:
    """Return the header of a common file; None where another way of reading must judge.

    Parameters
    ----------
    path
        The file.
    size_limit
        Bytes; a larger file is not common.
    listed
        As it was when it was listed; None: as it is when it is opened.

    Raises
    ------
    ReadFailed
        If it is not as it was listed.
    OSError
        If the file cannot be opened or read.
    Exception
        What pydicom raises on bytes that are not DICOM.
    """
    with path.open("rb", buffering=0) as file, unchanged(file, listed) as state:
        head = file.read(HEAD_BYTES)
    if head[PREFIX_OFFSET:META_START] != PREFIX or state.size > size_limit:
        return None
    memory = BytesIO(head)
    memory.seek(META_START)
    meta = read_dataset(memory, is_implicit_VR=False, is_little_endian=True, stop_when=beyond_file_meta)
    syntax = meta.get("TransferSyntaxUID")
    odd = (DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
    if not isinstance(syntax, UID) or syntax in odd or syntax.is_private:
        return None
    if head[memory.tell() : memory.tell() + 2] == b"\x00\x00":  # a command set
        return None
    implicit = syntax == ImplicitVRLittleEndian
    stop = _AtPixels(memory, before_pixels(meta))
    dataset = read_dataset(memory, is_implicit_VR=implicit, is_little_endian=True, stop_when=stop)
    if not stop.tag:
        return None
    header = Header(str(path), dataset, head[:PREFIX_OFFSET], FileMetaDataset(meta), implicit, True)
    header.set_original_encoding(implicit, True, dataset.original_character_set)
    if stop.tag == PIXEL_DATA and syntax in NATIVE and stop.offset + stop.length == state.size:
        header.native = NativePixels(stop.offset, stop.length, state.modified_ns)
    return header


def before_pixels(meta: Dataset) -> Stop:
    """Return what tells a parser where the header ends, as far as it is wanted.

    Parameters
    ----------
    meta
        File meta information. Of an object that it calls another than a CT image, such as a SEG or contours,
        no more is wanted than whose it is and how large.
    """
    named = str(meta.get("MediaStorageSOPClassUID") or CTImageStorage)
    return _at_pixels if named == CTImageStorage else _behind_image_group


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag in PIXELS


def _behind_image_group(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag > _IMAGE_GROUP_ENDS


def beyond_file_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    """Tell a parser where the file meta information ends."""
    return tag >> 16 != 2
