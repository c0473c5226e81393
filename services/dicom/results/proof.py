"""Proof of an object before it is sent: read back by other code than wrote it, and compared.

Everything here and in `seg_proof` and `report_proof` reads with pydicom alone, so that a fault in the
writing library, or in how it is used, shows as a difference. On any difference nothing is sent.
"""

from __future__ import annotations

from typing import Any

from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

from models.errors import ProofFailed
from services.dicom.foreign.objects import object_in
from services.dicom.results.heading import PATIENT_GROUP, Heading

_STUDY = (
    "SpecificCharacterSet", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription",
    "AccessionNumber", "IssuerOfAccessionNumberSequence", "ReferringPhysicianName",
)  # fmt: skip


def same(what: str, found: Any, meant: Any) -> None:
    """Compare one value.

    Raises
    ------
    ProofFailed
        If found and meant differ; the message names what, and shows both unless it is the patient's.
    """
    if found != meant:
        raise ProofFailed(f"{what} was read back as {found!r} and meant as {meant!r}")


def read_back(content: bytes, image: Dataset, heading: Heading) -> Dataset:
    """Read an object and compare identity, patient and study.

    Parameters
    ----------
    content
        The bytes of the file.
    image
        Header of a CT image of the same study.
    heading
        Identity and times as meant.

    Returns
    -------
    Dataset
        The object, for the comparisons that follow.

    Raises
    ------
    ProofFailed
        On the first difference.
    """
    dataset = object_in(content)
    same("SOPInstanceUID", str(dataset.SOPInstanceUID), heading.sop_instance_uid)
    same(
        "MediaStorageSOPInstanceUID",
        str(dataset.file_meta.MediaStorageSOPInstanceUID),
        heading.sop_instance_uid,
    )
    same("SeriesInstanceUID", str(dataset.SeriesInstanceUID), heading.series_instance_uid)
    same("SeriesDescription", dataset.SeriesDescription, heading.series_description)
    same("DeviceSerialNumber", dataset.DeviceSerialNumber, heading.release_digest)
    ours, theirs = dataset.group_dataset(PATIENT_GROUP), image.group_dataset(PATIENT_GROUP)
    for tag in sorted({*ours.keys(), *theirs.keys(), *map(Tag, _STUDY)}):
        if _value(dataset, tag) != _value(image, tag):  # the values stay unsaid
            raise ProofFailed(f"{keyword_for_tag(tag) or tag} is not that of the CT images")
    return dataset


def _value(dataset: Dataset, tag: BaseTag) -> Any:
    """Return a value, None where it is absent or empty: type 2 attributes may be either."""
    return (dataset[tag].value or None) if tag in dataset else None
