"""From files to DICOM headers, and from a header to the plain facts the rules judge.

Scanners and anonymisers write much that the standard forbids. A value that cannot be read counts as
absent here, and the rules decide what its absence means; nothing is put in its place.
"""

from __future__ import annotations

import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydicom import Dataset, FileDataset, config, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    MediaStorageDirectoryStorage,
)

from models.slice_facts import PixelFormat, SliceFacts

UNREADABLE = (
    InvalidDicomError,
    BytesLengthException,
    EOFError,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    RecursionError,
)
"""What pydicom raises on bytes that are not, or not quite, DICOM."""

LOSSY_SYNTAXES = frozenset((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless))
"""Transfer syntaxes that always lose; of JPEG 2000 and HTJ2K, LossyImageCompression tells."""

PREFIX = b"DICM"
PREFIX_OFFSET = 128
"""A DICOM file has so many bytes of preamble before its prefix (PS3.10 7.1)."""

FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")
"""How a data set without preamble begins: group 0002 or 0008, little endian."""


PATIENT = ("PatientID", "IssuerOfPatientID", "PatientBirthDate")
PHASE = ("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "TemporalPositionIdentifier")


def files_under(sources: Path | Iterable[Path]) -> Iterator[Path]:
    """Yield the files of folders, at any depth, and files named themselves; sorted, each once."""
    roots = [sources] if isinstance(sources, Path) else list(sources)
    found = {
        file for root in roots for file in (root.rglob("*") if root.is_dir() else [root]) if file.is_file()
    }
    yield from sorted(found)


@contextmanager
def as_written() -> Iterator[None]:
    """Take values as they are written, without pydicom's complaints, which may quote patient data.

    What is wrong enough to matter raises or is seen by the rules.
    """
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@as_written()
def read_header(path: Path) -> Dataset | None:
    """Return a file's header without pixels, or None where it is no DICOM object.

    A directory (DICOMDIR) is no object. A file without preamble is tried if it begins as a data set
    does.

    Raises
    ------
    InvalidDicomError
        If it has the prefix of a DICOM file but cannot be read as one.
    OSError
        If the file cannot be opened or read.
    """
    with path.open("rb") as file:
        start = file.read(PREFIX_OFFSET + len(PREFIX))
    prefixed = start[PREFIX_OFFSET:] == PREFIX
    if not prefixed and start[:2] not in FIRST_GROUPS:
        return None
    try:
        header = dcmread(path, stop_before_pixels=True, force=True)
        if header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return None
        if "Modality" in header or "SOPClassUID" in header:
            return with_transfer_syntax(header)
    except UNREADABLE as error:
        if prefixed:
            raise InvalidDicomError(type(error).__name__) from error
        return None
    if prefixed:
        raise InvalidDicomError("it names neither modality nor SOP class")
    return None


def with_transfer_syntax(dataset: FileDataset) -> FileDataset:
    """Name the transfer syntax a data set was read in, where no file meta group did."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return dataset


@as_written()
def facts_of(header: Dataset) -> SliceFacts:
    """Return the plain facts of one image's header."""
    return SliceFacts(
        sop_instance_uid=_text(header, "SOPInstanceUID"),
        study_uid=_text(header, "StudyInstanceUID"),
        series_uid=_text(header, "SeriesInstanceUID"),
        frame_of_reference_uid=_text(header, "FrameOfReferenceUID"),
        patient=tuple(_text(header, name) for name in PATIENT),
        modality=_text(header, "Modality"),
        sop_class_uid=_text(header, "SOPClassUID"),
        image_type=_texts(header, "ImageType"),
        frames=_whole(header, "NumberOfFrames") or 1,
        position=_numbers(header, "ImagePositionPatient", 3),
        orientation=_numbers(header, "ImageOrientationPatient", 6),
        pixel_spacing=_numbers(header, "PixelSpacing", 2),
        rows=_whole(header, "Rows"),
        columns=_whole(header, "Columns"),
        phase=tuple(_text(header, name) for name in PHASE),
        technique=(*_texts(header, "ConvolutionKernel"), _text(header, "KVP")),
        slope=_number(header, "RescaleSlope"),
        intercept=_number(header, "RescaleIntercept"),
        rescale_type=_text(header, "RescaleType"),
        lookup_table="ModalityLUTSequence" in header,
        pixels=PixelFormat(
            samples=_whole(header, "SamplesPerPixel"),
            photometric=_text(header, "PhotometricInterpretation"),
            bits_allocated=_whole(header, "BitsAllocated"),
            bits_stored=_whole(header, "BitsStored"),
            high_bit=_whole(header, "HighBit"),
            representation=_whole(header, "PixelRepresentation"),
        ),
        lossy=_text(header, "LossyImageCompression") == "01"
        or header.file_meta.TransferSyntaxUID in LOSSY_SYNTAXES,
        burned_in=_text(header, "BurnedInAnnotation") == "YES",
    )


def _values(header: Dataset, keyword: str) -> tuple[Any, ...]:
    """Return an element's values, none where it is absent, empty or unreadable."""
    try:
        value = header.get(keyword)
    except UNREADABLE:
        return ()
    if value is None or value == "":
        return ()
    return tuple(value) if isinstance(value, MultiValue | list | tuple) else (value,)


def _texts(header: Dataset, keyword: str) -> tuple[str, ...]:
    return tuple(str(value).strip() for value in _values(header, keyword))


def _text(header: Dataset, keyword: str) -> str:
    return "\\".join(_texts(header, keyword))


def _numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """Return exactly so many numbers, or none; NaN and infinity are left to the rules."""
    values = _values(header, keyword)
    try:
        numbers = tuple(float(value) for value in values)
    except (ValueError, TypeError, OverflowError):
        return ()
    return numbers if len(numbers) == count else ()


def _number(header: Dataset, keyword: str) -> float | None:
    numbers = _numbers(header, keyword, 1)
    return numbers[0] if numbers else None


def _whole(header: Dataset, keyword: str) -> int | None:
    number = _number(header, keyword)
    return int(number) if number is not None and number.is_integer() else None
