"""What is kept when corrections come again: versions, answers, scopes, several readers, withdrawal, kills."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from datetime import datetime, timedelta, timezone

import pytest

from flows.corrections import keep as keep_correction
from flows.corrections.ingest import ingest
from flows.corrections.returned_seg import Memory
from flows.corrections.sums import sums
from flows.corrections.withdraw import Withdrawn, withdraw
from models.corrections.ledger import Provenance
from models.corrections.scopes import Scope
from models.documents import to_json
from models.errors import Refused, StorageFailed
from services.cases import store as case_files
from services.cases.disagreements import ASK, Policy, ReadersDisagree
from services.cases.store import CaseStore
from services.cases.tuning_evidence import gather
from services.dicom.returned.answers import WrongAnswer
from services.records.entries.cases import Purpose
from services.records.entries.corrections import Answer
from services.records.store import SqlRecords, open_records
from services.releases.store import ReleaseStore
from tests.conftest import ROOT
from tests.corrections import LIVER_ADDED, SAVED_BY_OHIF_AT
from tests.support.log import lines
from tests.support.paper_releases import paper_contract
from tests.support.returned_segs import altered, changes, erase_rows, put_on_record, repainted, without_spleen

SPACING = (5.0, 5.0, 5.0)


def teaching(memory: Memory, policy: Policy = ASK) -> dict[str, tuple[str, ...]]:
    """Return the organs that would teach, by correction, were one study of one patient enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.cases.tuning_evidence.FEWEST_EDITED_STUDIES", 1)
        patch.setattr("services.cases.tuning_evidence.FEWEST_EDITED_PATIENTS", 1)
        found = gather(
            memory.records, memory.cases, (), ("liver", "left_kidney", "spleen", "stomach"), policy
        )
    return {one.correction: one.organs for one in found.corrected}


def take_back(memory: Memory, uid: str, reason: str) -> Withdrawn:
    return withdraw(uid, "Dr A", reason, memory.records, ReleaseStore(memory.cases.folder / "no releases"))


def test_a_second_save_under_the_same_uid_is_a_version_and_the_first_is_kept(ohif, memory, take_in, tmp_path):
    saved = ohif / "saved-by-ohif.dcm"
    first = take_in(saved)
    again = repainted(saved, tmp_path / "again.dcm", erase_rows("Spleen", 3))
    second = take_in(again)
    assert (first.version, first.kept, second.version, second.kept) == (1, True, 2, True)
    assert changes(second)["liver"] == changes(first)["liver"]
    assert changes(second)["spleen"][0] == "edited"
    uid = first.sop_instance_uid
    assert [one.name for one in memory.records.corrections()] == [uid, f"{uid}/2"]
    cases = {case.case_id: case for case in memory.records.cases(Purpose.TUNING)}
    assert cases.keys() == {memory.cases.pseudonym(name) for name in (uid, f"{uid}/2")}
    for case in cases.values():
        memory.cases.read(case)
    assert teaching(memory) == {f"{uid}/2": ("liver", "spleen")}
    assert take_in(saved).teaches == (), "told again, the first version stays replaced"
    assert len(memory.records.corrections()) == 2


def test_an_acceptance_after_the_correction_is_the_next_version(ohif, memory, take_in):
    saved = ohif / "saved-by-ohif.dcm"
    study = take_in(saved)
    memory.records.record_acceptance(study.study_uid, study.series_uid, 1, ["spleen"], "Dr A")
    document = take_in(saved)
    assert (document.version, document.kept) == (2, True)
    assert changes(document)["spleen"] == ("accepted", 0, 0, 0)
    assert teaching(memory) == {f"{study.sop_instance_uid}/2": ("liver",)}
    assert lines(memory.records, "kept-out-of-tuning") == ()


