"""What every object we write carries beside its content: identity, patient and study, equipment, times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from string import printable
from typing import Any
from urllib.parse import quote, unquote

import highdicom
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DT

from models.uids import SeriesUid, SopUid
from models.weights_source import WeightsSource
from services.dicom.identity import SOFTWARE_VERSION

MANUFACTURER = "Organloop"

_TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber",
    "StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


PATIENT_GROUP = 0x0010
"""Every attribute of this group is about the patient (PS3.6)."""


@dataclass(frozen=True)
class Heading:
    """One object's own identity and times.

    Parameters
    ----------
    sop_instance_uid, series_instance_uid
        Its UIDs.
    series_number
        SeriesNumber; its series holds this object only.
    series_description
        What viewers list it as, at most 64 characters.
    release, release_digest
        The release that answered.
    written_at
        Date and time of content, series and instance: local time of the site, as modalities write it.
    weights
        Whose weights the release has; None where nobody said so.
    """

    sop_instance_uid: SopUid
    series_instance_uid: SeriesUid
    series_number: int
    series_description: str
    release: int
    release_digest: str
    written_at: datetime
    weights: WeightsSource | None = None

    def arguments(self) -> dict[str, Any]:
        """Return the arguments that every highdicom constructor here takes.

        The serial number of the device is the release digest: two releases are two devices.
        """
        return {
            "series_instance_uid": self.series_instance_uid,
            "series_number": self.series_number,
            "sop_instance_uid": self.sop_instance_uid,
            "instance_number": 1,
            "series_description": self.series_description,
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": MANUFACTURER,
            "software_versions": [SOFTWARE_VERSION, f"release {self.release}"],
            "device_serial_number": self.release_digest,
            "series_date": self.written_at.date(),
            "series_time": self.written_at.time(),
            "content_date": self.written_at.date(),
            "content_time": self.written_at.time(),
            "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        }

    def algorithm(self) -> highdicom.AlgorithmIdentificationSequence:
        """Return the algorithm of automatic segments: its version is the release.

        Licence and origin of the weights are parameters (0066,0032): Algorithm Source (0024,0202) holds 64
        characters, and is who made the program.
        """
        return highdicom.AlgorithmIdentificationSequence(
            name=MANUFACTURER,
            family=codes.DCM.ArtificialIntelligence,
            version=f"release {self.release}",
            source=MANUFACTURER,
            parameters={name: _quoted(value) for name, value in self.parameters().items()},
        )

    def parameters(self) -> dict[str, str]:
        """Return what the algorithm worked with, by name."""
        said = {"release digest": self.release_digest}
        if self.weights is not None:
            said |= {"weights licence": self.weights.licence, "weights origin": self.weights.origin}
        return said


def parameters_in(text: str) -> dict[str, str]:
    """Read AlgorithmParameters back, as `Heading.algorithm` writes them."""
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name: unquote(value) for name, _, value in pairs}


def _quoted(value: str) -> str:
    """Return a value without what parts one parameter from the next, and its name from it."""
    return quote(value, safe="".join(set(printable) - set(",=%")))


def without_patient(image: Dataset) -> Dataset:
    """Return a copy of an image header with patient and study values empty.

    highdicom checks and rewrites these values; ours are copied untouched by `finish` instead, so
    that an odd date or sex in the archive neither stops a result nor changes on its way.
    """
    blank = Dataset()
    blank.update(image)
    for keyword in _TYPE_2:
        blank.pop(keyword, None)  # or the new value would be set in the element both share
        setattr(blank, keyword, "")
    blank.pop("SpecificCharacterSet", None)
    return blank


def finish(dataset: highdicom.base.SOPClass, image: Dataset, heading: Heading) -> None:
    """Copy patient and study from the image as they are, and replace the clock by the heading's time.

    Parameters
    ----------
    dataset
        Object as highdicom built it; changed in place.
    image
        Header of a CT image of the study.
    heading
        The object's identity and times.
    """
    dataset.copy_patient_and_study_information(image)
    for element in image.group_dataset(PATIENT_GROUP):  # some have left the standard, and say it still
        dataset[element.tag] = element
    if "SpecificCharacterSet" in image:
        dataset["SpecificCharacterSet"] = image["SpecificCharacterSet"]
    dataset.InstanceCreationDate = dataset.ContentDate
    dataset.InstanceCreationTime = dataset.ContentTime
    for equipment in dataset.ContributingEquipmentSequence:
        if equipment.get("ManufacturerModelName") == "highdicom":
            equipment.ContributionDateTime = DT(heading.written_at)


def to_bytes(dataset: Dataset) -> bytes:
    """Return the bytes of a DICOM file (PS3.10)."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
