"""A SOP Instance UID is enough: study and result are found in a real Orthanc, and nothing there changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from flows.arrivals.savers import note_saver
from flows.corrections.ingest import Said, ingest
from flows.corrections.returned_seg import Memory
from models.corrections.scopes import Scope
from models.errors import PacsFailed, Refused
from models.people import Person
from services.cases.store import CaseStore
from services.records.entries.cases import Purpose
from services.records.events.corrections import CorrectionRecorded
from services.records.events.event import Proof
from services.records.store import open_records
from services.settings import Settings
from services.wiring import archive_of
from tests.corrections import LIVER_ADDED
from tests.support.archive import Archive
from tests.support.paper_releases import paper_contract
from tests.support.returned_segs import (
    altered,
    changes,
    erase_rows,
    everything,
    frames_of,
    look_at,
    new_uid,
    put_on_record,
    repainted,
    without_spleen,
)

SPACING = (5.0, 5.0, 5.0)
WEBER = Person("w-17", "https://id.hospital", "Dr. Wéber")
LANG = Person("l-3", "https://id.hospital", "Dr. Lang")


@pytest.fixture
def memory(tmp_path, clean_archive: Archive):
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    pacs = archive_of(Settings(home=tmp_path, **clean_archive.named))
    contract = paper_contract(("liver",), 5.0)
    yield Memory(records, CaseStore(tmp_path / "cases"), contract, pacs, tmp_path / "work")
    records.close()


@pytest.fixture
def archived(ohif, memory, clean_archive):
    """The CT and the result of release 1, in the archive and on record."""
    clean_archive.put(ohif / "ct", ohif / "sent.dcm")
    put_on_record(memory.records, ohif / "sent.dcm", ohif / "ct")
    return clean_archive


def uid_of(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def held(archive: Archive) -> list[str]:
    return sorted(one["SOPInstanceUID"] for one in archive.instances())


def test_what_a_saved_seg_refers_to_is_found_by_itself(ohif, memory, archived, tmp_path):
    saved = ohif / "saved-by-ohif.dcm"
    archived.put(saved)
    before = held(archived)
    document = ingest(uid_of(saved), memory=memory)
    assert changes(document) == changes(ingest(saved, ohif / "ct", ohif / "sent.dcm"))
    assert (document.sop_instance_uid, document.sent_uid) == (uid_of(saved), uid_of(ohif / "sent.dcm"))
    assert (document.release, document.kept, document.teaches) == (1, True, ("liver",))
    assert ingest(uid_of(saved), memory=memory) == document, "told twice, it is kept once"
    assert len(memory.records.corrections()) == len(memory.records.cases(Purpose.TUNING)) == 1
    assert held(archived) == before
    assert list((tmp_path / "work").iterdir()) == [], "nothing that was fetched stays"


def test_a_file_finds_its_study_and_result_in_the_archive(ohif, memory, archived):
    document = ingest(str(ohif / "saved-by-ohif.dcm"), memory=memory)
    assert changes(document)["liver"] == ("edited", LIVER_ADDED, 0, 0)


def test_our_own_seg_that_is_sent_again_teaches_nothing(ohif, memory, archived):
    before = everything(memory.records), held(archived)
    document = ingest(uid_of(ohif / "sent.dcm"), memory=memory)
    assert (document.status, document.kept) == ("ours-unchanged", False)
    assert (everything(memory.records), held(archived)) == before


def one_cited_uid(seg):
    source = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
    source.ReferencedSOPInstanceUID = "1.2.3.4.5"


def smaller(seg):
    rows, columns = seg.Rows - 2, seg.Columns - 2
    frames = seg.pixel_array[:, :rows, :columns].astype(np.uint8)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    seg.Rows, seg.Columns, seg.PixelData = rows, columns, packed + b"\0" * (len(packed) % 2)


def setting(**tags):
    def change(seg):
        for keyword, value in tags.items():
            setattr(seg, keyword, value)

    return change


STRANGERS = {
    "other-patient": setting(PatientID="another"),
    "other-frame-of-reference": setting(FrameOfReferenceUID="1.2.3"),
    "unknown-image": one_cited_uid,
    "grid-mismatch": smaller,
    "empty": lambda seg: seg.__setattr__("PixelData", bytes(len(seg.PixelData))),
    "not-ct": setting(PatientID="another", StudyInstanceUID="1.2.3"),
}


@pytest.mark.parametrize("code", STRANGERS)
def test_a_stranger_has_a_code_and_archive_and_records_stay_as_they_were(
    ohif, memory, archived, tmp_path, code
):
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = "2.25.99"
    seg.SeriesInstanceUID = "2.25.98"
    STRANGERS[code](seg)
    seg.save_as(tmp_path / "stranger.dcm")
    archived.put(tmp_path / "stranger.dcm")
    before = everything(memory.records), held(archived)
    document = ingest("2.25.99", memory=memory)
    assert (document.status, document.code, document.organs) == ("stranger", code, ())
    assert (everything(memory.records), held(archived)) == before
    assert not memory.cases.folder.exists()


def test_what_the_archive_does_not_hold_has_a_code(ohif, memory, clean_archive):
    assert ingest("2.25.1", memory=memory).code == "not-in-archive"
    saved = ohif / "saved-by-ohif.dcm"
    clean_archive.put(ohif / "ct", saved)
    with pytest.raises(Refused, match="no-result"):
        ingest(uid_of(saved), memory=memory)
    put_on_record(memory.records, ohif / "sent.dcm", ohif / "ct")
    with pytest.raises(Refused, match="sent-not-archived") as refused:
        ingest(uid_of(saved), memory=memory)
    assert refused.value.measured == {"on_record": 1, "archived": 0}
    named = ingest(uid_of(saved), sent=ohif / "sent.dcm", memory=memory)
    assert changes(named)["liver"] == ("edited", LIVER_ADDED, 0, 0)


def test_of_two_releases_results_the_corrected_one_is_found_by_its_voxels(ohif, memory, archived, tmp_path):
    def other_release(seg, frames):
        for organ in ("Liver", "Spleen", "Stomach", "Right kidney"):
            erase_rows(organ, 2)(seg, frames)

    second = new_uid(repainted(ohif / "sent.dcm", tmp_path / "second.dcm", other_release), "2.25.2")
    put_on_record(memory.records, second, ohif / "ct", release=2, key="second")
    of_second = new_uid(repainted(second, tmp_path / "corrected.dcm", erase_rows("Left kidney", 1)), "2.25.3")
    for item in (seg := dcmread(of_second)).SegmentSequence:
        item.SegmentAlgorithmType = "MANUAL"
    seg.save_as(of_second)
    archived.put(second, of_second, ohif / "saved-by-ohif.dcm")
    first = ingest(uid_of(ohif / "saved-by-ohif.dcm"), memory=memory)
    assert (first.release, changes(first)["liver"]) == (1, ("edited", LIVER_ADDED, 0, 0))
    later = ingest("2.25.3", memory=memory)
    assert (later.release, later.sent_uid) == (2, "2.25.2")
    assert [organ for organ, change in changes(later).items() if change[0] == "edited"] == ["left_kidney"]


def test_where_not_every_result_is_archived_the_one_that_was_sent_must_be_named(
    ohif, memory, archived, tmp_path
):
    """Releases share heads: what came back just as an archived result has it may be another's."""
    gone = altered(ohif / "saved-by-ohif.dcm", tmp_path / "gone.dcm", SOPInstanceUID="2.25.2")
    put_on_record(memory.records, gone, ohif / "ct", release=2, key="second")
    untouched = ohif / "saved-by-ohif.dcm"  # what release 2 drew, saved as it was
    archived.put(untouched)
    with pytest.raises(Refused, match="sent-not-archived") as refused:
        ingest(uid_of(untouched), memory=memory)
    assert refused.value.measured == {"on_record": 2, "archived": 1}
    assert "--sent" in refused.value.detail
    assert memory.records.corrections() == ()
    named = ingest(uid_of(untouched), sent=ohif / "sent.dcm", memory=memory)
    assert (named.release, named.kept) == (1, True)
    assert ingest(uid_of(untouched), memory=memory) == named, "what was named stays on record"