def test_an_answer_given_later_grows_the_record_and_stays_answered(ohif, memory, take_in, tmp_path):
    saved = without_spleen(ohif / "saved-by-ohif.dcm", tmp_path / "saved.dcm")
    asked = take_in(saved)
    assert [question.why for question in asked.questions] == ["not-returned"]
    with pytest.raises(WrongAnswer):
        take_in(saved, "liver=deleted")
    answered = take_in(saved, "spleen=deleted")
    assert (answered.questions, answered.version) == ((), 2)
    assert changes(answered)["spleen"][0] == "edited"
    told_again = take_in(saved, reader="")
    assert told_again == answered, "as the watcher would, with no answer"
    first, second = memory.records.corrections()
    assert (first.questions, first.answers) == (asked.questions, ())
    assert second.answers == (Answer("spleen=deleted", "Dr A"),)
    changed_mind = take_in(saved, "spleen=not-reviewed", reader="Dr B")
    assert changes(changed_mind)["spleen"] == ("not-reviewed", 0, 0, 0)
    assert memory.records.corrections()[-1].answers == (Answer("spleen=not-reviewed", "Dr B"),)


def test_what_is_said_about_one_content_is_not_said_about_another(ohif, memory, take_in, tmp_path):
    saved = without_spleen(ohif / "saved-by-ohif.dcm", tmp_path / "saved.dcm")
    take_in(saved, "spleen=deleted", scope=Scope.SLICES)
    other = take_in(repainted(saved, tmp_path / "other.dcm", erase_rows("Liver", 1)))
    assert (len(other.questions), other.scope) == (1, "organ")


def test_a_scope_is_where_the_correction_is_truth_and_is_kept(ohif, memory, take_in):
    document = take_in(ohif / "saved-by-ohif.dcm", scope=Scope.SLICES)
    assert (document.scope, take_in(ohif / "saved-by-ohif.dcm").scope) == ("slices", "slices")
    (case,) = memory.records.cases(Purpose.TUNING)
    content = memory.cases.read(case)
    liver = content.labels["liver"]
    edited = liver.inside.changed_by_slice(content.sent["liver"]) > 0
    assert 0 < edited.sum() < len(edited)
    assert (liver.provenance[edited] == Provenance.READER).all()
    assert (liver.provenance[~edited] == Provenance.MODEL).all()


def test_review_regions_that_were_not_shown_are_no_scope(ohif, memory, take_in):
    with pytest.raises(Refused, match="no-review-regions"):
        take_in(ohif / "saved-by-ohif.dcm", scope=Scope.REGIONS)
    assert memory.records.corrections() == ()


@pytest.fixture
def two_readers(ohif, take_in, tmp_path):
    """Reader A adds to the liver; reader B takes rows from it and from the spleen. Return their UIDs."""
    saved = ohif / "saved-by-ohif.dcm"

    def both(rows: int) -> tuple[str, str]:
        take_in(altered(saved, tmp_path / "a.dcm", SOPInstanceUID="1.2.3", ContentCreatorName="A"))

        def paint(seg, frames):
            erase_rows("Liver", rows)(seg, frames)
            erase_rows("Spleen", 2)(seg, frames)

        tags = {"SOPInstanceUID": "1.2.4", "ContentCreatorName": "B"}
        take_in(repainted(saved, tmp_path / "b.dcm", paint, **tags))
        return "1.2.3", "1.2.4"

    return both


def test_readers_side_by_side_are_compared_and_the_latest_teaches_where_they_agree(memory, two_readers):
    first, second = two_readers(rows=0)
    (agreement,) = memory.records.agreements()
    assert (agreement.first, agreement.second, agreement.organ, agreement.dsc) == (
        first,
        second,
        "liver",
        1.0,
    )
    assert teaching(memory) == {second: ("liver", "spleen")}
    assert lines(memory.records, "readers-disagree") == ()


def test_where_readers_disagree_none_teaches_until_one_is_withdrawn(memory, two_readers, take_in, tmp_path):
    first, second = two_readers(rows=12)
    labels = [memory.cases.read(case).labels["liver"].inside for case in _cases(memory, first, second)]
    measured = 2 * (labels[0] & labels[1]).voxels / sum(label.voxels for label in labels)
    assert measured < 0.92, "the liver's target"
    (agreement,) = memory.records.agreements()
    assert agreement.dsc == pytest.approx(measured)
    (event,) = lines(memory.records, "readers-disagree")
    assert event.payload == {"corrections": [first, second], "organ": "liver", "dsc": round(measured, 4)}
    assert teaching(memory) == {second: ("spleen",)}, "the liver waits"
    assert teaching(memory, Policy(ReadersDisagree.LATEST)) == {second: ("liver", "spleen")}
    document = take_in(tmp_path / "b.dcm")
    assert document.teaches == ("spleen",)
    assert to_json(document.disagreements) == [
        {"organ": "liver", "corrections": [first, second], "dsc": round(measured, 4)}
    ]
    take_back(memory, second, "cut off below the dome")
    assert teaching(memory) == {first: ("liver",)}


