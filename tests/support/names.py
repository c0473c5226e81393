"""A study full of names, and where they turn up that they should not."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

NAME = "Zschokke"
"""Of nobody, and in no other file here."""


def fill_with_names(folder: Path) -> None:
    """Write the name into whatever a person may type in, a date and a number among it."""
    for path in folder.iterdir():
        dataset = dcmread(path)
        for keyword in ("PatientName", "OtherPatientNames", "ReferringPhysicianName", "OperatorsName"):
            setattr(dataset, keyword, f"{NAME}^Wilhelmine")
        for keyword in ("PatientID", "AccessionNumber", "StudyID"):
            setattr(dataset, keyword, f"{NAME}17")
        for keyword in ("StudyDescription", "SeriesDescription", "ProtocolName"):
            setattr(dataset, keyword, f"of {NAME}")
        for keyword in ("PatientComments", "AdditionalPatientHistory", "ImageComments"):
            setattr(dataset, keyword, f"Frau {NAME}, geb. 1871")
        request = Dataset()
        request.RequestedProcedureDescription = f"for {NAME}"
        dataset.RequestAttributesSequence = [request]
        for keyword in ("AcquisitionDate", "ContentTime"):
            element = dataset.data_element(keyword)
            if element is None:
                setattr(dataset, keyword, "")
                element = dataset[keyword]
            element._value = NAME  # no date: pydicom warns of it, with the value
        dataset.save_as(path)


def files_that_tell(folder: Path, *but: str) -> list[str]:
    """Return the files under a folder that hold the name, packed or not; some sub-folders left out."""
    return [
        str(path.relative_to(folder))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(path.is_relative_to(folder / one) for one in but)
        and any(NAME.lower().encode() in content.lower() for content in _contents(path))
    ]


def _contents(path: Path) -> Iterator[bytes]:
    content = path.read_bytes()
    yield content
    yield str(path).encode()
    if path.suffix == ".gz":
        try:
            yield gzip.decompress(content)
        except (OSError, EOFError, zlib.error):
            return