def test_told_again_after_a_newer_release_it_is_still_the_correction_of_what_was_sent(
    ohif, memory, archived, tmp_path
):
    saved = without_spleen(ohif / "saved-by-ohif.dcm", tmp_path / "saved.dcm")
    said = Said(("spleen=deleted",), "Dr A")
    first = ingest(saved, sent=ohif / "sent.dcm", memory=memory, said=said)

    def no_spleen(seg, frames):
        frames[frames_of(seg, "Spleen")] = 0

    newer = new_uid(repainted(ohif / "sent.dcm", tmp_path / "newer.dcm", no_spleen), "2.25.2")
    put_on_record(memory.records, newer, ohif / "ct", release=2, key="second")
    archived.put(newer)
    assert ingest(saved, memory=memory) == first
    assert len(memory.records.corrections()) == len(memory.records.cases(Purpose.TUNING)) == 1
    named = ingest(saved, sent=newer, memory=memory)
    assert (named.sent_uid, named.release, named.version) == ("2.25.2", 2, 2)


def test_between_equal_results_one_put_on_record_after_the_save_came_is_not_it(
    ohif, memory, archived, tmp_path
):
    later = new_uid(altered(ohif / "sent.dcm", tmp_path / "later.dcm"), "2.25.2")
    for uid, clock in (("2.25.3", "20991231"), ("2.25.4", "19700101")):
        if uid == "2.25.4":
            put_on_record(memory.records, later, ohif / "ct", release=2, key="second")
            archived.put(later)
        save = altered(ohif / "saved-by-ohif.dcm", tmp_path / f"{uid}.dcm", ContentDate=clock)
        archived.put(new_uid(save, uid))
        look_at(dcmread(save).StudyInstanceUID, memory)
    assert [ingest(uid, memory=memory).release for uid in ("2.25.4", "2.25.3")] == [2, 1]


