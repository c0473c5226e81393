"""A result that goes to the archive leaves pictures of its organs for the pages, until its patient goes."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import pytest
from PIL import Image
from pydicom import dcmread

from flows.cases.erase import erase
from flows.segmentation.segment import segment
from flows.speech.speech import be_silent, speak
from models.errors import StorageFailed
from services.backup.backup import take
from services.pictures.kept import StudyPictures
from services.records.entries.arrivals import ArrivalState
from services.records.entries.reading import ReadingState
from tests.support.archive import Archive
from tests.support.arrivals import Hospital, open_hospital, write_short_phantom
from tests.support.learning import ORGANS, Site, open_site
from tests.support.log import lines


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return open_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short_phantom(tmp_path_factory.mktemp("phantom") / "ct")


@pytest.fixture
def hospital(site: Site, phantom: Path, clean_archive: Archive, tmp_path: Path) -> Hospital:
    """Return a hospital whose results go to the archive."""
    return open_hospital(site, clean_archive, phantom, tmp_path, waits=False)


def pictures_of(hospital: Hospital) -> StudyPictures:
    return StudyPictures(hospital.services.settings.pictures_folder)


def the_key(hospital: Hospital) -> str:
    [result] = hospital.services.records.results_of_study(hospital.study_uid)
    return str(result.key)


def kept(hospital: Hospital) -> list[Path]:
    return [one for one in hospital.services.settings.pictures_folder.rglob("*") if one.is_file()]


def test_a_sent_result_has_pictures_of_each_organ_found_and_a_repeated_step_the_same(
    hospital: Hospital,
) -> None:
    hospital.push()
    hospital.segmented()
    pictures = pictures_of(hospital)
    found = pictures.of(the_key(hospital))
    again = segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert "picture" in again.document.seconds
    assert pictures.of(the_key(hospital)) == found
    drawn = {organ for organ, mask in again.findings.masks.items() if mask.any()}
    assert drawn
    assert drawn <= {one.organ for one in found} <= set(ORGANS)
    images = {str(one.SOPInstanceUID): int(one.InstanceNumber) for one in again.series.images}
    for one in found:
        assert Image.open(io.BytesIO(pictures.png(the_key(hospital), one.name))).size == (
            one.width,
            one.height,
        )
        if one.plane == "axial":
            assert images[str(one.image_uid)] == one.image_number
    image = dcmread(next(hospital.ct.iterdir()), stop_before_pixels=True)
    names = " ".join(str(one) for one in kept(hospital))
    for said in (image.PatientID, image.StudyInstanceUID, image.SeriesInstanceUID, "1.2.826"):
        assert str(said) not in names
    text = next(one for one in kept(hospital) if one.name == "pictures.json").read_text()
    assert str(image.PatientName) not in text
    assert str(image.PatientID) not in text


def test_a_sent_result_is_on_the_worklist_with_what_was_said_of_each_organ(hospital: Hospital) -> None:
    hospital.push()
    records, cases = hospital.services.records, hospital.services.cases
    said = segment(hospital.study_uid, None, hospital.services, organs=ORGANS).document
    [listed] = [one for state in ReadingState for one in records.worklist(state)]
    flags = {one.flag for one in said.organs}
    assert listed.state is (ReadingState.WAITING if flags & {"review", "reject"} else ReadingState.CLEAR)
    assert (listed.study_uid, listed.result) == (hospital.study_uid, the_key(hospital))
    assert listed.seg_series_uid == said.first_look.seg_series_uid
    assert listed.page == cases.pseudonym(f"page {hospital.study_uid}")[:16]
    findings = records.findings([listed.result])[listed.result]
    told = [(one.organ, one.flag, one.reasons, one.importance_ml) for one in findings]
    assert told == [(one.organ, one.flag, one.reasons, one.importance_ml) for one in said.organs]
    assert [one.segment for one in findings if one.segment] == list(range(1, len(ORGANS) + 1))
    erase(hospital.study_uid, "Dr A", "asked for", hospital.services)
    assert [one for state in ReadingState for one in records.worklist(state)] == []
    assert records.findings([listed.result])[listed.result] == ()


def test_a_silent_site_makes_none_until_the_result_is_sent(hospital: Hospital) -> None:
    be_silent("Dr A", "a new network", hospital.services.records)
    hospital.push()
    hospital.segmented()
    assert kept(hospital) == []
    speak("Dr C", "figures read again", hospital.services.records)
    assert [one for state in ReadingState for one in hospital.services.records.worklist(state)] == []
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert pictures_of(hospital).of(the_key(hospital))


def test_a_folders_results_and_those_of_a_site_that_wants_none_leave_none(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.push()
    segment(hospital.study_uid, tmp_path / "out", hospital.services, organs=ORGANS)
    settings = hospital.services.settings.model_copy(update={"keep_pictures_days": 0.0})
    segment(
        hospital.study_uid, None, dataclasses.replace(hospital.services, settings=settings), organs=ORGANS
    )
    assert hospital.results()
    assert kept(hospital) == []


def test_pictures_go_with_their_patient_and_come_no_more(hospital: Hospital) -> None:
    hospital.push()
    hospital.segmented()
    assert kept(hospital)
    erase(hospital.study_uid, "Dr A", "asked for", hospital.services)
    assert kept(hospital) == []
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert kept(hospital) == []


def test_a_patient_taken_out_while_pictures_are_made_leaves_none(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.push()
    records, keep = hospital.services.records, StudyPictures.keep

    def kept_and_erased(pictures: StudyPictures, patient: str, *given: object) -> None:
        keep(pictures, patient, *given)
        records.erase_patient(patient, who="Dr A", reason="consent withdrawn")

    monkeypatch.setattr(StudyPictures, "keep", kept_and_erased)
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert hospital.results()
    assert kept(hospital) == []


def test_pictures_that_find_no_room_fail_the_study_after_its_results_are_sent(hospital: Hospital) -> None:
    hospital.push()
    folder = hospital.services.settings.pictures_folder
    folder.write_text("in the way")
    with pytest.raises(StorageFailed, match="pictures of organs"):
        segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    sent = hospital.results()
    assert sent == hospital.of_record(), "a reader has them"
    folder.unlink()
    hospital.segmented()
    assert hospital.arrival.state is ArrivalState.SEGMENTED
    assert hospital.results() == sent
    assert pictures_of(hospital).of(the_key(hospital))
    assert len(lines(hospital.services.records, "study-segmented")) == 1


def test_no_backup_holds_pictures(hospital: Hospital, tmp_path: Path) -> None:
    hospital.push()
    hospital.segmented()
    taken = take(hospital.services.settings, tmp_path / "backups", lambda _: None)
    assert taken.manifest.files
    assert not any("pictures" in name for name in taken.manifest.files)
