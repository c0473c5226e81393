"""A patient is taken out: of cases, sets and scores, for good, and the releases that learnt are named."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.cases.erase import erase
from flows.corrections.ingest import ingest, memory_of
from flows.corrections.report import Ingested, NotTaken
from models.errors import StorageFailed
from services.cases import store as case_files
from services.cases.disagreements import ReadersDisagree
from services.cases.store import CaseStore
from services.dicom.ct.phantom_series import write_phantom_series, write_truth
from services.records.entries.cases import Purpose
from services.records.events.candidates import CandidateTuned
from services.records.store import open_records
from services.releases.scores import ScoreStore
from services.releases.store import ReleaseStore
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.corrections import PATIENT
from tests.support.ct_files import case
from tests.support.log import lines
from tests.support.returned_segs import everything, put_on_record
from tests.support.tiny_networks import publish_tiny

ACT = ("--approver", "Dr A", "--reason", "consent withdrawn")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home where a release of liver and spleen serves."""
    settings = Settings(home=tmp_path / "home")
    publish_tiny(ReleaseStore(settings.release_store), 1, {"liver": 1, "spleen": 2})
    open_records(settings.records_url).set_incumbent(1, approver="IT", reason="first release")
    return settings


@pytest.fixture
def services(settings: Settings) -> Services:
    return connect_in_process(settings)


def organloop(settings: Settings, *words: object) -> tuple[int, Any]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"], env={"ORGANLOOP_HOME": str(settings.home)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


def gate_case(settings: Settings, folder: Path, seed: int) -> str:
    """Take a phantom into the gate set; return its PatientID."""
    made = case(seed=seed)
    files = write_phantom_series(made, folder / str(seed) / "ct")
    write_truth(made, folder / str(seed) / "truth.npz")
    truth = ("--truth", folder / str(seed) / "truth.npz", "--origin", "independent", "--purpose", "gate")
    assert organloop(settings, "cases", "add", folder / str(seed) / "ct", *truth)[0] == 0
    return str(dcmread(files[0]).PatientID)


def take_in(ohif: Path, settings: Settings) -> Ingested | NotTaken:
    return ingest(ohif / "saved-by-ohif.dcm", ohif / "ct", ohif / "sent.dcm", memory_of(settings))


def test_a_patient_leaves_cases_sets_and_scores_and_releases_are_named(settings, services, tmp_path):
    records, scores = services.records, ScoreStore(settings.score_store)
    patient = gate_case(settings, tmp_path, 1)
    gate_case(settings, tmp_path, 2)
    frozen = records.freeze(Purpose.GATE)
    hmac = services.cases.pseudonym(patient)
    gone, stays = sorted(records.cases(Purpose.GATE), key=lambda one: one.patient != hmac)
    for release in ("r1", "r2"):
        for one in (gone, stays):
            scores.keep(scores.name(release, "profile", one.digest), {})
    store = services.releases
    for number in (2, 3):
        store.publish(replace(store.release(1), number=number, parent=number - 1))
    learnt = CandidateTuned(
        run="a run",
        release=2,
        organs=("liver",),
        cases=(gone.case_id,),
        patients=(hmac,),
        sites=(),
    )
    records.record(learnt, who="tune_heads")

    code, document = organloop(settings, "cases", "erase", patient, *ACT)
    assert code == 0
    assert document == {
        "patient": hmac, "cases": [gone.case_id], "sets": {"gate": frozen.digest}, "scores": 2,
        "releases": [2], "inherited": [3], "approver": "Dr A", "reason": "consent withdrawn",
    }  # fmt: skip
    assert records.cases(Purpose.GATE) == (stays,)
    assert not (services.cases.folder / gone.case_id).exists()
    services.cases.read(stays)
    assert scores.find(scores.name("r1", "profile", gone.digest)) is None
    assert scores.find(scores.name("r1", "profile", stays.digest)) == {}
    assert patient not in json.dumps(document) + repr(everything(open_records(settings.records_url)))
    code, again = organloop(settings, "cases", "erase", patient, *ACT)
    assert (code, again) == (0, {**document, "scores": 0})
    (event,) = lines(records, "patient-erased")
    assert (event.who, event.payload["reason"]) == ("Dr A", "consent withdrawn")
    (named,) = lines(records, "releases-learnt-from-erased")
    assert (named.payload["releases"], named.payload["inherited"]) == ([2], [3])
    assert records.frozen(Purpose.GATE) == frozen, "what was decided on keeps its digest"
    assert records.freeze(Purpose.GATE).digest != frozen.digest


def test_an_erased_patients_correction_does_not_come_back(settings, services, ohif):
    put_on_record(services.records, ohif / "sent.dcm", ohif / "ct")
    assert take_in(ohif, settings).kept
    (kept,) = services.records.cases(Purpose.TUNING)
    study = dcmread(ohif / "sent.dcm", stop_before_pixels=True).StudyInstanceUID
    code, document = organloop(settings, "cases", "erase", study, *ACT)
    assert (code, document["cases"]) == (0, [kept.case_id])
    again = take_in(ohif, settings)
    assert (again.kept, again.why.split(":")[0], again.teaches) == (False, "patient-erased", ())
    assert services.records.cases(Purpose.TUNING) == ()
    assert not (services.cases.folder / kept.case_id).exists()


