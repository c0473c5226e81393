"""What every archive adapter keeps, shown on a real Orthanc."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import BasicTextSRStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from models.errors import Refused, StorageFailed, StoredDiffers
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.port import Archive as Port
from services.pacs.qido import PatientOfStudy
from services.pacs.read_back import came_back
from tests.support.archive import Archive
from tests.support.encodings import LOSSLESS, LOSSY
from tests.support.instances import Instance, ct_slice, ct_study

NOBODY = "2.25.1"


@pytest.fixture(params=["dicomweb", "orthanc"])
def pacs(request: pytest.FixtureRequest, archive: Archive) -> Port:
    web = archive.http("/dicom-web", pause_seconds=0.01)
    return DicomwebArchive(web) if request.param == "dicomweb" else archive.client(pause_seconds=0.01)


def held(archive: Archive, objects: list[Instance]) -> list[Instance]:
    archive.put(*(one.content for one in objects))
    return objects


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def files_of(objects: list[Instance]) -> dict[str, bytes]:
    return {one.file_name: one.content for one in objects}


def copies(archive: Archive, sop_instance_uid: str) -> int:
    return len(archive.ask("/tools/lookup", sop_instance_uid.encode()))


def test_a_study_is_listed_by_series_and_instance(pacs: Port, archive: Archive) -> None:
    objects = held(archive, ct_study(3, 2))
    report = held(
        archive,
        [ct_slice(objects[0].study_uid, generate_uid(), Modality="SR", SOPClassUID=BasicTextSRStorage)],
    )
    study = pacs.study(objects[0].study_uid)
    assert study is not None
    assert study.patients == ("phantom",)
    assert {series.series_uid: (series.modality, series.sop_instance_uids) for series in study.series} == {
        series_uid: (
            "SR" if series_uid == report[0].series_uid else "CT",
            tuple(sorted(one.sop_instance_uid for one in objects + report if one.series_uid == series_uid)),
        )
        for series_uid in {one.series_uid for one in objects + report}
    }
    assert [series.series_uid for series in study.series] == sorted(s.series_uid for s in study.series)


@pytest.mark.parametrize("uid", [NOBODY, "", "../studies", "1.2?limit=1", "1" * 65])
def test_a_study_that_is_not_there_is_none_and_cannot_be_fetched(
    pacs: Port, archive: Archive, uid: str, tmp_path: Path
) -> None:
    held(archive, ct_study(1))
    assert pacs.study(uid) is None
    with pytest.raises(Refused, match="study-gone"):
        pacs.fetch_study(uid, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_uid_of_another_kind_finds_nothing(pacs: Port, archive: Archive, tmp_path: Path) -> None:
    [one] = held(archive, ct_study(1))
    study, series, instance = one.study_uid, one.series_uid, one.sop_instance_uid
    assert [uid for uid in (study, series, instance) if pacs.study(uid)] == [study]
    found = [uid for uid in (study, series, instance) if pacs.fetch_instance(uid, tmp_path)]
    assert found == [instance]
    for uid in (series, instance):
        with pytest.raises(Refused, match="study-gone"):
            pacs.fetch_study(uid, tmp_path)


def test_a_deleted_study_is_none(pacs: Port, archive: Archive) -> None:
    objects = held(archive, ct_study(2))
    [found] = archive.ask("/tools/lookup", objects[0].study_uid.encode())
    archive.ask(found["Path"], method="DELETE")
    assert pacs.study(objects[0].study_uid) is None


def test_what_is_fetched_is_what_was_stored_byte_by_byte(
    pacs: Port, archive: Archive, tmp_path: Path
) -> None:
    objects = held(archive, ct_study(5, 2))
    folder = pacs.fetch_study(objects[0].study_uid, tmp_path / "into")
    assert folder == tmp_path / "into" / objects[0].study_uid
    assert read(folder) == files_of(objects)
    assert [path.name for path in folder.parent.iterdir()] == [objects[0].study_uid]


def test_an_answer_is_not_compressed_which_takes_longer_than_to_send_it(archive: Archive) -> None:
    [one] = held(archive, ct_study(1, side=256))
    [place] = archive.ask("/tools/lookup", one.sop_instance_uid.encode())
    said = archive.http().stream(f"{place['Path']}/file", lambda answer: answer.headers)
    assert said is not None
    assert "Content-Encoding" not in said
    assert said["Content-Length"] == str(len(one.content))


def test_a_place_that_cannot_be_written_is_no_fault_of_the_archive(
    pacs: Port, archive: Archive, tmp_path: Path
) -> None:
    [one] = held(archive, ct_study(1))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageFailed, match="cannot be written: Not a directory"):
        pacs.fetch_study(one.study_uid, tmp_path / "file" / "into")
    with pytest.raises(StorageFailed, match="cannot be written: Not a directory"):
        pacs.fetch_instance(one.sop_instance_uid, tmp_path / "file" / "into")


def test_a_study_fetched_again_takes_the_place_of_the_earlier_one(
    pacs: Port, archive: Archive, tmp_path: Path
) -> None:
    objects = held(archive, ct_study(2))
    folder = pacs.fetch_study(objects[0].study_uid, tmp_path)
    (folder / objects[0].file_name).write_bytes(b"old")
    objects += held(archive, [ct_slice(objects[0].study_uid, objects[0].series_uid, 3)])
    assert pacs.fetch_study(objects[0].study_uid, tmp_path) == folder
    assert read(folder) == files_of(objects)
    assert [path.name for path in tmp_path.iterdir()] == [objects[0].study_uid]


@pytest.mark.parametrize("encoding", ["JPEG 2000", "JPEG-LS", "JPEG, 8 bits", "RLE"])
def test_compressed_pixels_are_not_touched(
    pacs: Port, archive: Archive, tmp_path: Path, ohif: Path, encoding: str
) -> None:
    syntax, encode = (LOSSLESS | LOSSY)[encoding]
    source = tmp_path / "encoded.dcm"
    shutil.copy(ohif / "ct" / "CT-0001.dcm", source)
    encode(source)
    dataset = dcmread(source)
    assert dataset.file_meta.TransferSyntaxUID == syntax
    archive.put(source)
    [path] = pacs.fetch_study(str(dataset.StudyInstanceUID), tmp_path).iterdir()
    assert path.read_bytes() == source.read_bytes()
    archive.empty()


def test_one_study_uid_under_two_patients_lists_both_and_is_refused(
    pacs: Port, archive: Archive, tmp_path: Path
) -> None:
    objects = held(archive, ct_study(2))
    held(archive, ct_study(1, study_uid=objects[0].study_uid, PatientID="another"))
    study = pacs.study(objects[0].study_uid)
    assert study is not None
    assert study.patients == ("another", "phantom")
    assert sum(len(series.sop_instance_uids) for series in study.series) == 3
    with pytest.raises(Refused, match="mixed-patient") as refused:
        pacs.fetch_study(objects[0].study_uid, tmp_path)
    assert refused.value.measured == {"patients": 2}


@pytest.mark.parametrize(
    ("values", "urgent"),
    [
        ({}, False),
        ({"RequestedProcedurePriority": "STAT"}, True),
        ({"RequestedProcedurePriority": "HIGH"}, True),
        ({"RequestedProcedurePriority": "ROUTINE"}, False),
        ({"StudyPriorityID": "HIGH"}, True),
    ],
)
def test_a_study_requested_at_once_is_urgent(
    pacs: Port, archive: Archive, values: dict[str, str], urgent: bool
) -> None:
    objects = held(archive, ct_study(1, **values))
    study = pacs.study(objects[0].study_uid)
    assert study is not None
    assert study.urgent is urgent


def test_whose_studies_these_are_is_told_as_people_read_it(pacs: DicomwebArchive, archive: Archive) -> None:
    named = {"PatientBirthDate": "19510203", "StudyDate": "20261129", "StudyTime": "114003"}
    [first, *_] = held(
        archive, ct_study(2, PatientName="MEIER^Anna^Maria", PatientID=generate_uid(), **named)
    )
    [second, *_] = held(archive, ct_study(1, PatientName="ROTH", PatientID="b", StudyDate="", StudyTime=""))
    [third, *_] = held(archive, ct_study(1, PatientName="ONE", PatientID="c"))
    held(archive, ct_study(1, study_uid=third.study_uid, PatientName="TWO", PatientID="d"))
    found = pacs.patients_of([first.study_uid, second.study_uid, third.study_uid, NOBODY, "no-uid"])
    assert found == {
        first.study_uid: PatientOfStudy("MEIER, Anna Maria", "1951", "29.11.2026 11:40"),
        second.study_uid: PatientOfStudy("ROTH", "", ""),
    }, "a study that lies under two patients is nobody's"
    assert pacs.patients_of([]) == {}
    assert first.study_uid in pacs.studies_of("meier", 10)
    assert second.study_uid not in pacs.studies_of("meier", 10)
    assert {second.study_uid, third.study_uid} <= set(pacs.studies_of("O", 1000))
    assert pacs.studies_of("*", 10) == pacs.studies_of("  ", 10) == ()


def test_one_object_is_fetched(pacs: Port, archive: Archive, tmp_path: Path) -> None:
    wanted, _ = held(archive, ct_study(2))
    path = pacs.fetch_instance(wanted.sop_instance_uid, tmp_path)
    assert path == tmp_path / wanted.file_name
    assert read(tmp_path) == {wanted.file_name: wanted.content}


@pytest.mark.parametrize("uid", [NOBODY, "../../etc"])
def test_an_object_that_is_not_there_is_none(pacs: Port, tmp_path: Path, uid: str) -> None:
    assert pacs.fetch_instance(uid, tmp_path) is None
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_lies_twice_is_refused(pacs: Port, archive: Archive, tmp_path: Path) -> None:
    [one] = held(archive, ct_study(1))
    twin = {"SOPInstanceUID": one.sop_instance_uid, "PatientID": "another"}
    held(archive, [ct_slice(one.study_uid, one.series_uid, 1, **twin)])
    with pytest.raises(Refused, match="mixed-patient") as refused:
        pacs.fetch_instance(one.sop_instance_uid, tmp_path)
    assert refused.value.measured == {"copies": 2}


def test_objects_are_stored_once_however_often_they_are_sent(pacs: Port, archive: Archive) -> None:
    objects = ct_study(1, 1)
    changes = archive.ask("/changes?last")["Last"]
    for _ in range(3):
        assert pacs.store(objects) == tuple(one.sop_instance_uid for one in objects)
    for one in objects:
        assert copies(archive, one.sop_instance_uid) == 1
        assert archive.bytes_of(one.sop_instance_uid) == one.content
    came = archive.ask(f"/changes?since={changes}&limit=100")["Changes"]
    assert sum(change["ChangeType"] == "NewInstance" for change in came) == 2


def test_a_store_that_was_cut_short_is_finished(pacs: Port, archive: Archive) -> None:
    objects = ct_study(1, 1, 1)
    archive.put(objects[1].content)
    pacs.store(objects)
    assert [copies(archive, one.sop_instance_uid) for one in objects] == [1, 1, 1]


def forged(one: Instance) -> bytes:
    """Return another image under the same UIDs, as who knows one result can compute them."""
    return ct_slice(one.study_uid, one.series_uid, 7, SOPInstanceUID=one.sop_instance_uid).content


def another_patients(one: Instance) -> bytes:
    twin = {"SOPInstanceUID": one.sop_instance_uid, "PatientID": "another"}
    return ct_slice(one.study_uid, one.series_uid, 1, **twin).content


def one_value_changed(one: Instance) -> bytes:
    return one.content.replace(b"phantom", b"phantxm")


def cut(one: Instance) -> bytes:
    """Return the object with half of its pixels, whole as a file."""
    dataset = dcmread(BytesIO(one.content))
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 2]
    file = BytesIO()
    dataset.save_as(file)
    return file.getvalue()


@pytest.mark.parametrize("other", [forged, another_patients, one_value_changed, cut])
def test_another_object_that_was_first_under_the_uid_is_not_called_stored(
    pacs: Port, archive: Archive, other: Callable[[Instance], bytes]
) -> None:
    first, second = ct_study(1, 1)
    archive.put(other(first))
    with pytest.raises(StoredDiffers, match=f"holds another object under {first.sop_instance_uid}") as failed:
        pacs.store([first, second])
    assert failed.value.sop_instance_uid == first.sop_instance_uid
    assert copies(archive, second.sop_instance_uid) == 0, "nothing goes after it"
    archive.empty()
    pacs.store([first, second])
    assert archive.bytes_of(first.sop_instance_uid) == first.content


def test_what_only_the_archive_says_beside_is_no_difference(tmp_path: Path) -> None:
    [one] = ct_study(1)
    dataset = dcmread(BytesIO(one.content))
    dataset.RetrieveURL = "http://archive/object"
    dataset.InstanceAvailability = "ONLINE"
    dataset.file_meta.ImplementationVersionName = "ARCHIVE"
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.save_as(tmp_path / "written-anew.dcm")
        assert came_back(one.content, tmp_path / "written-anew.dcm")
    lossy = tmp_path / "lossy.dcm"
    lossy.write_bytes(one.content)
    LOSSY["JPEG-LS near lossless"][1](lossy)
    assert not came_back(one.content, lossy)
    for spoilt in (b"", one.content[:-1], one.content + bytes(100_000), b"\0" * 500, forged(one)):
        (tmp_path / "spoilt.dcm").write_bytes(spoilt)
        assert not came_back(one.content, tmp_path / "spoilt.dcm")


def test_a_rejected_object_is_named_with_its_reason_and_nothing_is_sent_after_it(
    pacs: Port, archive: Archive
) -> None:
    first, second, report = ct_study(1, 1, 1)
    nameless = Instance(second.sop_instance_uid, second.study_uid, second.series_uid, b"\0" * 300)
    with pytest.raises(StorageFailed, match=f"{second.sop_instance_uid} is no DICOM object"):
        pacs.store([first, nameless, report])
    assert [copies(archive, one.sop_instance_uid) for one in (first, second, report)] == [0, 0, 0]

    series_less = ct_slice(first.study_uid, "", SeriesInstanceUID=None)  # Orthanc wants one
    with pytest.raises(StorageFailed) as failed:
        pacs.store([first, series_less, report])
    assert f"did not store {series_less.sop_instance_uid}: C000H, not understood" in str(failed.value)
    assert f"; {report.sop_instance_uid}: not sent" in str(failed.value)
    assert [copies(archive, one.sop_instance_uid) for one in (first, series_less, report)] == [1, 0, 0]

    repaired = ct_slice(first.study_uid, generate_uid(), SOPInstanceUID=series_less.sop_instance_uid)
    pacs.store([first, repaired, report])
    assert [copies(archive, one.sop_instance_uid) for one in (first, repaired, report)] == [1, 1, 1]


def test_an_object_under_another_ones_name_is_not_sent(pacs: Port, archive: Archive) -> None:
    one, other = ct_study(2)
    swapped = Instance(one.sop_instance_uid, one.study_uid, one.series_uid, other.content)
    with pytest.raises(StorageFailed, match="names another object inside"):
        pacs.store([swapped])
    assert copies(archive, other.sop_instance_uid) == 0


def test_a_message_names_no_patient(pacs: Port, archive: Archive) -> None:
    broken = ct_slice(generate_uid(), "", SeriesInstanceUID=None)
    with pytest.raises(StorageFailed) as failed:
        pacs.store([broken])
    assert "phantom" not in json.dumps(str(failed.value)).lower()


@pytest.mark.parametrize("evil", ["../../../../evil", "/tmp/evil-object", "1.2.3.4.5.6.7.x."])
def test_an_object_whose_uid_is_none_is_refused_and_nothing_is_written(
    pacs: Port, archive: Archive, tmp_path: Path, evil: str
) -> None:
    one, other = ct_study(2)
    good = "1.23456789012345"[: len(evil)]
    bad = ct_slice(one.study_uid, one.series_uid, 3, SOPInstanceUID=good).content
    held(archive, [one, other])
    archive.put(bad.replace(good.encode(), evil.encode()))
    into = tmp_path / "a" / "b" / "c" / "d"
    with pytest.raises(Refused) as refused:
        pacs.fetch_study(one.study_uid, into)
    assert (refused.value.code, refused.value.measured) == ("missing-uid", {"characters": len(evil)})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert not Path("/tmp/evil-object.dcm").exists()
