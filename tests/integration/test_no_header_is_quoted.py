"""A text put in every element of a header that holds text, and searched in all that is said."""

from __future__ import annotations

import json
import logging
import shutil
import struct
from collections.abc import Callable, Iterator
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.config import disable_value_validation
from pydicom.datadict import dictionary_keyword
from pydicom.dataelem import DataElement
from pydicom.tag import BaseTag

from flows.corrections.ingest import ingest
from flows.corrections.outcome import outcome_of
from models.documents import to_json
from models.errors import OrganloopError, Refused
from services.dicom.ct.check import check_folder
from services.dicom.ct.chosen import choose_series
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.dicom.results.write import write_results
from tests.support.ct_files import written
from tests.support.result_cases import findings_of, organ_masks

MARK = "DOE^JANE <img src=x>"
TEXTS = frozenset(("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "PN", "SH", "ST", "TM", "UI"))
MORE = (
    "ImageComments", "ProtocolName", "ConvolutionKernel", "ContrastBolusAgent", "RescaleType", "KVP",
    "LossyImageCompression", "BurnedInAnnotation", "AcquisitionTime", "AcquisitionNumber",
    "SeriesDescription", "IssuerOfPatientID", "InstitutionName", "BodyPartExamined", "PatientPosition",
    "SeriesNumber",
)  # fmt: skip
"""Elements that rules or results ask for and a phantom has not."""

Place = tuple[Any, ...]
"""Tags and numbers of items, from the top to one element."""


def places(dataset: Dataset) -> list[Place]:
    """Return where there is text, at any depth; of what is there often, the first place."""
    found: dict[BaseTag, Place] = {}
    for place in _places(dataset, ()):
        found.setdefault(place[-1], place)
    return list(found.values())


def _places(dataset: Dataset, above: Place) -> Iterator[Place]:
    for element in dataset:
        if element.VR == "SQ":
            for n, item in enumerate(element.value[:1]):
                yield from _places(item, (*above, element.tag, n))
        elif element.VR in TEXTS:
            yield (*above, element.tag)


def save_marked(dataset: Dataset, place: Place, path: Path) -> None:
    """Write it with the mark in one place, as text where a number should be too."""
    *above, tag = place
    holder = dataset
    for step in above:
        holder = holder[step].value if isinstance(step, BaseTag) else holder[step]
    vr = str(holder[tag].VR)
    with disable_value_validation():
        holder[tag] = DataElement(tag, "LT", MARK)
        dataset.save_as(path)
    number = struct.pack("<HH", tag.group, tag.elem)  # pydicom reads such, and makes none
    path.write_bytes(path.read_bytes().replace(number + b"LT", number + vr.encode()))


@pytest.fixture
def all_that_is_said(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> Callable[[], str]:
    """Return what was logged and printed; not pydicom's own log, for these tests read with it as well."""
    caplog.set_level(logging.INFO)

    def said() -> str:
        logged = [record.getMessage() for record in caplog.records if not record.name.startswith("pydicom")]
        printed = "".join(capfd.readouterr()).splitlines()
        return "\n".join((*logged, *(line for line in printed if "pydicom" not in line)))

    return said


def judged(folder: Path, *, writes: bool) -> str:
    """Return all that is said of a folder of CT images, and written of the series that is chosen."""
    said = ""
    try:
        said += json.dumps(check_folder(folder))
        series = load(choose_series(read_series(folder)))
    except Refused as refused:
        return said + str(refused) + json.dumps(refused.measured)
    said += json.dumps(series.verdict.notes)  # which the SR repeats
    if not writes:
        return said
    shape = series.volume.geometry.shape
    objects = write_results(
        series,
        findings_of(series, organ_masks(shape)),
        profile="ohif",
        written_at=datetime(2026, 1, 1, 12),
        settings_digest="0" * 64,
    )
    for item in objects:
        written_object = dcmread(BytesIO(item.content))
        own = Dataset()
        for keyword in ("ContentSequence", "SegmentSequence", "SeriesDescription", "ContentLabel"):
            if keyword in written_object:
                own[keyword] = written_object[keyword]
        said += own.to_json()
    return said


@pytest.mark.filterwarnings("ignore")  # pydicom's, of what is written here
@pytest.mark.parametrize("where", ["one image", "all of a second series"])
def test_no_text_of_a_ct_header_is_quoted(
    tmp_path: Path, where: str, all_that_is_said: Callable[[], str]
) -> None:
    paths = written(tmp_path / "made")
    first = dcmread(paths[0])
    for keyword in MORE:
        if keyword not in first:
            setattr(first, keyword, "1")
    tried = 0
    for place in places(first):
        folder = tmp_path / "case"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "made", folder / "first")
        marked = sorted((folder / "first").iterdir())[:1]
        if where != "one image":
            marked = [Path(shutil.copy(path, folder / path.name)) for path in paths]
        for n, path in enumerate(marked):
            image = dcmread(path)
            if where != "one image":
                image.SeriesInstanceUID = "1.2.3.4"
                image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{n}"
            if place[0] not in image:
                image[place[0]] = first[place[0]]
            save_marked(image, place, path)
        assert "DOE^JANE" not in judged(folder, writes=where == "one image") + all_that_is_said(), (
            dictionary_keyword(place[-1])
        )
        tried += 1
    assert tried > 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("file", ["sent.dcm"])
def test_no_text_of_a_seg_is_quoted(
    ohif: Path, tmp_path: Path, file: str, all_that_is_said: Callable[[], str]
) -> None:
    tried = 0
    for place in places(dcmread(ohif / file)):
        seg = dcmread(ohif / file)
        save_marked(seg, place, tmp_path / "seg.dcm")
        try:
            document = ingest(tmp_path / "seg.dcm", ohif / "ct", ohif / "sent.dcm")
            said = json.dumps([to_json(document), outcome_of(document)])
        except OrganloopError as error:
            said = str(error) + json.dumps(getattr(error, "measured", {}))
        assert "DOE^JANE" not in said + all_that_is_said(), place
        tried += 1
    assert tried > 40


def test_a_label_that_names_an_organ_is_told_and_any_other_is_not(ohif: Path, tmp_path: Path) -> None:
    """What is asked about an organ names it by the catalogue's word, whatever the reader typed."""
    labels = []
    for label in ("Leber", MARK):
        seg = dcmread(ohif / "saved-by-ohif.dcm")
        for item in seg.SegmentSequence:
            item.SegmentLabel, item.SegmentAlgorithmType = label, "AUTOMATIC"
        seg.save_as(tmp_path / "seg.dcm")
        document = ingest(tmp_path / "seg.dcm", ohif / "ct", ohif / "sent.dcm")
        labels.append({question.label for question in document.questions if question.segment is not None})
    assert labels[0] == {"Liver"}
    assert labels[1] == {""}
    assert np.all([MARK not in text for text in labels])