def test_an_archive_that_is_away_is_no_stranger(ohif, memory, tmp_path):
    away = archive_of(Settings(home=tmp_path, orthanc_url="http://127.0.0.1:9", archive_deadline_seconds=0.2))
    there = Memory(memory.records, memory.cases, memory.contract, away, tmp_path / "work")
    with pytest.raises(PacsFailed):
        ingest("2.25.1", memory=there)


@pytest.fixture
def saved(ohif, archived, tmp_path) -> str:
    """A correction in the archive that says it is Dr. Roth's."""
    path = altered(ohif / "saved-by-ohif.dcm", tmp_path / "saved.dcm", ContentCreatorName="Roth")
    archived.put(path)
    return uid_of(path)


def recorded(memory: Memory) -> list[tuple[str, Proof | None]]:
    return [(one.who, one.proof) for one in memory.records.all(CorrectionRecorded)]


def test_who_is_proven_to_have_saved_it_corrected_it_whatever_the_file_says(saved, memory, tmp_path):
    note_saver(saved, None, WEBER, memory.records)
    ingest(saved, memory=memory)
    [kept] = memory.records.corrections()
    assert kept.reader == "Dr. Wéber"
    assert recorded(memory) == [("Dr. Wéber", Proof("w-17", "https://id.hospital"))]
    ingest(saved, memory=memory)
    assert len(recorded(memory)) == 1, "told twice, it is kept once"


def test_a_save_of_nobody_or_of_two_is_whom_the_file_names_and_unproven(saved, memory):
    ingest(saved, memory=memory)
    assert recorded(memory) == [("Roth", None)]
    for person in (WEBER, LANG):
        note_saver(saved, None, person, memory.records)
    ingest(saved, memory=memory)
    assert recorded(memory) == [("Roth", None)]


def test_a_file_is_nobody_s_proven_save_though_it_has_the_uid_of_one(ohif, saved, memory, tmp_path):
    note_saver(saved, None, WEBER, memory.records)
    ingest(str(tmp_path / "saved.dcm"), memory=memory)
    assert recorded(memory) == [("Roth", None)]


def test_what_a_person_says_of_a_proven_save_bears_no_proof_of_the_saver(saved, memory):
    note_saver(saved, None, WEBER, memory.records)
    ingest(saved, memory=memory)
    ingest(saved, memory=memory, said=Said(reader="Dr. Roth", scope=Scope.SLICES))
    assert recorded(memory) == [("Dr. Wéber", Proof("w-17", "https://id.hospital")), ("Dr. Wéber", None)]
