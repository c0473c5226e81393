"""From served studies over a reader's corrections to a candidate, in one process and on a small network."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from io import BytesIO
from types import SimpleNamespace
from uuid import uuid4

import pytest
import torch
from pydicom import dcmread

from deploy.demo.simulated_reader import save_like_ohif
from flows.corrections.ingest import Said, ingest, memory_of
from flows.nightly import flow as nightly_tuning
from flows.tuning import flow as tuning_job
from flows.tuning import tune as tune_heads
from flows.tuning.plan import plan
from models.calibration import Certificate, OrganCalibration
from models.documents import from_json
from models.errors import OrganloopError, Refused, StorageFailed
from models.gate.release_faults import release_faults
from models.network.tuning import tune as network_tuning
from models.phantom.case import make_case
from models.tuning.document import TuningDocument
from models.tuning.settings import Level, TuningSettings
from services.cases.training_runs import erase_runs
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.records.events.operations import NightStopped
from services.records.store import SqlRecords
from services.releases.store import ReleaseStore
from tests.support.learning import DOMAIN, SEEDS, SPACING, TUNING, tune_document
from tests.support.log import lines

NOON = datetime(2026, 1, 3, 12, 0, 0)


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


def test_the_image_that_taught_is_on_record(corrected, tmp_path):
    image = f"sha256:{'7' * 64}"
    services = corrected.copy(tmp_path, image_digest=image).services
    document = tune_document(services, settings=TUNING)
    (event,) = lines(services.records, "candidate-tuned")
    assert event.payload["report"]["image"] == document["image"] == image
    assert tune_document(services, settings=TUNING)["image"] == image, "told again, it is of the same image"


def test_a_tuned_organ_claims_no_bound_until_it_is_calibrated_again(tuned):
    site, _ = tuned
    calibration = site.services.releases.release(2).calibration
    assert set(calibration.organs) == {"liver"}
    assert calibration.domain == DOMAIN


def test_nothing_of_a_run_is_left_of_a_patient_who_was_taken_out_meanwhile(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    folder, whole = services.settings.home / "tuning", tune_heads.export_release
    importance = folder / "importance-1.json"
    (patient, *_) = sorted(case.patient for case in services.records.cases(Purpose.TUNING))

    def exported_and_erased(*given, **named):
        importance.write_text("{}")
        erasure = services.records.erase_patient(patient, who="Dr A", reason="consent withdrawn")
        assert list(folder.rglob("*.pt")), "a run is under way"
        erase_runs(services.settings.home, [case.case_id for case in erasure.cases])
        assert list(folder.iterdir()) == []
        return whole(*given, **named)

    monkeypatch.setattr(tune_heads, "export_release", exported_and_erased)
    with pytest.raises(Refused, match="patient-erased"):
        tune_document(services, settings=TUNING)
    assert services.releases.numbers() == (1,)
    assert lines(services.records, "candidate-tuned") == ()


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
        tune_document(services, settings=TUNING)
    assert refused.value.measured == {"words": 2}
    assert services.releases.numbers() == (1,)
    assert lines(services.records, "candidate-tuned") == ()
    assert list((services.settings.home / "tuning").iterdir()) == []
    assert len(plan(services, None, TUNING).evidence.corrected) == 0, "two studies are too few"


def test_a_head_that_would_be_worse_is_left_as_it_is(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    ladder = TuningSettings(steps=2, batch_voxels=64, window_voxels=64, highest=Level.HEAD)
    judged = iter((False, True, False, False))  # stomach and aorta, twice: chance decides on a tiny network
    monkeypatch.setattr(network_tuning, "worth_keeping", lambda rung, before: next(judged))
    document = tune_document(services, settings=ladder)
    parent, candidate = services.releases.release(1), services.releases.release(2)
    assert (document["organs"], document["levels"]) == (["aorta"], {"stomach": "incumbent", "aorta": "head"})
    assert candidate.heads["stomach"] == parent.heads["stomach"]
    assert candidate.heads["aorta"] != parent.heads["aorta"]
    (event,) = lines(services.records, "candidate-tuned")
    assert event.payload["organs"] == ["aorta"]
    again, said = replace(ladder, seed=1), []
    assert tune_document(services, settings=again, progress=said.append)["release"] is None
    assert said[-1] == "no candidate: no head would be better than the one that serves"
    declined = tune_document(services, settings=again)
    assert declined["ladders"].keys() == {"stomach", "aorta"}, "it is not tried again"
    assert f"aorta: {declined['ladders']['aorta']['end']}, level incumbent" in said
    shown = []
    for kind in ("table", "markdown", "image"):
        named = lambda key, description, **_: shown.append((key, description))  # noqa: E731
        monkeypatch.setattr(tuning_job, f"create_{kind}_artifact", named)
    tuning_job.publish_tuning_task.fn(from_json(TuningDocument, declined))
    title = "No candidate (auto) from release 1"
    assert shown == [(key, title) for key in ("tuning-data", "tuning-ladder", "tuning-cost")]


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
    assert "spleen" not in plan(services, None, TUNING).evidence.organs, "nobody asked for it"
    how = replace(TUNING, steps=40, learning_rate=3e-2)
    document = tune_document(services, settings=how, new_organs=["spleen"])
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
        plan(services, None, TUNING, ["liver"])


def test_an_organ_that_was_new_once_gets_no_share_of_the_certificates_by_tuning(
    corrected, tmp_path, monkeypatch
):
    services = corrected.copy(tmp_path).services
    run = replace(plan(services, None, TUNING), new_organs=("spleen",))
    fitted = OrganCalibration(0.1, 0.9, 50, certificate=Certificate(0.1, 0.025, 0.9, 40, 0))
    monkeypatch.setattr(tune_heads, "measurable", lambda *_: ["fifty cases"])
    monkeypatch.setattr(
        tune_heads, "calibrate_organs", lambda _d, _e, organs, *_: dict.fromkeys(organs, fitted)
    )
    made = tune_heads._calibration(
        run,
        ("aorta", "spleen"),
        run.parent,
        services.cases,
        services.records,
        services.releases,
        services.settings.threads,
        lambda _: None,
        services.targets,
    )
    assert made.organs["aorta"].certificate == fitted.certificate
    assert made.organs["spleen"] == replace(fitted, certificate=None)


def test_a_correction_that_comes_while_the_job_tunes_is_the_next_nights(corrected, tmp_path, monkeypatch):
    site = corrected.copy(tmp_path)
    started = []

    def start(*_, **given):
        started.append(given["idempotency_key"])
        return SimpleNamespace(id=uuid4())

    def ended(*_):
        tune_document(site.services, settings=TUNING)
        site.correct(4, "aorta")
        return True

    monkeypatch.setattr(nightly_tuning, "run_deployment", start)
    monkeypatch.setattr(nightly_tuning, "_completed", ended)
    monkeypatch.setattr(nightly_tuning, "tuning_settings", lambda *_: TUNING)
    document = nightly_tuning.tuned_on_pool("auto", site.services.settings)
    assert (document.release, document.corrections, len(started)) == (2, 3, 1)
    assert len(plan(site.services, None, TUNING).evidence.corrected) == 4


def test_a_night_that_somebody_has_stopped_starts_no_further_job(corrected, tmp_path, monkeypatch):
    """Its job may end before the night's own process is gone: that is no loss to be made up for."""
    site = corrected.copy(tmp_path)
    night, started = str(uuid4()), []

    def start(*_, **given):
        started.append(given["idempotency_key"])
        return SimpleNamespace(id=uuid4())

    def lost(*_):
        stopped = NightStopped(run=night, was="running", reason="the server is needed")
        site.services.records.record(stopped, who="Mr. Oz", key=stopped.key(night))
        return False

    monkeypatch.setattr(nightly_tuning, "runtime", SimpleNamespace(flow_run=SimpleNamespace(id=night)))
    monkeypatch.setattr(nightly_tuning, "run_deployment", start)
    monkeypatch.setattr(nightly_tuning, "_completed", lost)
    monkeypatch.setattr(nightly_tuning, "tuning_settings", lambda *_: TUNING)
    with pytest.raises(nightly_tuning.TuningLost, match=r"Mr\. Oz stopped this night"):
        nightly_tuning.tuned_on_pool("auto", site.services.settings)
    assert len(started) == 1


