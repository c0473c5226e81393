"""What a run of tuning learns from: which words count, which labels are refused, which cases come again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flows.calibration import cases as calibration_cases
from flows.corrections.ingest import ingest, memory_of
from flows.tuning import believed_labels
from flows.tuning import lessons as tuning_lessons
from flows.tuning.lessons import lessons_of
from flows.tuning.plan import plan
from models.corrections import label_doubts
from models.corrections.label_doubts import LabelDoubt
from models.corrections.ledger import INDEPENDENT
from models.errors import Refused, StorageFailed
from models.inference.segmentation import Segmentation
from models.resampling import to_model_grid
from services.cases import tuning_evidence as evidence
from services.cases.older_cases import choose_replayed
from services.cases.tuning_study import read_tuning_study
from services.records.entries.cases import Case, Purpose
from services.records.events.candidates import CandidateTuned
from services.records.store import SqlRecords
from tests.support.established import established
from tests.support.learning import ORGANS, TUNING, tune_document


def test_what_a_neighbours_brush_took_is_no_evidence(tuned):
    _, document = tuned
    assert document["left_out"] == {"liver": "too-few-studies: edited in 0 new studies, 3 are needed"}


def test_our_own_seg_sent_back_teaches_nothing(corrected):
    before = plan(corrected.services, None, TUNING).key
    ct, sent = corrected.folder / "ct-1", corrected.folder / "result-1" / "organ-seg.dcm"
    document = ingest(sent, ct, sent, memory_of(corrected.services.settings))
    assert document.status == "ours-unchanged"
    assert plan(corrected.services, None, TUNING).key == before


def test_the_ladder_aims_at_what_the_site_has_established(corrected):
    services = corrected.services
    as_ever = plan(services, None, TUNING)
    assert as_ever.settings.targets == {}, "the catalogue's; runs of a site without a file keep their keys"
    site = replace(services, targets=established({"aorta": (0.7, None), "liver": (None, 0.01)}))
    run = plan(site, None, TUNING)
    assert run.settings.targets == {"aorta": 0.7}
    assert run.key != as_ever.key, "another target is another run"
    asked = plan(site, None, replace(TUNING, targets={"aorta": 0.5}))
    assert asked.settings.targets == {"aorta": 0.5}


def test_too_few_corrections_are_no_error(corrected, monkeypatch):
    monkeypatch.setattr(evidence, "FEWEST_EDITED_STUDIES", 4)
    said = []
    document = tune_document(corrected.services, ["aorta"], TUNING, said.append)
    assert (document["release"], document["organs"], document["curve"]) == (None, [], {})
    assert document["left_out"] == {"aorta": "too-few-studies: edited in 3 new studies, 4 are needed"}
    assert said == ["nothing to learn: no organ has enough new corrections"]


def test_after_promotion_there_is_nothing_left_to_learn(tuned, tmp_path):
    site = tuned[0].copy(tmp_path)
    site.services.records.set_incumbent(2, approver="test", reason="gate passed")
    assert tune_document(site.services, settings=TUNING)["release"] is None


@pytest.mark.parametrize("purpose", [Purpose.GATE, Purpose.CALIBRATION])
def test_a_patient_of_the_gate_or_calibration_set_teaches_nothing(corrected, tmp_path, purpose):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    learnt = run.evidence.corrected[0].case
    other = Case("1" * 64, purpose, "2" * 64, "independent", "3" * 64)
    services.records.add_case(other)
    with pytest.raises(Refused, match="patient-leak"):
        services.records.add_case(replace(learnt, case_id="4" * 64, patient=other.patient))
    with pytest.raises(Refused, match="patient-leak"):
        services.records.add_case(replace(other, case_id="5" * 64, patient=learnt.patient))
    again = plan(services, None, TUNING).evidence
    assert again == run.evidence
    assert other.patient not in {one.case.patient for one in again.corrected + again.older}


def test_a_label_that_cannot_be_meant_is_refused_and_named(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    monkeypatch.setattr(label_doubts, "TOO_LARGE", 1e-6)
    said = []
    document = tune_document(services, ["aorta"], TUNING, said.append)
    assert document["release"] is None
    assert document["left_out"] == {
        "aorta": "too-few-studies: edited in 0 new studies, 3 are needed; labels refused: absurd-volume"
    }
    assert [(one["organ"], one["code"]) for one in document["doubts"]] == [("aorta", "absurd-volume")] * 3
    assert said == ["nothing to learn: the labels of every organ are in doubt"]
    monkeypatch.undo()
    assert tune_document(services, ["aorta"], TUNING)["doubts"] == document["doubts"], (
        "declined once and for all"
    )


def test_a_label_that_was_refused_is_not_replayed_either(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    doubted = replace(run.evidence, corrected=run.evidence.corrected[:2], older=run.evidence.corrected[2:])
    run = replace(run, evidence=doubted)
    (old,) = doubted.older
    named = believed_labels.label_doubt

    def doubts(key, label, ct, outside):
        refused = key == "aorta" and label.inside.voxels == volume
        return LabelDoubt("absurd-volume", "x") if refused else named(key, label, ct, outside)

    volume = services.cases.read(old.case).labels["aorta"].inside.voxels
    monkeypatch.setattr(believed_labels, "label_doubt", doubts)
    lessons = lessons_of(run, services.cases, services.releases, services.settings, lambda _: None)
    assert [one.organs for one in lessons.replayed] == [("stomach",)]
    assert [(one.organ, one.case) for one in lessons.refused] == [("aorta", old.case.case_id)]
    assert set(lessons.studies[-1].truth) == {"stomach"}


def test_a_word_that_taught_nothing_is_evidence_still_when_others_taught_its_organ(
    corrected, tmp_path, monkeypatch
):
    services = corrected.copy(tmp_path).services
    case = plan(services, None, TUNING).evidence.corrected[2].case
    volume = services.cases.read(case).labels["aorta"].inside.voxels
    named = believed_labels.label_doubt

    def doubts(key, label, ct, outside):
        refused = key == "aorta" and label.inside.voxels == volume
        return LabelDoubt("absurd-volume", "x") if refused else named(key, label, ct, outside)

    monkeypatch.setattr(evidence, "FEWEST_EDITED_STUDIES", 1)
    monkeypatch.setattr(evidence, "FEWEST_EDITED_PATIENTS", 1)
    with monkeypatch.context() as patched:
        patched.setattr(believed_labels, "label_doubt", doubts)
        assert tune_document(services, settings=TUNING)["organs"] == ["stomach", "aorta"]
    services.records.set_incumbent(2, approver="test", reason="gate passed")
    (left,) = plan(services, None, TUNING).evidence.corrected
    assert (left.case.case_id, left.organs) == (case.case_id, ("aorta",))
    (made,) = services.records.all(CandidateTuned)
    unrecorded = replace(made, said=replace(made.said, taught=None))
    monkeypatch.setattr(SqlRecords, "all", lambda *_, **__: (unrecorded,))
    assert plan(services, None, TUNING).evidence.corrected == (), "as it was read before that was recorded"


def test_a_case_that_lost_a_label_is_not_learnt_from_in_silence(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    labelled = run.evidence.corrected[0]
    (services.cases.folder / labelled.case.case_id / "labels" / "aorta.nii.gz").unlink()
    with pytest.raises(StorageFailed, match=r"is not what was kept: .* ingest its correction, again"):
        read_tuning_study(services.cases, labelled, run.parent)


def test_a_case_of_which_one_organ_was_learnt_already_teaches_the_other_and_is_replayed(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    half, *whole = run.evidence.corrected
    new, old = replace(half, organs=("aorta",)), replace(half, organs=("stomach",))
    found = replace(run.evidence, corrected=(new, *whole), older=(old,))
    lessons = lessons_of(
        replace(run, evidence=found), services.cases, services.releases, services.settings, lambda _: None
    )
    assert [(sorted(study.truth), study.replayed) for study in lessons.studies] == [
        (["aorta"], False),
        *[(["aorta", "stomach"], False)] * 2,
        (["stomach"], True),
    ]


def test_an_organ_that_readers_only_deleted_is_left_as_it_is(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    read = tuning_lessons.read_tuning_study

    def deleted(*given):
        study = read(*given)
        return replace(study, truth={**study.truth, "aorta": np.zeros_like(study.truth["aorta"])})

    monkeypatch.setattr(tuning_lessons, "read_tuning_study", deleted)
    lessons = lessons_of(run, services.cases, services.releases, services.settings, lambda _: None)
    assert lessons.organs == ("stomach",)
    assert lessons.left_out["aorta"].startswith("never-shown: ")
    assert {one.organs for one in lessons.corrected} == {("stomach",)}
    assert [tuple(study.truth) for study in lessons.studies] == [("stomach",)] * 3


def test_a_case_that_is_damaged_or_shows_no_body_stops_no_night(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    first, *_ = (one.case for one in plan(services, None, TUNING).evidence.corrected)
    content = services.cases.read(first)
    air = replace(content.volume, hu=np.full_like(content.volume.hu, -1000))
    kept = {"damaged": content, "air": replace(content, volume=air)}
    older = {
        name: services.cases.add(services.records, name, name, Purpose.TUNING, INDEPENDENT, one)
        for name, one in kept.items()
    }
    _flip_a_bit(services, older["damaged"])
    document = tune_document(services, ["aorta"], TUNING)
    assert (document["release"], document["organs"], document["replayed"]) == (2, ["aorta"], 0)
    found = {(one["organ"], one["case"], one["code"]) for one in document["doubts"]}
    assert found == {
        ("aorta", older["damaged"].case_id, "case-damaged"),
        ("aorta", older["air"].case_id, "no-body"),
    }
    said = []
    run = plan(services, None, TUNING)
    assert (
        calibration_cases.measurable(
            [older["damaged"]], run.parent, services.cases, services.records, said.append
        )
        == []
    )
    assert said == ["1 calibration cases left out: damaged, or kept for tuning too"]
    _flip_a_bit(services, first)
    with pytest.raises(StorageFailed, match=f"1 damaged cases there is nothing to learn; .*{first.case_id}"):
        tune_document(services, ["stomach"], TUNING)
    _flip_a_bit(services, first)
    assert tune_document(services, ["stomach"], TUNING)["organs"] == ["stomach"], "mended, it is tried again"


def _flip_a_bit(services, case):
    path = services.cases.folder / case.case_id / "volume.nii.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_of_many_older_cases_the_incumbent_is_asked_once_which_to_replay(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    contract, asked = run.parent.contract, []

    def ask(content):
        asked.append(content)
        random = np.random.default_rng(len(asked))
        field = random.random((len(ORGANS), *content.volume.hu.shape)).astype(np.float16)
        return Segmentation(field, field, random.random((2, 3), np.float32), np.zeros((2, 3), np.int32))

    def chosen(budget):
        kept = tmp_path / "kept" / "importance.json"
        older = run.evidence.corrected
        return choose_replayed(services.cases, older, budget, ("aorta",), contract, ask, kept)

    assert chosen(3) == run.evidence.corrected
    assert asked == []
    assert len(chosen(2)) == 2
    assert len(asked) == 3
    assert chosen(2) == chosen(2)
    assert len(asked) == 3


def test_a_case_on_another_grid_is_left_out_by_name(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    content = services.cases.read(run.evidence.corrected[0].case)
    coarser = replace(content, volume=to_model_grid(content.volume, (20.0, 20.0, 20.0)))
    old = services.cases.add(services.records, "old", "someone", Purpose.TUNING, INDEPENDENT, coarser)
    document = tune_document(services, ["aorta"], TUNING)
    (doubt,) = document["doubts"]
    assert (document["release"], document["organs"], document["replayed"]) == (2, ["aorta"], 0)
    assert (doubt["organ"], doubt["case"], doubt["code"]) == ("aorta", old.case_id, "other-grid")
    assert doubt["detail"] == "kept at 20 x 20 x 20 mm, where the incumbent's model grid is 14 x 14 x 14 mm"
    both, said = [run.evidence.corrected[0].case, old], []
    monkeypatch.setattr(calibration_cases, "untaught", lambda cases, *_: list(cases))
    assert (
        calibration_cases.measurable(both, run.parent, services.cases, services.records, said.append)
        == both[:1]
    )
    assert said == ["1 calibration cases left out: other-grid"]
    contract = replace(run.parent.contract, spacing_mm=(20.0, 20.0, 20.0))
    of_another = lessons_of(
        replace(run, parent=replace(run.parent, contract=contract)),
        services.cases,
        services.releases,
        services.settings,
        print,
    )
    assert of_another.organs == ()
    assert of_another.left_out["aorta"].endswith("3 are needed; labels refused: other-grid")
