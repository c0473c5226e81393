"""A corrected SEG comes back: the ledger, what is kept, and what never is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydicom import dcmread

from flows.corrections.ingest import ingest
from flows.corrections.returned_seg import Memory
from models.corrections.ledger import Provenance
from models.documents import to_json
from services.cases.store import CaseStore
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.dicom.seg.files import find_seg
from services.dicom.seg.reader import read_seg
from services.records.entries.cases import Case, Purpose
from services.records.store import open_records
from tests.corrections import KIDNEY_OVERPAINTED, LIVER_ADDED
from tests.support.dcmqi import slicer_saves
from tests.support.log import lines
from tests.support.paper_releases import paper_contract
from tests.support.returned_segs import UNTOUCHED, altered, changes, everything, put_on_record, without_spleen

SPACING = (5.0, 5.0, 5.0)


@pytest.fixture
def memory(tmp_path):
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    yield Memory(records, CaseStore(tmp_path / "cases"), paper_contract(("liver",), 5.0))
    records.close()


@pytest.fixture
def shown(ohif, memory):
    """Put on record that `sent.dcm` is the result of release 1."""
    return put_on_record(memory.records, ohif / "sent.dcm", ohif / "ct")


@pytest.fixture
def series(ohif):
    return read_series(ohif / "ct")[0].series_uid


def test_what_ohif_saved_is_understood_exactly_without_a_database(ohif):
    document = ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm")
    json.dumps(to_json(document), allow_nan=False)
    assert (document.status, document.code, document.questions) == ("correction", None, ())
    assert changes(document) == {
        "spleen": UNTOUCHED,
        "liver": ("edited", LIVER_ADDED, 0, 0),
        "stomach": UNTOUCHED,
        "right_kidney": UNTOUCHED,
        "left_kidney": ("edited", 0, KIDNEY_OVERPAINTED, KIDNEY_OVERPAINTED),
    }
    organs = {one.organ: one for one in document.organs}
    liver, kidney = organs["liver"], organs["left_kidney"]
    assert liver.added_ml == pytest.approx(LIVER_ADDED * 0.125)
    assert kidney.removed_ml == pytest.approx(KIDNEY_OVERPAINTED * 0.125)
    assert 0 < kidney.surface_mm < liver.surface_mm


def test_what_ohif_saved_on_a_real_anatomy_is_understood_exactly(test_data):
    real = test_data("ohif-correction", "OHIF on thirty slices, with a result of an earlier writer")
    document = ingest(real / "saved-by-ohif.dcm", real / "ct", real / "sent.dcm")
    assert (document.status, document.questions) == ("correction", ())
    changed = {organ: change for organ, change in changes(document).items() if change != UNTOUCHED}
    assert changed == {"liver": ("edited", 339, 0, 0), "left_kidney": ("edited", 0, 48, 48)}


@pytest.mark.parametrize(
    ("name", "changed", "asked"),
    [
        (
            "erased-in-ohif",
            {"stomach": ("edited", 38, 0, 0), "spleen": ("edited", 0, 28, 0), "liver": ("edited", 0, 34, 34)},
            [],
        ),
        (
            "segments-in-ohif",
            {},
            [("", "not-recognised"), ("Right kidney", "not-returned")],
        ),
        ("untouched-in-ohif", {}, []),
        ("saved-by-dcmqi", {"stomach": ("edited", 174, 179, 0)}, []),
    ],
)
def test_what_real_viewers_saved_of_a_phantom_is_understood_exactly(ohif, name, changed, asked):
    document = ingest(ohif / f"{name}.dcm", ohif / "ct", ohif / "sent.dcm")
    assert document.status == ("ours-unchanged" if name.startswith("untouched") else "correction")
    assert {organ: one for organ, one in changes(document).items() if one != UNTOUCHED} == changed
    assert [(one.label, one.why) for one in document.questions] == asked


def test_our_own_seg_sent_back_teaches_nothing_and_leaves_no_trace(ohif, memory, shown):
    before = everything(memory.records)
    document = ingest(ohif / "sent.dcm", ohif / "ct", ohif / "sent.dcm", memory)
    assert document.status == "ours-unchanged"
    assert set(changes(document).values()) == {UNTOUCHED}
    assert everything(memory.records) == before
    assert not memory.cases.folder.exists()


def test_an_organ_accepted_by_an_act_is_accepted_in_the_ledger(ohif, memory, shown, series):
    memory.records.record_acceptance(shown.StudyInstanceUID, series, 1, ["spleen", "liver"], "Dr A")
    document = ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory)
    assert changes(document)["spleen"] == ("accepted", 0, 0, 0)
    assert changes(document)["liver"][0] == "edited"


def test_an_accepted_organ_that_did_not_come_back_is_in_doubt(ohif, memory, shown, series, tmp_path):
    memory.records.record_acceptance(shown.StudyInstanceUID, series, 1, ["spleen", "stomach"], "Dr A")
    document = ingest(
        without_spleen(ohif / "saved-by-ohif.dcm", tmp_path / "without-spleen.dcm"),
        ohif / "ct",
        ohif / "sent.dcm",
        memory,
    )
    assert [(q.candidates, q.why) for q in document.questions] == [(("spleen",), "not-returned")]
    assert changes(document)["spleen"] == UNTOUCHED
    assert changes(document)["stomach"] == ("accepted", 0, 0, 0)


def test_another_releases_result_is_no_readers_word(ohif, memory, shown):
    put_on_record(memory.records, ohif / "saved-by-ohif.dcm", ohif / "ct", release=2, key="key 2")
    before = lines(memory.records)
    document = ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory)
    assert (document.status, document.kept) == ("ours-unchanged", False)
    assert document.why.startswith("ours-unchanged: ")
    assert set(changes(document).values()) == {UNTOUCHED}
    assert lines(memory.records) == before
    assert memory.records.cases(Purpose.TUNING) == ()


def test_what_an_algorithm_changed_is_asked_about_and_not_learnt_from(ohif, memory, shown, tmp_path):
    seg = dcmread(ohif / "saved-by-ohif.dcm")
    for segment in seg.SegmentSequence:
        segment.SegmentAlgorithmType = "AUTOMATIC"
    seg.save_as(tmp_path / "automatic.dcm")
    document = ingest(tmp_path / "automatic.dcm", ohif / "ct", ohif / "sent.dcm", memory)
    assert document.status == "correction"
    assert {(q.label, q.why) for q in document.questions} == {
        ("Liver", "automatic"), ("Left kidney", "automatic"),
    }  # fmt: skip
    assert set(changes(document).values()) == {UNTOUCHED}
    assert (document.kept, document.why.split(":")[0]) == (False, "not-edited")
    (correction,) = memory.records.corrections()
    assert {question.why for question in correction.questions} == {"automatic"}


def test_a_correction_of_a_patient_without_a_number_is_kept_out_of_tuning(ohif, memory, shown, tmp_path):
    for path in (ohif / "ct").glob("*.dcm"):
        image = dcmread(path)
        image.PatientID = " "
        image.save_as(tmp_path / path.name)
    document = ingest(ohif / "saved-by-ohif.dcm", tmp_path, ohif / "sent.dcm", memory)
    assert (document.kept, document.why.split(":")[0]) == (False, "missing-patient-id")
    assert memory.records.cases(Purpose.TUNING) == ()
    assert len(lines(memory.records, "kept-out-of-tuning")) == 1


def test_a_correction_is_kept_once_with_hybrid_labels(ohif, memory, shown):
    documents = [ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory) for _ in range(2)]
    assert documents[0] == documents[1]
    (correction,) = memory.records.corrections()
    assert (correction.release, correction.sent_uid) == (1, shown.SOPInstanceUID)
    (case,) = memory.records.cases(Purpose.TUNING)
    assert case.origin == "edited-from-1"
    content = memory.cases.read(case)
    assert content.volume.geometry.spacing_mm == pytest.approx(SPACING)
    liver, kidney, spleen = (content.labels[key] for key in ("liver", "left_kidney", "spleen"))
    assert (liver.inside - content.sent["liver"]).voxels == LIVER_ADDED
    assert (liver.provenance == Provenance.READER).all()
    assert np.count_nonzero(kidney.provenance == Provenance.OVERPAINT) == KIDNEY_OVERPAINTED
    assert spleen.weight.sum() == 0, "our own result is no truth"
    ct = load(read_series(ohif / "ct")[0])
    assert content.ct.same_grid(ct.volume.geometry)


def test_nothing_on_disk_names_the_patient_or_the_study(ohif, memory, shown):
    ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory)
    paths = [str(path.relative_to(memory.cases.folder)) for path in memory.cases.folder.rglob("*")]
    assert paths
    for secret in (shown.PatientID, shown.StudyInstanceUID):
        assert not any(secret in path for path in paths)
    assert (memory.cases.folder / "site.key").stat().st_mode & 0o777 == 0o600


def test_a_patient_of_the_gate_set_is_kept_out_of_tuning(ohif, memory, shown):
    patient = memory.cases.pseudonym(shown.PatientID)
    memory.records.add_case(Case("gate-1", Purpose.GATE, patient, "independent", "0" * 64))
    document = ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory)
    assert (document.kept, document.why.split(":")[0]) == (False, "patient-leak")
    assert len(memory.records.corrections()) == 1, "it is a correction all the same"
    assert memory.records.cases(Purpose.TUNING) == ()
    assert [path.name for path in memory.cases.folder.iterdir()] == ["site.key"]
    assert len(lines(memory.records, "kept-out-of-tuning")) == 1


def test_a_correction_of_an_unknown_result_has_no_origin_and_teaches_nothing(ohif, memory):
    documents = [ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory) for _ in range(2)]
    assert {(one.kept, one.why.split(":")[0]) for one in documents} == {(False, "unknown-result")}
    assert memory.records.cases(Purpose.TUNING) == ()
    assert len(lines(memory.records, "kept-out-of-tuning")) == 1


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        ({"PatientID": "another"}, "other-patient"),
        ({"StudyInstanceUID": "1.2.3"}, "other-study"),
        ({"FrameOfReferenceUID": "1.2.3"}, "other-frame-of-reference"),
        ({"Rows": 99}, "grid-mismatch"),
        ({"PixelData": bytes(24874)}, "empty"),
        ({"PixelData": b"\0\0"}, "bad-pixel-data"),
    ],
)
def test_a_stranger_has_a_code_and_leaves_the_records_as_they_were(ohif, memory, shown, tmp_path, tags, code):
    before = everything(memory.records)
    document = ingest(
        altered(ohif / "saved-by-ohif.dcm", tmp_path / "altered.dcm", **tags),
        ohif / "ct",
        ohif / "sent.dcm",
        memory,
    )
    assert (document.status, document.code, document.organs) == ("stranger", code, ())
    assert document.detail
    assert everything(memory.records) == before
    assert not memory.cases.folder.exists()


def test_a_text_file_and_an_empty_folder_are_strangers(ohif, tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("liver looks fine")
    (tmp_path / "empty").mkdir()
    codes = {ingest(path, ohif / "ct", ohif / "sent.dcm").code for path in (note, tmp_path / "empty")}
    assert codes == {"not-dicom", "not-a-seg"}


def test_one_folder_may_hold_study_and_seg(ohif, tmp_path):
    for path in (*(ohif / "ct").glob("*.dcm"), ohif / "sent.dcm"):
        (tmp_path / path.name).symlink_to(path)
    assert find_seg(tmp_path).name == "sent.dcm"
    document = ingest(ohif / "saved-by-ohif.dcm", tmp_path, tmp_path)
    assert changes(document)["liver"] == ("edited", LIVER_ADDED, 0, 0)


@pytest.mark.parametrize("algorithm_type", ["MANUAL", "SEMIAUTOMATIC", "AUTOMATIC"])
def test_a_correction_as_dcmqi_writes_it(ohif, tmp_path, algorithm_type):
    """Two organs, in another order, by itkimage2segimage; the rest is asked about.

    It writes the SegmentAlgorithmType that its caller names. 3D Slicer names that of the SEG it opened,
    ours being `AUTOMATIC`, unless the reader sets the segment's tag.
    """
    ct = load(read_series(ohif / "ct")[0])
    sent = {segment.label: segment.mask.dense() for segment in read_seg(ohif / "sent.dcm", ct).segments}
    stomach = sent["Stomach"].copy()
    k, j = (int(np.flatnonzero(stomach.any(axis=axes))[0]) for axes in ((1, 2), (0, 2)))
    stomach[k, j - 2 : j, 30:33] = True
    added = int(stomach.sum() - sent["Stomach"].sum())
    masks = {"Stomach": stomach, "Liver": sent["Liver"] & ~stomach}
    said = {"SegmentAlgorithmType": algorithm_type, "SegmentAlgorithmName": "Segment Editor"}
    path = slicer_saves(ohif / "sent.dcm", ohif / "ct", ct.volume.geometry, masks, tmp_path, **said)
    written = read_seg(path, ct)
    assert {segment.algorithm_type for segment in written.segments} == {algorithm_type}
    document = ingest(path, ohif / "ct", ohif / "sent.dcm")
    assert document.status == "correction"
    automatic = algorithm_type == "AUTOMATIC"
    assert changes(document)["stomach"] == (UNTOUCHED if automatic else ("edited", added, 0, 0))
    assert changes(document)["liver"] == UNTOUCHED
    assert [(q.candidates, q.why) for q in document.questions] == [
        *([(("stomach",), "automatic")] if automatic else []),
        (("spleen",), "not-returned"),
        (("right_kidney",), "not-returned"),
        (("left_kidney",), "not-returned"),
    ]
    assert added == 6