def test_what_the_candidate_learnt_from_is_on_record(tuned):
    site, document = tuned
    records, cases = site.services.records, site.services.cases
    candidate = site.services.releases.release(2)
    (event,) = lines(records, "candidate-tuned")
    corrections = records.corrections()
    assert candidate.corrections == tuple(sorted(one.sop_instance_uid for one in corrections))
    assert event.payload["cases"] == [cases.pseudonym(one.sop_instance_uid) for one in corrections]
    patients = [dcmread(next((site.folder / f"ct-{seed}").iterdir())).PatientID for seed in SEEDS]
    assert event.payload["patients"] == sorted(cases.pseudonym(patient) for patient in patients)
    assert event.payload["sites"] == ["B"]
    assert event.payload["report"]["curve"] == document["curve"]
    assert document["studies"]["aorta"] == {"corrected": 3, "replayed": 0, "patients": 3}
    assert event.payload["report"]["device"] == document["device"] == "cpu"
    assert [step for step, _ in document["curve"]["aorta"]] == [1, 2, 3, 4]


def test_the_same_corrections_are_learnt_once(tuned):
    site, document = tuned
    again = tune_document(site.services, settings=TUNING)
    assert (again["release"], again["digest"]) == (document["release"], document["digest"])
    assert again["curve"] == document["curve"]
    assert site.services.releases.numbers() == (1, 2)
    assert len(lines(site.services.records, "candidate-tuned")) == 1


