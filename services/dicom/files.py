"""Files as they come: found in folders, opened within bounds, read by pydicom.

A file may lie about its size. What it would take in memory is known before it is taken: a file, and
what a deflated one inflates to, are bounded, and large values of a header stay on disk until asked for.
"""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from pydicom import FileDataset, config, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

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

PREFIX = b"DICM"
PREFIX_OFFSET = 128
"""A DICOM file has so many bytes of preamble before its prefix (PS3.10 7.1)."""

FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""How a data set without preamble begins: group 0002 or 0008, little endian."""

FILE_LIMIT_BYTES = 512 * 1024**2
"""The largest file opened; a CT image of 4096 x 4096 pixels takes 32 MiB."""

INFLATED_LIMIT_BYTES = 128 * 1024**2
"""The most that a deflated data set may inflate to (PS3.5 A.5); deflate can hold a thousandfold."""

VALUE_KEPT_BYTES = 1024**2
"""A longer value of a header stays in the file until it is asked for."""


class TooLargeFile(InvalidDicomError):
    """The file is larger than any CT image, or inflates to more."""


def files_under(sources: Path | Iterable[Path]) -> Iterator[Path]:
    """Yield the files of folders, at any depth, and files named themselves; sorted, each file once.

    Links to folders are not followed, so that no loop is walked; a file reached by two names is one.
    """
    roots = [sources] if isinstance(sources, Path) else list(sources)
    found = {
        file for root in roots for file in (root.rglob("*") if root.is_dir() else [root]) if file.is_file()
    }
    seen: set[Path] = set()
    for file in sorted(found):
        real = file.resolve()
        if real not in seen:
            seen.add(real)
            yield file


@contextmanager
def as_written() -> Iterator[None]:
    """Take values as they are written, without pydicom's complaints, which may quote patient data.

    What is wrong enough to matter raises or is seen by the rules.
    """
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def opened(path: Path, pixels: bool) -> FileDataset | None:
    """Return a file's data set, or None where it does not begin as DICOM does.

    Parameters
    ----------
    path
        The file; without preamble it is tried if it begins as a data set does.
    pixels
        Whether the pixels are wanted too.

    Raises
    ------
    TooLargeFile
        If the file, or what it inflates to, is over its limit.
    OSError
        If the file cannot be opened or read.
    Exception
        One of `UNREADABLE` if it is broken; the caller knows what that means.
    """
    with path.open("rb") as file:
        start = file.read(PREFIX_OFFSET + len(PREFIX))
        prefixed = start[PREFIX_OFFSET:] == PREFIX
        if not prefixed and start[:2] not in FIRST_GROUPS:
            return None
        if path.stat().st_size > FILE_LIMIT_BYTES:
            raise TooLargeFile(f"the file is over {FILE_LIMIT_BYTES // 1024**2} MiB")
        file.seek(len(start) if prefixed else 0)
        deflated = _within_bounds_when_inflated(file)
    kept = None if pixels or deflated else VALUE_KEPT_BYTES
    dataset = dcmread(path, stop_before_pixels=not pixels, force=True, defer_size=kept)
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


def begins_as_dicom(path: Path) -> bool:
    """Tell whether a file has the prefix of a DICOM file (PS3.10 7.1)."""
    with path.open("rb") as file:
        return file.read(PREFIX_OFFSET + len(PREFIX))[PREFIX_OFFSET:] == PREFIX


def _within_bounds_when_inflated(file: BinaryIO) -> bool:
    """Tell whether a file is deflated; refuse it over its limit, without keeping what it inflates to."""
    meta = read_dataset(file, is_implicit_VR=False, is_little_endian=True, stop_when=_beyond_file_meta)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return False
    inflater, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
    deflated = file.read(1024**2)
    while deflated and not inflater.eof:
        inflated += len(inflater.decompress(deflated, 1024**2))
        if inflated > INFLATED_LIMIT_BYTES:
            raise TooLargeFile(f"the file inflates to over {INFLATED_LIMIT_BYTES // 1024**2} MiB")
        deflated = inflater.unconsumed_tail or file.read(1024**2)
    return True


def _beyond_file_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2
