"""From files to DICOM headers, and from a header to the plain facts the rules judge.

Scanners and anonymisers write much that the standard forbids. A value that cannot be read counts as
absent here, and the rules decide what its absence means; nothing is put in its place.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import Tag
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, MediaStorageDirectoryStorage

from models.series.slice_facts import PixelFormat, SliceFacts
from models.uids import SeriesUid, SopUid, StudyUid
from services.dicom.foreign.bounded_file import TooLargeFile
from services.dicom.foreign.listing import FileState
from services.dicom.foreign.reader import ILLEGIBLE, UNREADABLE, as_written, begins_as_dicom, legible, opened

LOSSY_SYNTAXES = frozenset((JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless))
"""Transfer syntaxes that always lose; of JPEG 2000 and HTJ2K, LossyImageCompression tells."""

IDENTIFYING_GROUPS = (0x0008, 0x0010, 0x0012, 0x0020)
"""Groups of what results take over from an image: study, patient, trial, place (PS3.6)."""

PATIENT = ("PatientID", "IssuerOfPatientID", "PatientBirthDate")
Known = dict[Hashable, tuple[Any, ...]]
"""Values by what they were read from."""

PHASE = ("AcquisitionNumber", "AcquisitionDate", "AcquisitionTime", "TemporalPositionIdentifier")
SETTING = (
    "NominalPercentageOfCardiacPhase", "NominalPercentageOfRespiratoryPhase", "TriggerTime", "ScanOptions",
    "FilterType", "ReconstructionDiameter",
)  # fmt: skip


@as_written()
def read_header(path: Path, listed: FileState | None = None) -> Dataset | None:
    """Return a file's header without pixels, or None where it is no DICOM object.

    A directory (DICOMDIR) is no object. A file without preamble is tried if it begins as a data set
    does.

    Raises
    ------
    InvalidDicomError
        If it has the prefix of a DICOM file but cannot be read as one; `TooLargeFile` if it is over
        a limit.
    ReadFailed
        If it is not as it was when it was listed.
    OSError
        If the file cannot be opened or read.
    """
    try:
        header = opened(path, pixels=False, listed=listed)
        if (
            header is None
            or legible(header.file_meta, "MediaStorageSOPClassUID") == MediaStorageDirectoryStorage
        ):
            return None
        if "Modality" in header or "SOPClassUID" in header:
            return header
    except TooLargeFile:
        raise
    except UNREADABLE as error:
        if begins_as_dicom(path):
            raise InvalidDicomError("it is damaged") from error
        return None
    if begins_as_dicom(path):
        raise InvalidDicomError("it names neither modality nor SOP class")
    return None


@as_written()
def facts_of(header: Dataset, known: Known | None = None) -> SliceFacts:
    """Return the plain facts of one image's header; values known from other headers are not parsed again."""
    of = _Attributes(header, {} if known is None else known)
    return SliceFacts(
        sop_instance_uid=SopUid(of.text("SOPInstanceUID")),
        study_uid=StudyUid(of.text("StudyInstanceUID")),
        series_uid=SeriesUid(of.text("SeriesInstanceUID")),
        frame_of_reference_uid=of.text("FrameOfReferenceUID"),
        patient=tuple(of.text(name) for name in PATIENT),
        modality=of.text("Modality"),
        sop_class_uid=of.text("SOPClassUID"),
        image_type=of.texts("ImageType"),
        frames=of.whole("NumberOfFrames") or 1,
        position=of.numbers("ImagePositionPatient", 3),
        orientation=of.numbers("ImageOrientationPatient", 6),
        pixel_spacing=of.numbers("PixelSpacing", 2),
        rows=of.whole("Rows"),
        columns=of.whole("Columns"),
        phase=tuple(of.text(name) for name in PHASE),
        technique=(*of.texts("ConvolutionKernel"), of.text("KVP")),
        setting=tuple(of.text(name) for name in SETTING),
        kernel=of.text("ConvolutionKernel"),
        description=of.text("SeriesDescription"),
        contrast=bool(of.text("ContrastBolusAgent")),
        series_number=of.whole("SeriesNumber"),
        instance_number=of.whole("InstanceNumber"),
        slope=of.number("RescaleSlope"),
        intercept=of.number("RescaleIntercept"),
        rescale_type=of.text("RescaleType"),
        lookup_table="ModalityLUTSequence" in header,
        pixels=PixelFormat(
            samples=of.whole("SamplesPerPixel"),
            photometric=of.text("PhotometricInterpretation"),
            bits_allocated=of.whole("BitsAllocated"),
            bits_stored=of.whole("BitsStored"),
            high_bit=of.whole("HighBit"),
            representation=of.whole("PixelRepresentation"),
        ),
        lossy=of.text("LossyImageCompression") == "01"
        or header.file_meta.TransferSyntaxUID in LOSSY_SYNTAXES,
        burned_in=of.text("BurnedInAnnotation") == "YES",
        derivation_codes=_codes(header, "DerivationCodeSequence", scheme="DCM"),
        derivation=of.text("DerivationDescription"),
        units=tuple(
            code
            for item in _items(header, "RealWorldValueMappingSequence")
            for code in _codes(item, "MeasurementUnitsCodeSequence", scheme="UCUM")
        ),
        one_energy=any(
            "MonoenergeticEnergyEquivalent" in item
            for item in (header, *_items(header, "MultienergyCTCharacteristicsSequence"))
        ),
    )