def _cases(memory: Memory, *names: str) -> list:
    cases = {case.case_id: case for case in memory.records.cases(Purpose.TUNING)}
    return [cases[memory.cases.pseudonym(name)] for name in names]


def test_a_withdrawn_correction_teaches_no_more_and_nothing_is_deleted(ohif, memory, take_in):
    uid = take_in(ohif / "saved-by-ohif.dcm").sop_instance_uid
    assert teaching(memory) == {uid: ("liver",)}
    with pytest.raises(Refused, match="no-name"):
        take_back(memory, uid, " ")
    document = take_back(memory, uid, "the wrong patient's contour")
    assert (document.organs, document.releases) == (("liver",), ())
    assert teaching(memory) == {}
    (case,) = memory.records.cases(Purpose.TUNING)
    memory.cases.read(case)
    again = take_in(ohif / "saved-by-ohif.dcm")
    assert (again.kept, again.why.split(":")[0]) == (False, "withdrawn")
    assert teaching(memory) == {}


def test_who_when_and_with_what_is_on_record_as_far_as_the_object_says(ohif, memory, take_in, tmp_path):
    take_in(ohif / "saved-by-ohif.dcm", reader="")
    tags = {
        "SOPInstanceUID": "1.2.3", "OperatorsName": ["Doe^Jane", "Roe^Ray"], "Manufacturer": "A viewer",
        "SoftwareVersions": "5.2", "ContentDate": "20261122", "ContentTime": "1530",
        "TimezoneOffsetFromUTC": "+0130",
    }  # fmt: skip
    take_in(altered(ohif / "saved-by-ohif.dcm", tmp_path / "named.dcm", **tags))
    unsaid, said = memory.records.corrections()
    assert (unsaid.reader, unsaid.viewer, unsaid.saved_at) == (
        "",
        "OHIF-3.11.0",
        f"{SAVED_BY_OHIF_AT:%Y-%m-%dT%H:%M:%S}+00:00",
    )
    assert (said.reader, said.saved_at) == ("Doe^Jane\\Roe^Ray", "2026-11-22T15:30:00+01:30")
    assert said.viewer == "A viewer 5.2 OHIF-3.11.0"


def test_an_answer_that_fits_no_more_is_asked_again(ohif, memory, take_in, tmp_path):
    saved = without_spleen(ohif / "saved-by-ohif.dcm", tmp_path / "saved.dcm")
    take_in(saved, "spleen=deleted")
    (kept,) = memory.records.corrections()
    stale = replace(kept, answers=(Answer("9=stomach", "Dr A"),))
    memory.records.record_correction(stale)
    document = take_in(saved)
    assert [question.why for question in document.questions] == ["not-returned"]


def test_sums_say_which_organ_needs_tuning_and_what_review_costs(ohif, memory, two_readers):
    two_readers(rows=0)
    document = sums(memory.records, Policy())
    organs = {one.organ: one for one in document.organs}
    assert organs.keys() == {"spleen", "liver"}, "a neighbour's brush is no word on the kidney"
    assert (organs["liver"].edited, organs["liver"].readers, organs["liver"].releases) == (1, 2, (1,))
    assert organs["liver"].changed_ml == pytest.approx(LIVER_ADDED * 0.125, abs=1e-3)
    readers = [(one.reader, one.corrections, one.edited_organs) for one in document.readers]
    assert readers == [("A", 1, 1), ("B", 1, 2)]
    (release,) = document.releases
    assert (release.release, release.corrections, release.studies) == (1, 2, 1)
    assert release.viewers == ("OHIF-3.11.0",)
    assert document.disagreements == ()


