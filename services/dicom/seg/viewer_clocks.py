"""In which zone a viewer's clock is, where it writes a time and names no offset from UTC.

DICOM leaves the zone of such a time undefined (PS3.3 C.12.1, TimezoneOffsetFromUTC). Most writers mean the
site's: dcmqi, and with it 3D Slicer and MITK, asks DCMTK for the local time (`DcmDate::getCurrentDate` in its
`Itk2DicomConverter.cpp`); highdicom asks `datetime.now()`. Those that mean another are below.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from pydicom.dataset import Dataset

IN_UTC = ("OHIF-", "dcmjs-")
"""How ImplementationVersionName begins where a viewer writes UTC.

dcmjs takes date and time from `toISOString()` (`DicomMetaDictionary.date`, `time`), which is UTC, and names
no offset (`DerivedDataset`). OHIF stores what dcmjs made under a name of its own, ``OHIF-3.11.0`` (its
`DicomWebDataSource`); what it downloads bears the library's, ``dcmjs-0.0`` (`datasetToBlob`).
"""

FILLED_BY_DCMJS: Mapping[str, str] = {
    "Manufacturer": "Unspecified",
    "ManufacturerModelName": "Unspecified",
    "SoftwareVersions": "0",
    "DeviceSerialNumber": "1",
}
"""What dcmjs writes of the equipment where nobody told it (`DerivedDataset`).

By this it is known where an archive wrote the file meta information anew.
"""


def with_zone(saved: datetime, viewer: str, header: Dataset | None = None) -> datetime | None:
    """Return when a viewer saved, with the offset from UTC; None where no offset fits.

    Parameters
    ----------
    saved
        As it wrote it.
    viewer
        What it says of itself (`services.dicom.seg.saving.Saving.viewer`).
    header
        Of what it wrote, where that is at hand.
    """
    if saved.tzinfo is not None:
        return saved
    if any(word.startswith(IN_UTC) for word in viewer.split()) or _filled_by_dcmjs(header):
        return saved.replace(tzinfo=UTC)
    try:
        return saved.astimezone()  # the zone of this machine, summer time as on that day
    except (OverflowError, ValueError, OSError):  # the years 1 and 9999
        return None


def _filled_by_dcmjs(header: Dataset | None) -> bool:
    return header is not None and all(
        str(header.get(keyword) or "").strip() == text for keyword, text in FILLED_BY_DCMJS.items()
    )
