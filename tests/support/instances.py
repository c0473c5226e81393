"""Small DICOM objects for archives: CT slices of 8 x 8 pixels, any number of them in milliseconds."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, generate_uid


@dataclass(frozen=True)
class Instance:
    """One object, as the adapters take it."""

    sop_instance_uid: str
    study_uid: str
    series_uid: str
    content: bytes

    @property
    def file_name(self) -> str:
        return f"{self.sop_instance_uid}.dcm"


def ct_slice(study_uid: str, series_uid: str, number: int = 1, *, side: int = 8, **values: Any) -> Instance:
    """Return a CT slice of `side` x `side` pixels; other values by keyword, None leaves an element out."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", Dataset(), preamble=bytes(range(128)), file_meta=meta)
    given = {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": study_uid,
        "SeriesInstanceUID": series_uid,
        "PatientID": "phantom",
        "PatientName": "Phantom^One",
        "Modality": "CT",
        "StudyDate": "20260301",
        "StudyTime": "",
        "AccessionNumber": "",
        "StudyID": "",
        "InstanceNumber": number,
        "ImagePositionPatient": [0, 0, 5 * number],
        "Rows": side,
        "Columns": side,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        "PixelRepresentation": 1,
    } | values
    for keyword, value in given.items():
        if value is not None:
            setattr(dataset, keyword, value)
    pixels = np.random.default_rng(number).integers(-1000, 1000, (side, side), dtype=np.int16)
    dataset.PixelData = pixels.tobytes()
    meta.MediaStorageSOPClassUID = UID(given["SOPClassUID"])
    meta.MediaStorageSOPInstanceUID = UID(given["SOPInstanceUID"] or "1.2.3")
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return Instance(given["SOPInstanceUID"] or "", study_uid, series_uid, file.getvalue())


def ct_study(*slices_of_series: int, study_uid: str | None = None, **values: Any) -> list[Instance]:
    """Return a study with so many slices in each series."""
    study = study_uid or generate_uid()
    return [
        ct_slice(study, series, number + 1, **values)
        for series, count in ((generate_uid(), count) for count in slices_of_series)
        for number in range(count)
    ]