def test_a_patient_is_named_by_a_study_in_a_folder_too(settings, services, ohif):
    put_on_record(services.records, ohif / "sent.dcm", ohif / "ct")
    take_in(ohif, settings)
    assert organloop(settings, "cases", "erase", ohif / "ct", *ACT)[0] == 0
    assert services.records.cases(Purpose.TUNING) == ()


def test_a_patient_is_named_by_a_study_in_the_archive_too(settings, tmp_path, clean_archive):
    patient = gate_case(settings, tmp_path, 1)
    clean_archive.put(tmp_path / "1" / "ct")
    [study] = clean_archive.instances("Study")
    there = connect_in_process(Settings(home=settings.home, **clean_archive.named))
    document = erase(study["StudyInstanceUID"], "Dr A", "consent withdrawn", there)
    assert document.patient == there.cases.pseudonym(patient)
    assert len(document.cases) == 1


def test_nobody_is_erased_by_mistake(settings, services, tmp_path):
    gate_case(settings, tmp_path, 1)
    code, refusal = organloop(settings, "cases", "erase", "PHANTOM-A-0", *ACT)
    assert (code, refusal["code"]) == (3, "unknown-patient")
    assert "PHANTOM-A-0" not in json.dumps(refusal)
    nobody = ("--approver", " ", "--reason", "y")
    assert organloop(settings, "cases", "erase", "x", *nobody)[1]["code"] == "no-name"
    assert len(services.records.cases(Purpose.GATE)) == 1
    assert lines(services.records, "patient-erased") == ()


def test_a_patient_who_has_no_case_yet_is_refused_from_then_on(settings, services, ohif, clean_archive):
    put_on_record(services.records, ohif / "sent.dcm", ohif / "ct")
    clean_archive.put(ohif / "ct")
    there = connect_in_process(Settings(home=settings.home, **clean_archive.named))
    uid = str(dcmread(ohif / "sent.dcm", stop_before_pixels=True).SOPInstanceUID)
    document = erase(uid, "Dr A", "consent withdrawn", there)
    assert document.cases == ()
    assert organloop(settings, "cases", "erase", ohif / "ct", *ACT)[1]["patient"] == document.patient
    taken_in = take_in(ohif, settings)
    assert (taken_in.kept, taken_in.why.split(":")[0]) == (False, "patient-erased")
    assert services.records.cases(Purpose.TUNING) == ()


def test_killed_before_the_files_are_deleted_the_same_call_completes_it(settings, services, tmp_path):
    patient = gate_case(settings, tmp_path, 1)
    (kept,) = services.records.cases(Purpose.GATE)

    def killed(*_: object) -> None:
        raise StorageFailed("killed")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(CaseStore, "erase", killed)
        with pytest.raises(StorageFailed, match="killed"):
            erase(patient, "Dr A", "consent withdrawn", services)
    assert services.records.cases(Purpose.GATE) == (), "it is out of the sets before a file goes"
    assert (services.cases.folder / kept.case_id).exists()
    assert erase(patient, "Dr A", "consent withdrawn", services).cases == (kept.case_id,)
    assert not (services.cases.folder / kept.case_id).exists()
    assert len(lines(services.records, "patient-erased")) == 1


def test_a_case_that_is_being_written_while_its_patient_is_erased_leaves_nothing(settings, services, ohif):
    put_on_record(services.records, ohif / "sent.dcm", ohif / "ct")
    patient = services.cases.pseudonym(PATIENT)
    write, files = case_files.replace, []

    def write_and_erase(path, data):
        write(path, data)
        files.append(path)
        if len(files) == 3:
            services.records.erase_patient(patient, who="Dr A", reason="consent withdrawn")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(case_files, "replace", write_and_erase)
        document = take_in(ohif, settings)
    assert (document.kept, document.why.split(":")[0]) == (False, "patient-erased")
    assert [path.name for path in services.cases.folder.iterdir()] == ["site.key"]


def test_a_score_that_was_kept_is_erased_by_the_digest_of_its_case(tmp_path):
    scores = ScoreStore(tmp_path)
    name = scores.name("r", "p", "d")
    scores.keep(name, {})
    assert isinstance(scores.find(name), dict)
    assert (scores.erase("d"), scores.erase("d"), scores.find(name)) == (1, 0, None)


def test_what_teaches_where_readers_disagree_is_a_setting(settings):
    for policy in ReadersDisagree:
        chosen = settings.model_copy(update={"readers_disagree": str(policy)})
        memory = memory_of(chosen)
        assert memory is not None
        assert memory.policy.apart is policy
    assert Settings().readers_disagree == "ask"


def test_withdrawal_by_the_verb_names_what_is_taken_back(settings, services, ohif):
    put_on_record(services.records, ohif / "sent.dcm", ohif / "ct")
    uid = take_in(ohif, settings).sop_instance_uid
    store = services.releases
    store.publish(replace(store.release(1), number=2, parent=1, corrections=(uid,)))
    store.publish(replace(store.release(1), number=3, parent=2))
    code, document = organloop(settings, "withdraw", uid, "--reader", "Dr A", "--reason", "wrong phase")
    assert (code, document["versions"], document["organs"]) == (0, [1], ["liver"])
    assert (document["releases"], document["inherited"], document["instead"]) == ([2], [3], [])
    code, refusal = organloop(settings, "withdraw", "1.2.3", "--reader", "Dr A", "--reason", "wrong phase")
    assert (code, refusal["code"]) == (3, "unknown-correction")
    code, sums = organloop(settings, "corrections")
    assert (code, sums["corrections"]) == (0, 0)
