"""Features kept while serving: found by tuning, forgotten after a time, and with their patient."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from pydicom import dcmread

from flows.segmentation.segment import segment
from flows.tuning import tune as tune_heads
from flows.tuning.lessons import lessons_of
from flows.tuning.plan import plan
from models.inference.windows import study_origins
from models.network.tuning import samples
from services.cases import tuning_study
from services.cases.features import FeatureStore
from services.cases.training_runs import give_up_runs, tuning_folder
from services.cases.tuning_study import read_tuning_study
from tests.support.learning import ORGANS, TUNING, tune_document


def test_the_features_kept_while_serving_are_found_for_each_corrected_study(corrected):
    services = corrected.services
    run = plan(services, None, TUNING)
    store = FeatureStore(services.cases)
    for one in run.evidence.corrected:
        study = read_tuning_study(services.cases, one, run.parent, store)
        assert study.warm.fits(run.parent.contract)
        assert len(study.warm.window_origin) == len(study_origins(study.hu, run.parent.contract))
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
    run = plan(services, None, TUNING)
    for path in folder.glob("*/*.npz"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for one in run.evidence.corrected:
        assert read_tuning_study(services.cases, one, run.parent, store).warm is None
    assert caplog.text.count("is damaged: the study goes through the trunk again") == 3


def test_kept_features_are_forgotten_after_a_time_and_with_their_patient(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    store, folder = FeatureStore(services.cases), services.cases.folder / "features"
    first, second, third = sorted(folder.glob("*/*.npz"))
    killed_amid_writing = second.with_name(f".{second.name}.0123")
    killed_amid_writing.write_bytes(b"half of it")
    for path in (first, killed_amid_writing):
        os.utime(path, (0, 0))
    assert FeatureStore(services.cases).forget(services.settings.keep_features_days) == 1
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == [second, third]
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


def test_two_who_begin_a_run_at_once_hold_the_same_features(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    store, folder = FeatureStore(services.cases), tmp_path / "held"
    kept = sorted((services.cases.folder / "features").glob("*/*.npz"))
    corrections = plan(services, None, TUNING).evidence.corrected
    series = [(one.case.patient, one.series_uid) for one in corrections]
    link, other = os.link, []

    def overtaken(*names):
        if not other:
            other.append(True)
            store.held(series, folder)
        link(*names)

    monkeypatch.setattr(os, "link", overtaken)
    store.held(series, folder)
    assert other
    assert sorted(path.name for path in folder.glob("*/*.npz")) == sorted(path.name for path in kept)
    assert [path.name for path in tmp_path.iterdir() if "held" in path.name] == ["held"]


def test_a_run_is_not_taken_up_with_other_features_than_it_began_with(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    read = partial(lessons_of, run, services.cases, services.releases, services.settings, lambda _: None)
    lessons = read()
    begun = tune_heads._seen(run, lessons)
    assert begun == tune_heads._seen(run, read())
    assert begun != tune_heads._seen(replace(run, settings=replace(TUNING, device="cuda")), lessons)
    FeatureStore(services.cases).erase(run.evidence.corrected[0].case.patient)
    assert begun == tune_heads._seen(run, read()), "it holds its own"
    (held, *_) = (services.settings.home / "tuning").rglob("*.npz")
    held.write_bytes(b"damaged")
    assert begun != tune_heads._seen(run, read())


def test_a_run_that_was_killed_goes_on_with_the_features_it_began_with(corrected, tmp_path, monkeypatch):
    (whole, killed) = (corrected.copy(tmp_path / name).services for name in ("whole", "killed"))
    nothing = lambda _, __, ___, grid: np.zeros(grid.shape, bool)  # noqa: E731
    monkeypatch.setattr(samples, "FEWEST_KEPT", 1)  # small windows hold little
    monkeypatch.setattr(tuning_study, "_edited", nothing)  # a reader's brush touched every small window
    expected = tune_document(whole, settings=TUNING)
    assert expected["cost"]["windows_warm"] > 0
    with monkeypatch.context() as patched:
        patched.setattr(tune_heads, "export_release", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tune_document(killed, settings=TUNING)
    for path in (killed.cases.folder / "features").glob("*/*.npz"):
        os.utime(path, (0, 0))
    assert FeatureStore(killed.cases).forget(killed.settings.keep_features_days) == 3
    document = tune_document(killed, settings=TUNING)
    assert (document["digest"], document["cost"]["steps"]) == (expected["digest"], 0)
    assert list((killed.settings.home / "tuning").iterdir()) == []


def test_what_one_program_has_fitted_another_does_not_go_on_with(corrected, tmp_path, monkeypatch):
    services = corrected.copy(tmp_path).services
    with monkeypatch.context() as patched:
        patched.setattr(tune_heads, "export_release", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tune_document(services, settings=TUNING)
    monkeypatch.setattr(tune_heads, "learning_program", lambda _: "the next version")
    assert tune_document(services, settings=TUNING)["cost"]["steps"] == 2 * TUNING.steps, "of two organs"


def test_a_run_that_nobody_took_up_for_a_week_is_given_up(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    home = services.settings.home
    runs = [plan(services, None, replace(TUNING, seed=seed)) for seed in (0, 1)]
    for run in runs:
        lessons_of(run, services.cases, services.releases, services.settings, lambda _: None)
    old, young = (tuning_folder(home, run.key) for run in runs)
    trained = home / "training" / "a run"
    (trained / "cases").mkdir(parents=True)
    for path in (*old.rglob("*"), old, trained / "cases", trained):
        os.utime(path, (0, 0))
    assert give_up_runs(home, runs[0].key) == 1
    assert (old.exists(), young.exists(), trained.exists()) == (True, True, False)
    tune_document(services, settings=replace(TUNING, seed=2))
    assert list((home / "tuning").iterdir()) == [young], "another run began"
    assert (
        len(list(young.rglob("*.npz"))) == len(list((services.cases.folder / "features").rglob("*.npz"))) == 3
    )
