"""A page of pixels as a Secondary Capture image, written and proven: what every PACS shows.

The page bears the patient's ID and the date of the study (`services.pictures.summary_page`), and the object
says so: Burned In Annotation is YES.
"""

from __future__ import annotations

import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray

from models.errors import ProofFailed
from services.dicom.ct.loaded import CTSeries
from services.dicom.results.heading import Heading, finish, to_bytes
from services.dicom.results.proof import read_back, same

KIND = "summary-sc"
SOP_CLASS_UID = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage (PS3.3 A.8.1)."""


def write_summary(series: CTSeries, page: NDArray[np.uint8], heading: Heading) -> bytes:
    """Return the bytes of the object.

    Parameters
    ----------
    series
        The CT series, for patient and study.
    page
        Axes (row, column, channel), RGB.
    heading
        Identity and times.
    """
    capture = SCImage(
        pixel_array=page,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=series.study_uid,
        **heading.arguments(),
    )
    finish(capture, series.images[0], heading)
    capture.PatientOrientation = []  # a page has none (PS3.3 C.7.6.1, type 2C); highdicom wants one
    capture.Laterality = ""  # nor a side (C.7.3.1, type 2C)
    capture.BurnedInAnnotation = "YES"
    capture.DateOfSecondaryCapture, capture.TimeOfSecondaryCapture = capture.ContentDate, capture.ContentTime
    return to_bytes(capture)


def prove_summary(content: bytes, series: CTSeries, page: NDArray[np.uint8], heading: Heading) -> None:
    """Read the object back and compare it with the page, pixel by pixel.

    Raises
    ------
    ProofFailed
        On the first difference.
    """
    dataset = read_back(content, series.images[0], heading)
    meant = {
        "SOPClassUID": SOP_CLASS_UID,
        "StudyInstanceUID": series.study_uid,
        "Modality": "OT",
        "BurnedInAnnotation": "YES",
        "PhotometricInterpretation": "RGB",
        "SamplesPerPixel": 3,
        "PlanarConfiguration": 0,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "PixelRepresentation": 0,
        "Rows": page.shape[0],
        "Columns": page.shape[1],
    }
    for keyword, value in meant.items():
        same(keyword, dataset.get(keyword), value)
    if bytes(dataset.PixelData)[: page.size] != page.tobytes():
        raise ProofFailed("the pixels of the summary were read back and are others than were meant")