def test_the_time_to_save_is_from_our_result_to_the_readers_save(ohif, tmp_path):
    written = datetime(2026, 11, 22, 13, 0, tzinfo=timezone(timedelta(hours=1)))
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    records.first_written("key", written)
    put_on_record(records, ohif / "sent.dcm", ohif / "ct")
    memory = Memory(records, CaseStore(tmp_path / "cases"), paper_contract(("liver",), 5.0))
    for uid, day, zone, hours in (
        ("1.2.3", "20261122", "+0200", 1.5),
        ("1.2.4", "20261122", None, 3.5),
        ("1.2.5", "20261121", None, None),
        ("1.2.6", "20991122", None, None),
    ):
        tags = {"SOPInstanceUID": uid, "ContentCreatorName": uid, "ContentDate": day, "ContentTime": "153000"}
        if zone:
            tags["TimezoneOffsetFromUTC"] = zone
        saved = altered(ohif / "saved-by-ohif.dcm", tmp_path / f"{uid}.dcm", **tags)
        ingest(saved, ohif / "ct", ohif / "sent.dcm", memory)
        readers = {one.reader: one for one in sums(records, Policy()).readers}
        assert readers[uid].hours_to_save == hours
    records.close()


def _killed(*_: object, **__: object) -> None:
    raise StorageFailed("killed")


STEPS = [
    (SqlRecords, "record_correction"),
    (keep_correction, "asked_volume"),
    (CaseStore, "add"),
    (SqlRecords, "add_case"),
    (SqlRecords, "erased"),
    (keep_correction, "compare_readers"),
    (SqlRecords, "record_agreement"),
]


@pytest.mark.parametrize(("owner", "step"), STEPS, ids=[step for _, step in STEPS])
def test_killed_before_any_step_it_ends_the_same(ohif, memory, take_in, tmp_path, owner, step):
    saved = ohif / "saved-by-ohif.dcm"
    first = altered(saved, tmp_path / "a.dcm", SOPInstanceUID="1.2.3", ContentCreatorName="A")
    take_in(first)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(owner, step, _killed)
        with pytest.raises(StorageFailed, match="killed"):
            take_in(saved)
    document = take_in(saved)
    assert (document.kept, document.version) == (True, 1)
    assert len(memory.records.corrections()) == 2
    assert [(one.organ, one.dsc) for one in memory.records.agreements()] == [("liver", 1.0)]
    for case in memory.records.cases(Purpose.TUNING):
        memory.cases.read(case)


@pytest.mark.parametrize("written", [0, 1, 3, 10])
def test_killed_between_two_files_the_case_ends_whole(ohif, memory, take_in, written):
    files = []
    write = case_files.replace

    def write_some(path, data):
        if len(files) == written:
            _killed()
        files.append(path)
        write(path, data)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(case_files, "replace", write_some)
        with pytest.raises(StorageFailed, match="killed"):
            take_in(ohif / "saved-by-ohif.dcm")
    take_in(ohif / "saved-by-ohif.dcm")
    assert len(memory.records.corrections()) == 1
    (case,) = memory.records.cases(Purpose.TUNING)
    content = memory.cases.read(case)
    assert content.labels.keys() == content.sent.keys() == {
        "spleen", "liver", "stomach", "right_kidney", "left_kidney",
    }  # fmt: skip


KILLED_AMID = """
import os, signal, sys
from pathlib import Path
from flows.corrections.ingest import ingest
from flows.corrections.returned_seg import Memory
from services.cases import store
from services.cases.store import CaseStore
from services.records.store import open_records
from tests.support.paper_releases import paper_contract

home, ohif = Path(sys.argv[1]), Path(sys.argv[2])
write, files = store.replace, []

def write_some(path, data):
    if len(files) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    files.append(path)
    write(path, data)

store.replace = write_some
records = open_records(f"sqlite:///{home / 'records.sqlite'}")
memory = Memory(records, CaseStore(home / "cases"), paper_contract(("liver",), 5.0))
ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory)
"""


def test_a_process_killed_amid_its_work_leaves_what_the_next_one_completes(ohif, memory, take_in, tmp_path):
    killed = subprocess.run([sys.executable, "-c", KILLED_AMID, tmp_path, ohif], cwd=ROOT, check=False)
    assert killed.returncode == -signal.SIGKILL
    (correction,) = memory.records.corrections()
    (case,) = memory.records.cases(Purpose.TUNING)
    with pytest.raises(StorageFailed, match="is not what was kept"):
        memory.cases.read(case)
    document = take_in(ohif / "saved-by-ohif.dcm", reader="")
    assert document.kept
    assert memory.records.corrections() == (correction,)
    assert memory.cases.read(case).labels["liver"].inside.any()
