"""From files to DICOM headers, and from a header to the plain facts the rules judge.

Scanners and anonymisers write much that the standard forbids. A value that cannot be read counts as
absent here, and the rules decide what its absence means; nothing is put in its place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, MediaStorageDirectoryStorage

from models.slice_facts import PixelFormat, SliceFacts
from services.dicom.files import UNREADABLE, TooLargeFile, as_written, begins_as_dicom, opened

LOSSY_SYNTAXES = frozenset((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless))
"""Transfer syntaxes that always lose; of JPEG 2000 and HTJ2K, LossyImageCompression tells."""

PATIENT = ("PatientID", "IssuerOfPatientID", "PatientBirthDate")
PHASE = ("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "TemporalPositionIdentifier")


@as_written()
def read_header(path: Path) -> Dataset | None:
    """Return a file's header without pixels, or None where it is no DICOM object.

    A directory (DICOMDIR) is no object. A file without preamble is tried if it begins as a data set
    does.

    Raises
    ------
    InvalidDicomError
        If it has the prefix of a DICOM file but cannot be read as one; `TooLargeFile` if it is over
        a limit.
    OSError
        If the file cannot be opened or read.
    """
    try:
        header = opened(path, pixels=False)
        if header is None or header.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            return None
        if "Modality" in header or "SOPClassUID" in header:
            return header
    except TooLargeFile:
        raise
    except UNREADABLE as error:
        if begins_as_dicom(path):
            raise InvalidDicomError(type(error).__name__) from error
        return None
    if begins_as_dicom(path):
        raise InvalidDicomError("it names neither modality nor SOP class")
    return None


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
        kernel=_text(header, "ConvolutionKernel"),
        description=_text(header, "SeriesDescription"),
        contrast=bool(_text(header, "ContrastBolusAgent")),
        series_number=_whole(header, "SeriesNumber"),
        instance_number=_whole(header, "InstanceNumber"),
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