@as_written()
def instance_number_of(header: Dataset) -> int | None:
    """Return InstanceNumber; None where it is missing or no whole number."""
    return _Attributes(header, {}).whole("InstanceNumber")


def image_numbers(images: Sequence[Dataset]) -> tuple[int, ...]:
    """Return how a reader finds each image: by InstanceNumber; counted from 1 where that tells none apart."""
    numbers = [instance_number_of(image) for image in images]
    if tell_apart(numbers):
        return tuple(number for number in numbers if number is not None)
    return tuple(range(1, len(images) + 1))


def tell_apart(instance_numbers: Sequence[int | None]) -> bool:
    """Tell whether every image has an InstanceNumber of its own."""
    return None not in instance_numbers and len(set(instance_numbers)) == len(instance_numbers)


@as_written()
def illegible_of(header: Dataset) -> tuple[str, ...]:
    """Return the tags, as ``(gggg,eeee)``, of what says whose and which study it is and nobody can read."""
    broken = []
    for tag in sorted(header.keys()):
        if tag.group in IDENTIFYING_GROUPS:
            try:
                header[tag]
            except ILLEGIBLE:
                broken.append(str(tag))
    return tuple(broken)


def _items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence, none where it is absent or nobody can read it."""
    if keyword not in dataset:
        return ()
    return tuple(item for item in legible(dataset, keyword) or () if isinstance(item, Dataset))


def _codes(dataset: Dataset, keyword: str, scheme: str) -> tuple[str, ...]:
    """Return the code values of a sequence of codes, of one scheme."""
    return tuple(
        str(legible(item, "CodeValue") or "").strip()
        for item in _items(dataset, keyword)
        if str(legible(item, "CodingSchemeDesignator") or "").strip() == scheme
    )


_tag = cache(Tag)


class _Attributes:
    """A header's attributes as plain values.

    Most are the same in all images of a series, and pydicom takes long to parse them: what the same
    bytes gave before, in the same character set, they give again.
    """

    def __init__(self, header: Dataset, known: Known) -> None:
        self.header, self.known = header, known
        self.character_set = f"{header.original_character_set} {header.get('SpecificCharacterSet')}"

    def values(self, keyword: str) -> tuple[Any, ...]:
        """Return an element's values, none where it is absent, empty or unreadable."""
        raw: object = self.header.get_item(_tag(keyword), keep_deferred=True)
        if raw is None:
            return ()
        if not isinstance(raw, RawDataElement) or raw.value is None:  # parsed before, or empty
            return _values(self.header, keyword)
        key = (keyword, raw.VR, raw.value, raw.is_implicit_VR, raw.is_little_endian, self.character_set)
        found = self.known.get(key)
        if found is None:
            found = self.known[key] = _values(self.header, keyword)
        return found

    def texts(self, keyword: str) -> tuple[str, ...]:
        return tuple(str(value).strip() for value in self.values(keyword))

    def text(self, keyword: str) -> str:
        return "\\".join(self.texts(keyword))

    def numbers(self, keyword: str, count: int) -> tuple[float, ...]:
        """Return exactly so many numbers, or none; NaN and infinity are left to the rules."""
        values = self.values(keyword)
        try:
            numbers = tuple(float(value) for value in values)
        except (ValueError, TypeError, OverflowError):
            return ()
        return numbers if len(numbers) == count else ()

    def number(self, keyword: str) -> float | None:
        numbers = self.numbers(keyword, 1)
        return numbers[0] if numbers else None

    def whole(self, keyword: str) -> int | None:
        number = self.number(keyword)
        return int(number) if number is not None and number.is_integer() else None


def _values(header: Dataset, keyword: str) -> tuple[Any, ...]:
    value = legible(header, keyword)
    if value is None or value == "":
        return ()
    return tuple(value) if isinstance(value, MultiValue | list | tuple) else (value,)