def test_killed_at_any_step_the_candidate_comes_out_the_same(corrected, tuned, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    steps = [
        (tune_heads, "export_release"),
        (ReleaseStore, "publish"),
        (SqlRecords, "record_release"),
        (SqlRecords, "record"),
    ]
    for owner, name in steps:
        with monkeypatch.context() as patched:
            patched.setattr(owner, name, _killed)
            with pytest.raises(KeyboardInterrupt):
                tune_document(services, settings=TUNING)
    with monkeypatch.context() as patched:  # once it is on record
        patched.setattr(tune_heads.shutil, "rmtree", _killed)
        with pytest.raises(KeyboardInterrupt):
            tune_document(services, settings=TUNING)
    assert list((services.settings.home / "tuning").iterdir())
    assert tune_document(services, settings=TUNING)["digest"] == tuned[1]["digest"]
    assert services.releases.numbers() == (1, 2)
    assert list((services.settings.home / "tuning").iterdir()) == []


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_other_settings_are_another_run(corrected):
    plans = [plan(corrected.services, None, settings) for settings in (TUNING, TuningSettings(seed=1))]
    assert plans[0].key != plans[1].key
    assert plans[0].key == plan(corrected.services, None, TUNING).key
    on_gpu = plan(corrected.services, None, replace(TUNING, device="cuda"))
    assert on_gpu.key == plans[0].key, "who only waits for the job need not know its device"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_the_device_asked_for_nothing_is_tuned_elsewhere_in_silence(corrected):
    with pytest.raises(OrganloopError, match="torch finds no CUDA device here"):
        tune_document(corrected.services, ["aorta"], replace(TUNING, device="cuda"))


def test_an_organ_the_contract_lacks_is_a_mistake_of_the_caller(corrected):
    with pytest.raises(ValueError, match="no such organ: appendix; there are liver, stomach, aorta"):
        plan(corrected.services, ["appendix"], TUNING)


def test_a_full_disk_is_said_and_changes_nothing(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services

    def full(*_: object) -> None:
        raise StorageFailed("x.safetensors cannot be written: No space left on device")

    monkeypatch.setattr(ReleaseStore, "add_head", full)
    with pytest.raises(StorageFailed, match="No space left"):
        tune_document(
            services, ["aorta"], TuningSettings(Level.HEAD, steps=1, batch_voxels=64, window_voxels=64)
        )
    assert services.releases.numbers() == (1,)
