"""From served studies over a reader's corrections to a candidate, in one process and on a small network."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime
from io import BytesIO
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydicom import dcmread

from deploy.simulated_reader import save_like_ohif
from flows import nightly_tuning, tune_heads, tuning_lessons
from flows.feature_keeping import forget_features
from flows.gate_candidate import CANDIDATE_TUNED
from flows.ingest_correction import Said, ingest, memory_of
from flows.launching import PrefectLauncher, RunState
from flows.segment_study import segment
from flows.tune_heads import tune
from flows.tuning_lessons import lessons_of
from flows.tuning_plan import plan
from models import label_doubts
from models.calibration import Certificate, OrganCalibration
from models.errors import OrganloopError, Refused, StorageFailed
from models.label_doubts import LabelDoubt
from models.network import tuning as network_tuning
from models.network.samples import origins
from models.phantom import make_case
from models.release_faults import release_faults
from models.segmentation import Segmentation
from models.tuning import Level, TuningSettings
from services.cases import evidence
from services.cases.features import FeatureStore
from services.cases.replayed import choose_replayed
from services.cases.training_runs import erase_runs
from services.cases.tuning_study import read_tuning_study
from services.dicom.series import load, read_series
from services.records.port import Case, Purpose, ReleaseState
from services.records.store import SqlRecords
from services.releases.store import ReleaseStore
from tests.learning import DOMAIN, ORGANS, SPACING, open_site

SETTINGS = TuningSettings(Level.NEIGHBOURHOOD, steps=4, batch_voxels=512, window_voxels=128)
SEEDS = (1, 2, 3)
NOON = datetime(2026, 1, 3, 12, 0, 0)


@pytest.fixture(scope="module")
def corrected(tmp_path_factory):
    """A site where a reader painted stomach and aorta in three studies."""
    site = open_site(tmp_path_factory.mktemp("site"))
    for seed in SEEDS:
        site.correct(seed, "stomach", "aorta")
    return site


@pytest.fixture(scope="module")
def tuned(corrected, tmp_path_factory):
    """The same site after it tuned, and what `tune` said."""
    site = corrected.copy(tmp_path_factory.mktemp("tuned"))
    return site, tune(site.services, settings=SETTINGS)


def test_only_the_heads_a_reader_edited_are_other_bytes(tuned):
    site, document = tuned
    store = site.services.releases
    parent, candidate = store.release(1), store.release(document["release"])
    assert (document["release"], document["organs"]) == (2, ["stomach", "aorta"])
    assert candidate.digest == document["digest"]
    assert (candidate.trunk, candidate.contract, candidate.parent) == (parent.trunk, parent.contract, 1)
    assert store.head(candidate.heads["liver"]) == store.head(parent.heads["liver"])
    assert all(candidate.heads[organ] != parent.heads[organ] for organ in ("stomach", "aorta"))
    assert all(store.has_export(digest) for digest in candidate.heads.values())
    assert site.services.records.release_states()[2] is ReleaseState.CANDIDATE
    assert site.services.records.incumbent() == 1


def test_what_a_neighbours_brush_took_is_no_evidence(tuned):
    _, document = tuned
    assert document["left_out"] == {"liver": "too-few-studies: edited in 0 new studies, 3 are needed"}


def test_a_tuned_organ_claims_no_bound_until_it_is_calibrated_again(tuned):
    site, _ = tuned
    calibration = site.services.releases.release(2).calibration
    assert set(calibration.organs) == {"liver"}
    assert calibration.domain == DOMAIN


def test_the_features_kept_while_serving_are_found_for_each_corrected_study(corrected):
    services = corrected.services
    run = plan(services, None, SETTINGS)
    store = FeatureStore(services.cases)
    for one in run.evidence.corrected:
        study = read_tuning_study(services.cases, one, run.parent, store)
        assert study.warm.fits(run.parent.contract)
        assert len(study.warm.window_origin) == len(origins(study.hu, run.parent.contract))
        assert study.edited["aorta"].any()
        assert not study.edited["aorta"].all()
        other = replace(run.parent, trunk="0" * 64)
        assert read_tuning_study(services.cases, one, other, store).warm is None, "of another trunk"
        for seen in ({"window_shape": (16, 24, 24)}, {"hu_window": (-200.0, 250.0)}):
            other = replace(run.parent, contract=replace(run.parent.contract, **seen))
            assert read_tuning_study(services.cases, one, other, store).warm is None, seen


def test_kept_features_that_are_damaged_are_told_and_made_again(corrected, tmp_path, caplog):
    services = corrected.copy(tmp_path).services
    store, folder = FeatureStore(services.cases), services.cases.folder / "features"
    run = plan(services, None, SETTINGS)
    for path in folder.glob("*/*.npz"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for one in run.evidence.corrected:
        assert read_tuning_study(services.cases, one, run.parent, store).warm is None
    assert caplog.text.count("is damaged: the study goes through the trunk again") == 3


def test_kept_features_are_forgotten_after_a_time_and_with_their_patient(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    store, folder = FeatureStore(services.cases), services.cases.folder / "features"
    first, second, third = sorted(folder.glob("*/*.npz"))
    os.utime(first, (0, 0))
    assert forget_features(services) == 1
    assert sorted(folder.glob("*/*.npz")) == [second, third]
    assert store.erase(second.parent.name) == 1
    assert sorted(folder.glob("*/*.npz")) == [third]


def test_a_patient_taken_out_while_features_are_written_leaves_none(corrected, tmp_path, monkeypatch):
    site = corrected.copy(tmp_path)
    records, store = site.services.records, FeatureStore(site.services.cases)
    ct = site.folder / "ct-1"
    patient = site.services.cases.pseudonym(str(dcmread(next(ct.iterdir())).PatientID))
    assert store.erase(patient) == 1
    keep = FeatureStore.keep

    def kept_and_erased(*given):
        keep(*given)
        records.erase_patient(patient, who="Dr A", reason="consent withdrawn")

    monkeypatch.setattr(FeatureStore, "keep", kept_and_erased)
    segment(ct, tmp_path / "out", site.services, organs=ORGANS)
    assert records.erased(patient)
    assert not (site.services.cases.folder / "features" / patient).exists()


def test_nothing_of_a_run_is_left_of_a_patient_who_was_taken_out_meanwhile(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    folder, whole = services.settings.home / "tuning", tune_heads.export_release
    importance = folder / "importance-1.json"
    (patient, *_) = sorted(case.patient for case in services.records.cases(Purpose.TUNING))

    def exported_and_erased(*given, **named):
        importance.write_text("{}")
        erasure = services.records.erase_patient(patient, who="Dr A", reason="consent withdrawn")
        assert list(folder.rglob("*.pt")), "a run is under way"
        erase_runs(services.settings.home, [case["case_id"] for case in erasure.cases])
        assert list(folder.iterdir()) == []
        return whole(*given, **named)

    monkeypatch.setattr(tune_heads, "export_release", exported_and_erased)
    with pytest.raises(Refused, match="patient-erased"):
        tune(services, settings=SETTINGS)
    assert services.releases.numbers() == (1,)
    assert services.records.events(CANDIDATE_TUNED) == ()


@pytest.mark.parametrize("meanwhile", ["tune_heads", "export_release"])
def test_a_correction_that_is_withdrawn_while_it_is_learnt_teaches_nothing(
    corrected, tmp_path, monkeypatch, meanwhile
):
    services = corrected.copy(tmp_path).services
    records, whole = services.records, getattr(tune_heads, meanwhile)
    correction = records.corrections()[0]

    def done_and_withdrawn(*given, **named):
        done = whole(*given, **named)
        records.withdraw(correction.sop_instance_uid, reader="Dr A", reason="wrong patient")
        return done

    monkeypatch.setattr(tune_heads, meanwhile, done_and_withdrawn)
    with pytest.raises(Refused, match="correction-taken-back") as refused:
        tune(services, settings=SETTINGS)
    assert refused.value.measured == {"words": 2}
    assert services.releases.numbers() == (1,)
    assert services.records.events(CANDIDATE_TUNED) == ()
    assert list((services.settings.home / "tuning").iterdir()) == []
    assert len(plan(services, None, SETTINGS).evidence.corrected) == 0, "two studies are too few"


def test_a_head_that_would_be_worse_is_left_as_it_is(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    ladder = TuningSettings(steps=2, batch_voxels=64, window_voxels=64, highest=Level.HEAD)
    judged = iter((False, True, False, False))  # stomach and aorta, twice: chance decides on a tiny network
    monkeypatch.setattr(network_tuning, "worth_keeping", lambda rung, before: next(judged))
    document = tune(services, settings=ladder)
    parent, candidate = services.releases.release(1), services.releases.release(2)
    assert (document["organs"], document["levels"]) == (["aorta"], {"stomach": "incumbent", "aorta": "head"})
    assert candidate.heads["stomach"] == parent.heads["stomach"]
    assert candidate.heads["aorta"] != parent.heads["aorta"]
    (event,) = services.records.events(CANDIDATE_TUNED)
    assert event.payload["organs"] == ["aorta"]
    again, said = replace(ladder, seed=1), []
    assert tune(services, settings=again, progress=said.append)["release"] is None
    assert said[-1] == "no candidate: no head would be better than the one that serves"
    assert tune(services, settings=again)["ladders"].keys() == {"stomach", "aorta"}, "it is not tried again"


def test_a_new_organ_gets_a_head_from_readers_masks_alone(corrected, tmp_path):
    """The reader draws the spleen, which no head finds, and says what it is."""
    site = corrected.copy(tmp_path)
    services = site.services
    for seed in SEEDS:
        truth = make_case("B", seed, spacing_mm=SPACING).truth["spleen"]
        series = load(read_series(site.folder / f"ct-{seed}")[0])
        sent = site.folder / f"result-{seed}" / "organ-seg.dcm"
        seg = dcmread(BytesIO(save_like_ohif(sent.read_bytes(), series, {"Stomach": truth}, written_at=NOON)))
        (drawn,) = (one for one in seg.SegmentSequence if one.SegmentLabel == "Stomach")
        drawn.SegmentLabel = "Milz"
        seg.save_as(tmp_path / f"{seed}.dcm")
        answers = (f"{drawn.SegmentNumber}=spleen", "stomach=not-reviewed")
        said = Said(answers, "Dr A")
        ingest(
            tmp_path / f"{seed}.dcm",
            site.folder / f"ct-{seed}",
            sent,
            memory_of(services.settings),
            said=said,
        )
    assert "spleen" not in plan(services, None, SETTINGS).evidence.organs, "nobody asked for it"
    how = replace(SETTINGS, steps=40, learning_rate=3e-2)
    document = tune(services, settings=how, new_organs=["spleen"])
    parent, candidate = services.releases.release(1), services.releases.release(document["release"])
    assert document["organs"] == ["spleen"]
    assert candidate.contract.organs == (*parent.contract.organs, "spleen")
    assert {organ: candidate.heads[organ] for organ in parent.heads} == parent.heads
    assert candidate.calibration == parent.calibration
    incumbent, learnt = document["ladders"]["spleen"]["rungs"]
    assert incumbent["train_dsc"] is None
    assert learnt["steps"] == 40
    (_, first), *_, (_, last) = document["curve"]["spleen"]
    assert last < 0.8 * first
    assert release_faults(parent, candidate, document["organs"]) == [], "it is on record that it is new"
    others = release_faults(parent, candidate, ["stomach"])
    assert [fault.code for fault in others] == ["contract-changed"]
    with pytest.raises(ValueError, match="liver"):
        plan(services, None, SETTINGS, ["liver"])


def test_an_organ_that_was_new_once_gets_no_share_of_the_certificates_by_tuning(
    corrected, tmp_path, monkeypatch
):
    services = corrected.copy(tmp_path).services
    run = replace(plan(services, None, SETTINGS), new_organs=("spleen",))
    fitted = OrganCalibration(0.1, 0.9, 50, certificate=Certificate(0.1, 0.025, 0.9, 40, 0))
    monkeypatch.setattr(tune_heads, "untaught", lambda *_: ["fifty cases"])
    monkeypatch.setattr(
        tune_heads, "calibrate_organs", lambda _d, _e, organs, *_: dict.fromkeys(organs, fitted)
    )
    made = tune_heads._calibration(services, run, ("aorta", "spleen"), run.parent, lambda _: None)
    assert made.organs["aorta"].certificate == fitted.certificate
    assert made.organs["spleen"] == replace(fitted, certificate=None)


def test_a_label_that_was_refused_is_not_replayed_either(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, SETTINGS)
    doubted = replace(run.evidence, corrected=run.evidence.corrected[:2], older=run.evidence.corrected[2:])
    run = replace(run, evidence=doubted)
    (old,) = doubted.older
    named = tuning_lessons.label_doubt

    def doubts(key, label, ct, outside):
        refused = key == "aorta" and label.inside.sum() == volume
        return LabelDoubt("absurd-volume", "x") if refused else named(key, label, ct, outside)

    volume = services.cases.read(old.case).labels["aorta"].inside.sum()
    monkeypatch.setattr(tuning_lessons, "label_doubt", doubts)
    lessons = lessons_of(services, run, lambda _: None)
    assert [one.organs for one in lessons.replayed] == [("stomach",)]
    assert [(one["organ"], one["case"]) for one in lessons.refused] == [("aorta", old.case.case_id)]
    assert set(lessons.studies[-1].truth) == {"stomach"}


def test_a_word_that_taught_nothing_is_evidence_still_when_others_taught_its_organ(
    corrected, tmp_path, monkeypatch
):
    services = corrected.copy(tmp_path).services
    case = plan(services, None, SETTINGS).evidence.corrected[2].case
    volume = services.cases.read(case).labels["aorta"].inside.sum()
    named = tuning_lessons.label_doubt

    def doubts(key, label, ct, outside):
        refused = key == "aorta" and label.inside.sum() == volume
        return LabelDoubt("absurd-volume", "x") if refused else named(key, label, ct, outside)

    monkeypatch.setattr(evidence, "FEWEST_EDITED_STUDIES", 1)
    monkeypatch.setattr(evidence, "FEWEST_EDITED_PATIENTS", 1)
    with monkeypatch.context() as patched:
        patched.setattr(tuning_lessons, "label_doubt", doubts)
        assert tune(services, settings=SETTINGS)["organs"] == ["stomach", "aorta"]
    services.records.set_incumbent(2, approver="test", reason="gate passed")
    (left,) = plan(services, None, SETTINGS).evidence.corrected
    assert (left.case.case_id, left.organs) == (case.case_id, ("aorta",))
    (event,) = services.records.events(CANDIDATE_TUNED)
    unrecorded = replace(event, payload={k: v for k, v in event.payload.items() if k != "taught"})
    monkeypatch.setattr(SqlRecords, "events", lambda *_: (unrecorded,))
    assert plan(services, None, SETTINGS).evidence.corrected == (), "as it was read before that was recorded"


def test_a_run_is_not_taken_up_with_other_features_than_it_began_with(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, SETTINGS)
    lessons = lessons_of(services, run, lambda _: None)
    begun = tune_heads._seen(run, lessons)
    assert begun == tune_heads._seen(run, lessons_of(services, run, lambda _: None))
    assert begun != tune_heads._seen(replace(run, settings=replace(SETTINGS, device="cuda")), lessons)
    FeatureStore(services.cases).erase(run.evidence.corrected[0].case.patient)
    assert begun != tune_heads._seen(run, lessons_of(services, run, lambda _: None))


def test_a_correction_that_comes_while_the_job_tunes_is_the_next_nights(corrected, tmp_path, monkeypatch):
    site = corrected.copy(tmp_path)
    started = []

    def start(*_, **given):
        started.append(given["idempotency_key"])
        return SimpleNamespace(id="a job")

    def ended(*_):
        tune(site.services, settings=SETTINGS)
        site.correct(4, "aorta")
        return RunState.DONE

    monkeypatch.setattr(nightly_tuning, "run_deployment", start)
    monkeypatch.setattr(PrefectLauncher, "state", ended)
    monkeypatch.setattr(nightly_tuning, "tuning_settings", lambda *_: SETTINGS)
    document = nightly_tuning.tuned_on_pool("auto", site.services.settings)
    assert (document["release"], document["corrections"], len(started)) == (2, 3, 1)
    assert len(plan(site.services, None, SETTINGS).evidence.corrected) == 4


@pytest.mark.parametrize("purpose", [Purpose.GATE, Purpose.CALIBRATION])
def test_a_patient_of_the_gate_or_calibration_set_teaches_nothing(corrected, tmp_path, purpose):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, SETTINGS)
    learnt = run.evidence.corrected[0].case
    other = Case("1" * 64, purpose, "2" * 64, "independent", "3" * 64)
    services.records.add_case(other)
    with pytest.raises(Refused, match="patient-leak"):
        services.records.add_case(replace(learnt, case_id="4" * 64, patient=other.patient))
    with pytest.raises(Refused, match="patient-leak"):
        services.records.add_case(replace(other, case_id="5" * 64, patient=learnt.patient))
    again = plan(services, None, SETTINGS).evidence
    assert again == run.evidence
    assert other.patient not in {one.case.patient for one in again.corrected + again.older}


def test_a_label_that_cannot_be_meant_is_refused_and_named(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    monkeypatch.setattr(label_doubts, "TOO_LARGE", 1e-6)
    said = []
    document = tune(services, ["aorta"], SETTINGS, said.append)
    assert document["release"] is None
    assert document["left_out"] == {
        "aorta": "too-few-studies: edited in 0 new studies, 3 are needed; labels refused: absurd-volume"
    }
    assert [(one["organ"], one["code"]) for one in document["doubts"]] == [("aorta", "absurd-volume")] * 3
    assert said == ["nothing to learn: the labels of every organ are in doubt"]
    monkeypatch.undo()
    assert tune(services, ["aorta"], SETTINGS)["doubts"] == document["doubts"], "declined once and for all"


def test_of_many_older_cases_the_incumbent_is_asked_once_which_to_replay(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, SETTINGS)
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


def test_what_the_candidate_learnt_from_is_on_record(tuned):
    site, document = tuned
    records, cases = site.services.records, site.services.cases
    candidate = site.services.releases.release(2)
    (event,) = records.events(CANDIDATE_TUNED)
    corrections = records.corrections_since(1)
    assert candidate.corrections == tuple(sorted(one.sop_instance_uid for one in corrections))
    assert event.payload["cases"] == [cases.pseudonym(one.sop_instance_uid) for one in corrections]
    patients = [dcmread(next((site.folder / f"ct-{seed}").iterdir())).PatientID for seed in SEEDS]
    assert event.payload["patients"] == sorted(cases.pseudonym(patient) for patient in patients)
    assert event.payload["sites"] == ["B"]
    assert event.payload["report"]["curve"] == document["curve"]
    assert [step for step, _ in document["curve"]["aorta"]] == [1, 2, 3, 4]


def test_the_same_corrections_are_learnt_once(tuned):
    site, document = tuned
    again = tune(site.services, settings=SETTINGS)
    assert (again["release"], again["digest"]) == (document["release"], document["digest"])
    assert again["curve"] == document["curve"]
    assert site.services.releases.numbers() == (1, 2)
    assert len(site.services.records.events(CANDIDATE_TUNED)) == 1


def test_after_promotion_there_is_nothing_left_to_learn(tuned, tmp_path):
    site = tuned[0].copy(tmp_path)
    site.services.records.set_incumbent(2, approver="test", reason="gate passed")
    assert tune(site.services, settings=SETTINGS)["release"] is None


def test_killed_at_any_step_the_candidate_comes_out_the_same(corrected, tuned, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    steps = [
        (tune_heads, "export_release"),
        (ReleaseStore, "publish"),
        (SqlRecords, "record_release"),
        (SqlRecords, "event"),
    ]
    for owner, name in steps:
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, _killed)
            with pytest.raises(KeyboardInterrupt):
                tune(services, settings=SETTINGS)
    assert tune(services, settings=SETTINGS)["digest"] == tuned[1]["digest"]
    assert services.releases.numbers() == (1, 2)


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_other_settings_are_another_run(corrected):
    plans = [plan(corrected.services, None, settings) for settings in (SETTINGS, TuningSettings(seed=1))]
    assert plans[0].key != plans[1].key
    assert plans[0].key == plan(corrected.services, None, SETTINGS).key
    on_gpu = plan(corrected.services, None, replace(SETTINGS, device="cuda"))
    assert on_gpu.key == plans[0].key, "who only waits for the job need not know its device"


def test_our_own_seg_sent_back_teaches_nothing(corrected):
    before = plan(corrected.services, None, SETTINGS).key
    ct, sent = corrected.folder / "ct-1", corrected.folder / "result-1" / "organ-seg.dcm"
    document = ingest(sent, ct, sent, memory_of(corrected.services.settings))
    assert document["status"] == "ours-unchanged"
    assert plan(corrected.services, None, SETTINGS).key == before


def test_too_few_corrections_are_no_error(corrected, monkeypatch):
    monkeypatch.setattr(evidence, "FEWEST_EDITED_STUDIES", 4)
    said = []
    document = tune(corrected.services, ["aorta"], SETTINGS, said.append)
    assert (document["release"], document["organs"], document["curve"]) == (None, [], {})
    assert document["left_out"] == {"aorta": "too-few-studies: edited in 3 new studies, 4 are needed"}
    assert said == ["nothing to learn: no organ has enough new corrections"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_the_device_asked_for_nothing_is_tuned_elsewhere_in_silence(corrected):
    with pytest.raises(OrganloopError, match="torch finds no CUDA device here"):
        tune(corrected.services, ["aorta"], replace(SETTINGS, device="cuda"))


def test_an_organ_the_contract_lacks_is_a_mistake_of_the_caller(corrected):
    with pytest.raises(ValueError, match="no such organ: appendix; there are liver, stomach, aorta"):
        plan(corrected.services, ["appendix"], SETTINGS)


def test_a_full_disk_is_said_and_changes_nothing(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services

    def full(*_: object) -> None:
        raise StorageFailed("x.safetensors cannot be written: No space left on device")

    monkeypatch.setattr(ReleaseStore, "add_head", full)
    with pytest.raises(StorageFailed, match="No space left"):
        tune(services, ["aorta"], TuningSettings(Level.HEAD, steps=1, batch_voxels=64, window_voxels=64))
    assert services.releases.numbers() == (1,)


def test_a_case_that_lost_a_label_is_not_learnt_from_in_silence(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, SETTINGS)
    labelled = run.evidence.corrected[0]
    (services.cases.folder / labelled.case.case_id / "labels" / "aorta.nii.gz").unlink()
    with pytest.raises(StorageFailed, match=r"is not what was kept: .* ingest its correction, again"):
        read_tuning_study(services.cases, labelled, run.parent)
