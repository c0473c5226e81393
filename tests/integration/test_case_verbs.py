"""The command's verbs about truth: `cases add`, `freeze`, `list`, and `accept`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from deploy.cli import app
from models.corrections import Provenance
from models.phantom import PhantomCase
from services.cases.store import CaseStore
from services.dicom.phantom_series import phantom_images, write_phantom_series, write_truth
from services.records.port import Purpose
from services.records.store import open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from tests.integration.ct_files import case
from tests.tiny_networks import publish_tiny


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home where a release of liver and spleen serves."""
    settings = Settings(home=tmp_path / "home")
    publish_tiny(ReleaseStore(settings.release_store), 1, {"liver": 1, "spleen": 2})
    open_records(settings.records_url).set_incumbent(1, approver="IT", reason="first release")
    return settings


def study(folder: Path, seed: int = 1, organs: tuple[str, ...] = ("liver", "spleen")) -> PhantomCase:
    """Write ``ct/`` and ``truth.npz`` of a small phantom of site A."""
    made = case(seed=seed)
    made = PhantomCase(
        made.volume, {o: made.truth[o] for o in organs}, made.site, made.seed, made.acquisition
    )
    write_phantom_series(made, folder / "ct")
    write_truth(made, folder / "truth.npz")
    return made


def organloop(settings: Settings, *words: object) -> tuple[int, Any]:
    result = CliRunner().invoke(app, [*map(str, words), "--json"], env={"ORGANLOOP_HOME": str(settings.home)})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, json.loads(result.stdout)


def add(settings: Settings, folder: Path, *words: object) -> tuple[int, Any]:
    return organloop(
        settings, "cases", "add", folder / "ct", "--truth", folder / "truth.npz", "--purpose", "gate", *words
    )


def test_a_case_is_kept_once_under_pseudonyms_with_its_truth_and_site(
    settings: Settings, tmp_path: Path
) -> None:
    made = study(tmp_path)
    code, kept = add(settings, tmp_path)
    assert code == 0
    assert (kept["purpose"], kept["origin"], kept["site"]) == ("gate", "independent", "A")
    assert "PHANTOM" not in json.dumps(kept)
    assert add(settings, tmp_path) == (0, kept)
    (case,) = open_records(settings.records_url).cases(Purpose.GATE)
    content = CaseStore(settings.case_store).read(case)
    assert content.ct.same_grid(made.volume.geometry)
    assert content.sent == {}
    for organ, label in content.labels.items():
        assert np.array_equal(label.inside, made.truth[organ])
        assert (label.provenance == Provenance.READER).all()
    code, frozen = organloop(settings, "cases", "freeze", "--purpose", "gate")
    assert (code, frozen["cases"]) == (0, 1)
    code, sets = organloop(settings, "cases", "list", "--purpose", "gate")
    assert sets == [{"purpose": "gate", "frozen": frozen["digest"], "cases": [kept]}]


def test_a_frozen_set_and_a_leaking_patient_are_refused(settings: Settings, tmp_path: Path) -> None:
    study(tmp_path / "one", seed=1)
    study(tmp_path / "two", seed=2)
    add(settings, tmp_path / "one", "--site", "scanner 7")
    assert add(settings, tmp_path / "one", "--purpose", "calibration")[1]["code"] == "case-changed"
    organloop(settings, "cases", "freeze", "--purpose", "gate")
    code, refusal = add(settings, tmp_path / "two")
    assert (code, refusal["code"]) == (3, "set-frozen")
    (kept,) = open_records(settings.records_url).cases(Purpose.GATE)
    assert kept.site == "scanner 7"


def test_a_truth_that_cannot_judge_is_refused(settings: Settings, tmp_path: Path) -> None:
    study(tmp_path / "part", organs=("liver",))
    code, refusal = add(settings, tmp_path / "part")
    assert (code, refusal["code"]) == (3, "truth-incomplete")
    assert refusal["measured"] == {"missing": ["spleen"]}
    made = study(tmp_path / "off")
    shifted = made.volume.geometry.affine + np.eye(4, k=3)
    np.savez(
        tmp_path / "off" / "truth.npz",
        affine=shifted,
        shape=made.volume.geometry.shape,
        organ_liver=made.truth["liver"],
    )
    assert add(settings, tmp_path / "off")[1]["code"] == "truth-off-grid"
    study(tmp_path / "whole")
    assert add(settings, tmp_path / "whole", "--origin", "guessed")[1]["code"] == "unknown-origin"
    assert open_records(settings.records_url).cases(Purpose.GATE) == ()


def test_an_acceptance_names_the_release_whose_result_was_seen(settings: Settings, tmp_path: Path) -> None:
    made = study(tmp_path)
    uid = str(next(phantom_images(made)).StudyInstanceUID)
    words = ("accept", tmp_path / "ct", "--reader", "Dr A", "--organs")
    assert organloop(settings, *words, "liver")[1]["code"] == "no-result"
    records = open_records(settings.records_url)
    records.first_written("key", records.events()[0].at)
    records.record_result("key", study_uid=uid, series_uid="1.2", release=1, objects={"organ-seg": "1.3"})
    assert organloop(settings, *words, "kidney") == (
        3,
        {
            "code": "unknown-organ",
            "detail": "kidney named; release 1 has liver, spleen",
            "measured": {},
        },
    )
    code, document = organloop(settings, *words, "spleen, liver")
    assert (code, document["organs"], document["release"]) == (0, ["liver", "spleen"], 1)
    assert records.accepted_organs(uid, 1) == {"liver", "spleen"}
