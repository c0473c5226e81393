"""What is known of one slice before its pixels are read, as plain values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from models.uids import SeriesUid, SopUid, StudyUid

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT Image Storage",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT Image Storage",
}
"""SOP classes of multi-frame CT, by UID (PS3.4 B.5)."""
CT_CLASSES = frozenset((CT_IMAGE_STORAGE, *ENHANCED_CT_CLASSES))
"""All SOP classes of CT images."""

UID_FORM = re.compile(r"[0-9.]{1,64}")
"""What an identifier may look like (PS3.5 9.1); leading zeros, which some write, do no harm."""


_LOCALIZERS = ("LOCALIZER", "SCOUT", "TOPOGRAM", "SURVIEW", "SCANOGRAM")
"""Of the standard; GE, Siemens, Philips, Toshiba."""


@dataclass(frozen=True)
class PixelFormat:
    """How the stored values of a slice are coded; None for what the header does not say.

    Parameters
    ----------
    samples
        SamplesPerPixel.
    photometric
        PhotometricInterpretation, empty when absent.
    bits_allocated, bits_stored, high_bit
        As in DICOM.
    representation
        PixelRepresentation: 0 unsigned, 1 two's complement.
    """

    samples: int | None
    photometric: str
    bits_allocated: int | None
    bits_stored: int | None
    high_bit: int | None
    representation: int | None


@dataclass(frozen=True)
class SliceFacts:
    """One slice's header. Text and tuples are empty, numbers None, where absent or unreadable.

    Parameters
    ----------
    sop_instance_uid, study_uid, series_uid, frame_of_reference_uid
        Identifiers.
    patient
        What tells patients apart: PatientID, its issuer, the date of birth.
    modality, sop_class_uid, image_type
        What kind of image it says it is.
    frames
        NumberOfFrames; 1 for a plain image.
    position
        ImagePositionPatient, LPS mm: the centre of the first voxel.
    orientation
        ImageOrientationPatient: direction cosines of increasing column index, then of increasing
        row index.
    pixel_spacing
        PixelSpacing, mm: between rows, between columns (in this order).
    rows, columns
        Size of the slice.
    phase
        What tells two passes over the same place apart: acquisition number, date, time, temporal
        position.
    technique
        What the reader should know if it changes within a series: kernel, tube voltage.
    setting
        What else tells two passes apart where they alternate: phase of the heart or of breathing, trigger,
        options, filter, diameter; the time of the content is that of its writing.
    kernel, description, contrast
        ConvolutionKernel, SeriesDescription, and whether a ContrastBolusAgent is named: what the choice
        among several series of a study may look at (`models.series.choice`).
    series_number, instance_number
        For a person to find series and slice by; nothing is put in order by them.
    slope, intercept
        RescaleSlope and RescaleIntercept.
    rescale_type
        RescaleType; empty means HU (PS3.3 C.8.2.1).
    lookup_table
        Whether a ModalityLUTSequence stands in place of slope and intercept.
    pixels
        How the stored values are coded.
    lossy, burned_in
        Whether the pixels went through lossy compression, or are said to hold burned-in text.
    derivation_codes
        Code values of DerivationCodeSequence, scheme DCM.
    derivation
        DerivationDescription.
    units
        Code values of the units of RealWorldValueMappingSequence.
    one_energy
        Whether a photon energy is named that the image was computed for.
    """

    sop_instance_uid: SopUid
    study_uid: StudyUid
    series_uid: SeriesUid
    frame_of_reference_uid: str
    patient: tuple[str, ...]
    modality: str
    sop_class_uid: str
    image_type: tuple[str, ...]
    frames: int
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, ...]
    rows: int | None
    columns: int | None
    phase: tuple[str, ...]
    technique: tuple[str, ...]
    setting: tuple[str, ...]
    kernel: str
    description: str
    contrast: bool
    series_number: int | None
    instance_number: int | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    lookup_table: bool
    pixels: PixelFormat
    lossy: bool
    burned_in: bool
    derivation_codes: tuple[str, ...] = ()
    derivation: str = ""
    units: tuple[str, ...] = ()
    one_energy: bool = False

    @property
    def may_be_ct(self) -> bool:
        """Whether the object is, or may be, a CT image: by its SOP class, else by its modality.

        What says that it is another object decides nothing about those that are CT images. What contradicts
        itself, or does not say, is no such object.
        """
        if UID_FORM.fullmatch(self.sop_class_uid):
            return self.sop_class_uid in CT_CLASSES
        return self.modality in ("CT", "")

    @property
    def is_localizer(self) -> bool:
        """Whether the slice calls itself a localizer (ImageType, PS3.3 C.8.2.1.1.1, or a maker's word)."""
        return any(word in value.upper() for value in self.image_type[1:] for word in _LOCALIZERS)


def hu_type(slices: Iterable[SliceFacts]) -> type[np.int16] | type[np.float32]:
    """Return the type of a series' HU: int16 where all slopes and intercepts are whole, else float32."""
    whole = all((s.slope or 0.0).is_integer() and (s.intercept or 0.0).is_integer() for s in slices)
    return np.int16 if whole else np.float32
