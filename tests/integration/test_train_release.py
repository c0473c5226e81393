"""The whole network again, from a reader's corrections to a candidate, on a small network."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.cases.erase import erase
from flows.gate.trial import made
from flows.training import train as module
from flows.training.plan import Begin, plan
from flows.training.train import train_release
from flows.tuning import believed_labels
from flows.tuning import plan as tuning_plan
from models.corrections.label_doubts import LabelDoubt
from models.documents import to_json
from models.errors import OrganloopError, Refused
from models.network.training.train import TrainingSettings
from services.cases.training_cases import HELD_WEIGHT, PreparedCases
from services.records.entries.releases import ReleaseState
from tests.support.learning import ORGANS, SEEDS, TUNING, open_site
from tests.support.log import lines

SETTINGS = TrainingSettings(steps=4, warm_up=1)
IMAGE = f"sha256:{'7' * 64}"


def train_document(*asked: Any) -> dict[str, Any]:
    document: dict[str, Any] = to_json(train_release(*asked))
    return document


@pytest.fixture(scope="module")
def trained(corrected, tmp_path_factory):
    """The same site after it trained on from the incumbent, and what `train` said."""
    site = corrected.copy(tmp_path_factory.mktemp("trained"), image_digest=IMAGE)
    return site, train_document(site.services, Begin.INCUMBENT, SETTINGS)


def test_the_candidate_has_another_trunk_and_touches_every_organ(trained):
    site, document = trained
    store, records = site.services.releases, site.services.records
    parent, candidate = store.release(1), store.release(document["release"])
    assert (candidate.digest, candidate.parent) == (document["digest"], 1)
    assert candidate.contract == parent.contract
    assert candidate.trunk != parent.trunk
    assert all(candidate.heads[organ] != parent.heads[organ] for organ in ORGANS)
    assert all(store.has_export(digest) for digest in (candidate.trunk, *candidate.heads.values()))
    assert (records.release_states()[2], records.incumbent()) == (ReleaseState.CANDIDATE, 1)


def test_it_claims_no_bound_where_the_calibration_set_is_too_small(trained):
    site, document = trained
    assert site.services.releases.release(2).calibration is None
    assert document["calibrated"] == []


def test_what_it_learnt_from_is_on_record_for_the_gate(trained):
    site, document = trained
    (event,) = lines(site.services.records, "candidate-trained")
    assert event.payload["document"]["image"] == document["image"] == IMAGE, "which image taught"
    assert event.payload["organs"] == list(ORGANS)
    assert len(event.payload["patients"]) == len(SEEDS)
    assert event.payload["sites"] == ["B"]
    assert document["labels"]["stomach"] == {"readers": 3, "held": 0}
    assert document["labels"]["liver"] == {"readers": 0, "held": 3}
    assert [step for step, _ in document["curve"]] == [1, 2, 3, 4]


def test_a_label_that_is_refused_is_not_learnt_and_stays_evidence(corrected, tmp_path, monkeypatch):
    site = corrected.copy(tmp_path)
    services, cases = site.services, site.services.cases
    site.correct(4, "aorta")
    named = believed_labels.label_doubt

    def doubts(key, label, ct, outside):
        return LabelDoubt("absurd-volume", "x") if key == "aorta" else named(key, label, ct, outside)

    with monkeypatch.context() as patched:
        patched.setattr(believed_labels, "label_doubt", doubts)
        document = train_document(services, Begin.INCUMBENT, SETTINGS)
    assert document["cases"] == 3, "of the fourth nothing is left to learn"
    assert document["labels"]["aorta"] == {"readers": 0, "held": 3}
    assert document["labels"]["stomach"] == {"readers": 3, "held": 0}
    assert [(one["organ"], one["code"]) for one in document["refused"]] == [("aorta", "absurd-volume")] * 4
    names = [one.name for one in services.records.corrections()]
    candidate = services.releases.release(2)
    (event,) = lines(services.records, "candidate-trained")
    assert event.payload["taught"] == {name: ["stomach"] for name in sorted(names[:3])}
    assert event.payload["cases"] == sorted(cases.pseudonym(name) for name in names[:3])
    assert (candidate.corrections, candidate.note) == (
        tuple(sorted(names[:3])),
        "Trained from release 1 on 3 cases.",
    )
    services.records.set_incumbent(2, approver="test", reason="gate passed")
    left = tuning_plan.plan(services, None, TUNING).evidence
    assert [one.organs for one in left.corrected] == [("aorta",)] * 4


def test_too_few_cases_are_left_where_labels_are_refused(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    monkeypatch.setattr(believed_labels, "label_doubt", lambda *_: LabelDoubt("absurd-volume", "x"))
    with pytest.raises(Refused) as refused:
        train_document(services, Begin.INCUMBENT, SETTINGS)
    assert (refused.value.code, refused.value.measured) == (
        "too-few-cases",
        {"cases": 0, "fewest": 3, "labels_refused": 6},
    )


def test_another_device_or_another_correction_of_the_same_content_is_another_run(corrected):
    run = plan(corrected.services, Begin.INCUMBENT, SETTINGS)
    first = replace(run.labelled[0], correction="1.2.3")
    assert run.key == plan(corrected.services, Begin.INCUMBENT, SETTINGS).key
    assert run.key != replace(run, labelled=(first, *run.labelled[1:])).key
    on_gpu = corrected.services.settings.model_copy(update={"tuning_device": "cuda"})
    services = replace(corrected.services, settings=on_gpu)
    assert run.key != plan(services, Begin.INCUMBENT, SETTINGS).key
    if not torch.cuda.is_available():
        with pytest.raises(OrganloopError, match="torch finds no CUDA device here"):
            train_document(services, Begin.INCUMBENT, SETTINGS)


def test_the_same_again_trains_nothing(trained):
    site, document = trained
    assert train_document(site.services, Begin.INCUMBENT, SETTINGS) == document
    assert site.services.releases.numbers() == (1, 2)


def test_killed_anywhere_the_candidate_comes_out_the_same(corrected, trained, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    whole = module.train

    def killed(*_, **__):
        raise ZeroDivisionError

    def killed_half_way(cases, contract, settings, report, *given, **named):
        def until_two(at):
            report(at)
            assert at.step != 2

        whole(cases, contract, settings, until_two, *given, **named)

    steps = {"train": killed_half_way} | dict.fromkeys(
        ("export_release", "publish_candidate", "_record"), killed
    )
    for step, instead in steps.items():
        with monkeypatch.context() as patched:
            patched.setattr(module, step, instead)
            with pytest.raises((ZeroDivisionError, AssertionError)):
                train_document(services, Begin.INCUMBENT, SETTINGS)
    (state,) = (services.settings.home / "training").glob("*/state.pt")
    state.unlink()  # as one is told to, should it be damaged
    document = train_document(services, Begin.INCUMBENT, SETTINGS)
    expected = trained[1]
    assert (document["digest"], document["curve"]) == (expected["digest"], expected["curve"])
    assert services.releases.numbers() == (1, 2)
    assert not list((services.settings.home / "training").iterdir())


def test_what_one_program_has_begun_another_does_not_go_on_with(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    folders = []

    def killed(*_, keep, **__):
        folders.append(keep.path.parent)
        raise ZeroDivisionError

    monkeypatch.setattr(module, "train", killed)
    for program in ("this version", "this version", "the next version"):
        monkeypatch.setattr(module, "learning_program", lambda _, program=program: program)
        with pytest.raises(ZeroDivisionError):
            train_document(services, Begin.INCUMBENT, SETTINGS)
    assert folders[0] == folders[1] != folders[2]


def test_a_run_does_not_go_on_with_fewer_cases_than_it_began_with(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    folders, taught = [], module._taught

    def killed(*_, keep, **__):
        folders.append(keep.path.parent)
        raise ZeroDivisionError

    def one_is_damaged(*given):
        cases, refused = taught(*given)
        return cases[:-1], refused

    monkeypatch.setattr(module, "train", killed)
    for believed in (taught, taught, one_is_damaged):
        monkeypatch.setattr(module, "_taught", believed)
        with pytest.raises(ZeroDivisionError):
            train_document(services, Begin.INCUMBENT, SETTINGS)
    assert folders[0] == folders[1] != folders[2]


def test_from_scratch_an_organ_that_nobody_drew_is_refused(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    with pytest.raises(Refused) as refused:
        train_document(services, Begin.SCRATCH, SETTINGS)
    assert refused.value.code == "too-few-labels"
    assert refused.value.measured == {"fewest": 3, "liver": 0}
    assert not list((services.settings.home / "training").iterdir()), "what was prepared takes no room"
    assert services.releases.numbers() == (1,)


def test_a_readers_word_goes_before_the_incumbents(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, Begin.INCUMBENT, SETTINGS)
    start = module._incumbents(services.releases, run.parent)
    cases, _ = module._prepared(services.cases, run, run.labelled, start, tmp_path / "run", lambda _: None)
    assert isinstance(cases, PreparedCases)
    liver, stomach, aorta = cases[0].weight
    assert set(liver.flat) == {HELD_WEIGHT}
    assert stomach.max() == aorta.max() == 255


def test_who_is_taken_out_is_taken_out_of_an_unfinished_run(corrected, tmp_path, monkeypatch):
    site = corrected.copy(tmp_path)
    services = site.services
    with monkeypatch.context() as patched:
        patched.setattr(module, "export_release", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train_document(services, Begin.INCUMBENT, SETTINGS)
    (run,) = (services.settings.home / "training").iterdir()
    assert len(list((run / "cases").iterdir())) == len(SEEDS)
    patients_case = services.cases.pseudonym(services.records.corrections()[SEEDS.index(2)].name)
    for path in (run / "cases").iterdir():  # as if it was killed while it wrote the first case, hers
        path.unlink()
    (run / "cases" / f".{patients_case}.77.npz").write_bytes(b"half of it")
    erase(str(site.folder / "ct-2"), "Dr A", "consent withdrawn", services)
    assert not run.exists()


def test_a_correction_that_is_withdrawn_meanwhile_is_in_no_candidate(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    records, whole = services.records, module.train

    def trained_and_withdrawn(*given, **named):
        network = whole(*given, **named)
        records.withdraw(records.corrections()[0].sop_instance_uid, reader="Dr A", reason="wrong patient")
        return network

    monkeypatch.setattr(module, "train", trained_and_withdrawn)
    with pytest.raises(Refused) as refused:
        train_document(services, Begin.INCUMBENT, SETTINGS)
    assert (refused.value.code, refused.value.measured) == ("correction-taken-back", {"corrections": 1})
    assert services.releases.numbers() == (1,)
    assert not list((services.settings.home / "training").iterdir())


def test_erasing_names_a_trained_release_that_learnt_from_the_patient(trained, tmp_path):
    site = trained[0].copy(tmp_path)
    done = erase(str(site.folder / "ct-1"), "Dr A", "consent withdrawn", site.services)
    assert done.releases == (2,)


def test_the_gate_hears_that_the_whole_network_was_trained(trained):
    tuning = made(2, trained[0].services.records).tuning
    assert (tuple(tuning.organs), tuning.retrained, tuning.recalibrated) == (ORGANS, True, False)


@pytest.mark.parametrize("said", [[], ["--begin", "yesterday"]])
def test_the_command_says_from_which_weights_or_it_is_wrong_usage(said):
    result = CliRunner().invoke(app, ["train", *said])
    assert result.exit_code == 2


def test_the_command_answers_a_refusal_with_its_numbers(tmp_path, monkeypatch):
    open_site(tmp_path)
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path / "home"))
    result = CliRunner().invoke(app, ["train", "--begin", "scratch", "--steps", "2", "--json"])
    document = json.loads(result.stdout)
    assert (result.exit_code, document["code"]) == (3, "too-few-cases")
    assert document["measured"] == {"cases": 0, "fewest": 3}
