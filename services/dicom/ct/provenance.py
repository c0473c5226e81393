"""Whose a CT series is and where it was scanned, as the case store wants it."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from models.series.acquisition import Acquisition
from models.words import header_words
from services.dicom.ct.loaded import CTSeries
from services.dicom.foreign.reader import legible


def patient_of(ct: CTSeries) -> str | None:
    r"""Return ``PatientID``, or ``Issuer\PatientID`` where its issuer is named; None without one.

    Numbers of two issuers may be the same and their patients are not. The backslash separates values in
    DICOM, so that no value has one.

    Notes
    -----
    Source: PS3.3 C.7.1.1, Patient Module: PatientID (0010,0020), IssuerOfPatientID (0010,0021).
    """
    return patient_of_image(ct.images[0])


def patient_of_image(image: Dataset) -> str | None:
    """Return whose one image is, as `patient_of`."""
    number, issuer = (_text(image, keyword) for keyword in ("PatientID", "IssuerOfPatientID"))
    if not number:
        return None
    return f"{issuer}\\{number}" if issuer else number


def site_of(ct: CTSeries) -> str:
    """Return InstitutionName (PS3.3 C.7.5.1) as `header_words`, empty if the headers do not say."""
    return header_words(legible(ct.images[0], "InstitutionName"))


def _text(image: Dataset, keyword: str) -> str:
    """Return a value as text; empty where it is missing or nobody can read it."""
    return str(legible(image, keyword) or "").strip()


def acquisition_of(ct: CTSeries) -> Acquisition:
    """Return how a series was acquired, as far as its headers say.

    Notes
    -----
    Source: PS3.3 C.7.5.1 (Manufacturer, ManufacturerModelName), C.8.2.1 (ConvolutionKernel), C.7.6.2
    (SliceThickness), C.7.6.4 (ContrastBolusAgent: a module that is there only where an agent was given).
    """
    image = ct.images[0]
    scanner = " ".join(
        text
        for word in ("Manufacturer", "ManufacturerModelName")
        if (text := header_words(legible(image, word)))
    )
    kernel = legible(image, "ConvolutionKernel") or ""
    try:
        thickness = float(legible(image, "SliceThickness"))
    except (TypeError, ValueError):
        thickness = None
    return Acquisition(
        scanner=scanner,
        kernel=header_words("\\".join(map(str, kernel)) if isinstance(kernel, list | MultiValue) else kernel),
        thickness_mm=thickness,
        contrast="stated" if _text(image, "ContrastBolusAgent") else "not stated",
    )
