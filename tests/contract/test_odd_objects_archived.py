"""Objects of an archived study that are no CT images decide nothing; on a real Orthanc."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.uid import (
    BasicTextSRStorage,
    MRImageStorage,
    RTStructureSetStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    generate_uid,
)

from flows.arrivals.archived_study import ct_images, version_of
from flows.cases.erase import _archived_patient
from models.errors import Refused
from services.dicom.foreign.reader import as_written
from services.pacs.allowance import StudyLimits
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.kinds import kind_of
from services.pacs.orthanc import OrthancArchive
from tests.support.archive import Archive
from tests.support.instances import Instance, ct_slice, ct_study

LETTERS = "1.2.826.0.1.A77.5"
ODD = {
    "contours in the series": {"SOPClassUID": RTStructureSetStorage, "Modality": "RTSTRUCT"},
    "contours said to be CT": {"SOPClassUID": RTStructureSetStorage},
    "a screen save in the series": {"SOPClassUID": SecondaryCaptureImageStorage},
    "a SEG in the series": {"SOPClassUID": SegmentationStorage, "Modality": "SEG"},
    "a report with letters": {
        "SOPClassUID": BasicTextSRStorage, "Modality": "SR", "SOPInstanceUID": LETTERS,
        "SeriesInstanceUID": "1.2.3.88",
    },
    "a report with letters in the series": {
        "SOPClassUID": BasicTextSRStorage, "Modality": "SR", "SOPInstanceUID": LETTERS,
    },
}  # fmt: skip


def port(archive: Archive, kind: str, limits: StudyLimits) -> DicomwebArchive:
    web = archive.http("/dicom-web", pause_seconds=0.01)
    if kind == "dicomweb":
        return DicomwebArchive(web, limits)
    return OrthancArchive(archive.http(pause_seconds=0.01), web, limits)


@as_written()
def other(objects: list[Instance], **values: object) -> Instance:
    return ct_slice(objects[0].study_uid, objects[0].series_uid, 99, **values)


@pytest.mark.parametrize("adapter", ["dicomweb", "orthanc"])
@pytest.mark.parametrize("what", ODD)
def test_the_images_are_fetched_and_nothing_else_is(
    clean_archive: Archive, tmp_path: Path, what: str, adapter: str
) -> None:
    """One comes before the images, one behind them."""
    objects = ct_study(3)
    first, last = (other(objects, **ODD[what], **more) for more in ({}, {"InstanceNumber": 100}))
    if "SOPInstanceUID" in ODD[what]:
        last = other(objects, **ODD[what] | {"SOPInstanceUID": f"{LETTERS}.B"})
    for one in (first, *objects, last):
        clean_archive.put(one.content)
    pacs = port(clean_archive, adapter, StudyLimits(objects=3))
    study = pacs.study(objects[0].study_uid)
    assert study is not None
    assert ct_images(study) == sorted(one.sop_instance_uid for one in objects)
    [odd] = [series for series in study.series if series.modality != "CT"]
    assert odd.sop_instance_uids == tuple(sorted((first.sop_instance_uid, last.sop_instance_uid)))
    folder = pacs.fetch_study(objects[0].study_uid, tmp_path / "into")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        one.file_name: one.content for one in objects
    }


@pytest.mark.parametrize("adapter", ["dicomweb", "orthanc"])
def test_a_study_is_the_same_version_whatever_came_beside_its_images(
    clean_archive: Archive, adapter: str
) -> None:
    objects = ct_study(2)
    clean_archive.put(*(one.content for one in objects))
    pacs = port(clean_archive, adapter, StudyLimits())
    versions = set()
    for values in ({}, *ODD.values()):
        if values:
            clean_archive.put(other(objects, **values | {"SOPInstanceUID": generate_uid()}).content)
        study = pacs.study(objects[0].study_uid)
        assert study is not None
        versions.add(version_of(study))
    assert len(versions) == 1


def test_a_report_under_another_patient_does_not_make_two_of_the_images(
    clean_archive: Archive, tmp_path: Path
) -> None:
    objects = ct_study(2)
    report = other(
        objects,
        SOPClassUID=BasicTextSRStorage,
        Modality="SR",
        PatientID="another",
        SeriesInstanceUID="1.2.3.88",
    )
    clean_archive.put(*(one.content for one in (report, *objects)))
    pacs = port(clean_archive, "orthanc", StudyLimits())
    study = pacs.study(objects[0].study_uid)
    assert study is not None
    assert study.patients == ("phantom",)
    assert len(list(pacs.fetch_study(objects[0].study_uid, tmp_path).iterdir())) == 2


@pytest.mark.parametrize("adapter", ["dicomweb", "orthanc"])
def test_an_image_whose_uid_is_none_and_a_study_without_images_are_refused(
    clean_archive: Archive, tmp_path: Path, adapter: str
) -> None:
    objects = ct_study(2)
    clean_archive.put(*(one.content for one in (*objects, other(objects, SOPInstanceUID=LETTERS))))
    contours = ct_slice(generate_uid(), generate_uid(), **ODD["contours in the series"])
    clean_archive.put(contours.content)
    pacs = port(clean_archive, adapter, StudyLimits())
    for uid, code in ((objects[0].study_uid, "missing-uid"), (contours.study_uid, "not-ct")):
        with pytest.raises(Refused) as refused:
            pacs.fetch_study(uid, tmp_path)
        assert refused.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("sop_class", "modality", "kind"),
    [
        ("", "MR", "MR"),
        ("", "CT", "CT"),
        ("1.2.840.10008.5.1.4.1.1.2", "RTSTRUCT", "CT"),
        ("1.2.840.10008.5.1.4.1.1.2.1", "", "CT"),
        (MRImageStorage, "MR", "MR"),
        (MRImageStorage, "CT", "OT"),
        ("1.2.840.10008.5.1.4.1.1.88.33", "CT", "SR"),
    ],
)
def test_what_an_object_is_its_class_says_and_else_its_series(
    sop_class: str, modality: str, kind: str
) -> None:
    assert kind_of(sop_class, modality) == kind


def test_where_an_orthanc_knows_no_classes_the_modality_of_the_series_is_believed_by_list_and_fetch(
    clean_archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of what it took in before it kept them."""
    objects = ct_study(2)
    seg = other(objects, SOPClassUID=SegmentationStorage, Modality="SEG", SeriesInstanceUID="1.2.3.88")
    clean_archive.put(*(one.content for one in (seg, *objects)))
    pacs = port(clean_archive, "orthanc", StudyLimits(objects=2))
    files = OrthancArchive._files
    monkeypatch.setattr(
        OrthancArchive, "_files", lambda *of: [replace(one, sop_class_uid="") for one in files(*of)]
    )
    folder = pacs.fetch_study(objects[0].study_uid, tmp_path / "into")
    assert {path.name for path in folder.iterdir()} == {one.file_name for one in objects}


def test_the_patient_of_a_study_without_ct_images_is_found_to_be_erased(
    clean_archive: Archive, tmp_path: Path
) -> None:
    page = other(ct_study(1), SOPClassUID=SecondaryCaptureImageStorage, PatientID="somebody")
    clean_archive.put(page.content)
    pacs = port(clean_archive, "orthanc", StudyLimits())
    study = pacs.study(page.study_uid)
    assert study is not None
    assert ct_images(study) == []
    assert "somebody" in str(_archived_patient(study, pacs, tmp_path))
