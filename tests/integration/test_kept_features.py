"""Features kept while serving: found by tuning, forgotten after a time, and with their patient."""

from __future__ import annotations

import os
from dataclasses import replace

from pydicom import dcmread

from flows import tune_heads
from flows.feature_keeping import forget_features
from flows.segment_study import segment
from flows.tuning_lessons import lessons_of
from flows.tuning_plan import plan
from models.network.samples import origins
from services.cases.features import FeatureStore
from services.cases.tuning_study import read_tuning_study
from tests.learning import ORGANS, TUNING


def test_the_features_kept_while_serving_are_found_for_each_corrected_study(corrected):
    services = corrected.services
    run = plan(services, None, TUNING)
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


def test_a_run_is_not_taken_up_with_other_features_than_it_began_with(corrected, tmp_path):
    services = corrected.copy(tmp_path).services
    run = plan(services, None, TUNING)
    lessons = lessons_of(services, run, lambda _: None)
    begun = tune_heads._seen(run, lessons)
    assert begun == tune_heads._seen(run, lessons_of(services, run, lambda _: None))
    assert begun != tune_heads._seen(replace(run, settings=replace(TUNING, device="cuda")), lessons)
    FeatureStore(services.cases).erase(run.evidence.corrected[0].case.patient)
    assert begun != tune_heads._seen(run, lessons_of(services, run, lambda _: None))
