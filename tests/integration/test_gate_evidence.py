"""What the gate believes: only what the log says was frozen, measured and learnt from."""

from __future__ import annotations

import json
import shutil
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from flows.gate.trial import STUDIES_OF_A_SITE, learnt_patients, served_sites
from flows.serving.serve import write
from models.errors import Refused, StorageFailed
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from services.records.entries.cases import Purpose, manifest_digest
from services.records.events.candidates import CandidateTuned
from services.wiring import Services
from tests.support.promotion import (
    InProcessEndpoint,
    add_candidate,
    add_gate_case,
    codes_of,
    freeze_gate_set,
    gate_document,
    in_process_site,
    record_candidate,
)

BETTER = {"liver": 1, "spleen": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, InProcessEndpoint]:
    """The home of a site with a gate set and a candidate, release 2; made once and copied for each test."""
    services, endpoint = in_process_site(tmp_path_factory.mktemp("made"))
    write(add_candidate(services, 2, BETTER), services)
    endpoint.load()
    freeze_gate_set(services, endpoint, 10, spleen_truth=2)
    services.records.close()
    return services.settings.home, endpoint


@pytest.fixture
def services(made: tuple[Path, InProcessEndpoint], tmp_path: Path) -> Services:
    home, endpoint = made
    shutil.copytree(home, tmp_path / "home")
    services, own = in_process_site(tmp_path / "home", endpoint)
    own.load()
    return services


def codes(report: dict) -> set[str]:
    return codes_of(report)


def test_a_set_that_was_put_into_the_database_and_not_frozen_decides_nothing(services: Services) -> None:
    frozen = services.records.frozen(Purpose.GATE)
    assert frozen is not None
    easy = tuple(frozen.manifest[:6])
    database = sqlite3.connect(services.settings.home / "records.sqlite")
    with database:
        database.execute(
            "INSERT INTO frozen_sets (purpose, version, digest, manifest, frozen_at) "
            "SELECT purpose, 2, ?, json(?), frozen_at FROM frozen_sets",
            (manifest_digest(easy), json.dumps([dict(case) for case in easy])),
        )
    database.close()
    with pytest.raises(Refused, match=r"gate-set-changed.*version 2"):
        gate_document(2, services)


@pytest.mark.parametrize("deed", ["a better figure", "made up"])
def test_a_score_that_is_not_the_one_on_record_is_not_believed(services: Services, deed: str) -> None:
    gate_document(2, services)
    folder = services.settings.score_store
    file = sorted(folder.rglob("*.json"))[0]
    if deed == "made up":
        file = file.rename(file.with_name("made up.json"))
    add_gate_case(services, services.endpoints[0], 10, spleen_truth=2)
    services.records.freeze(Purpose.GATE)
    if deed == "made up":
        new = next(c for c in services.records.cases(Purpose.GATE) if not list(folder.rglob(f"{c.digest}*")))
        file.rename(file.with_name(f"{new.digest}.json"))
    else:
        file.chmod(0o644)
        file.write_text(file.read_text().replace('"dsc": ', '"dsc": 0.0', 1))
    with pytest.raises(StorageFailed, match="not what the gate measured"):
        gate_document(2, services)


def test_the_same_images_under_another_pseudonym_are_a_leak(services: Services) -> None:
    case = services.records.cases(Purpose.GATE)[3]
    twin = services.cases.add(
        services.records, "a correction", "the patient under another PatientID", Purpose.TUNING,
        "edited-from-1", services.cases.read(case), case.site,
    )  # fmt: skip
    learnt = CandidateTuned(
        run="a run",
        release=2,
        organs=("spleen",),
        cases=(twin.case_id,),
        patients=(twin.patient,),
        sites=("B",),
    )
    services.records.record(learnt, who="tune_heads")
    candidate = services.releases.release(2)
    found = learnt_patients(
        candidate,
        services.records.cases(Purpose.GATE),
        services.records,
        services.releases,
        services.cases,
    )
    assert found == {twin.patient, case.patient}
    report = gate_document(2, services)
    assert (report["decision"], "leaked-patient" in codes(report)) == ("refuse", True)


def test_what_an_ancestor_learnt_from_is_no_judge_of_its_child(services: Services) -> None:
    patient = services.records.cases(Purpose.GATE)[0].patient
    record_candidate(services, services.releases.release(1), ("spleen",), patients=(patient,))
    candidate = services.releases.release(2)
    assert patient in learnt_patients(candidate, (), services.records, services.releases, services.cases)


def test_a_site_of_many_segmented_studies_is_served_and_must_be_covered(services: Services) -> None:
    def segmented(study: int, site: str) -> None:
        key = f"{site} {study}"
        services.records.first_written(key, datetime(2026, 1, 5, tzinfo=UTC))
        services.records.record_result(
            key, study_uid=f"1.{study}", series_uid=f"2.{study}", release=1, objects={}, site=site
        )

    for study in range(STUDIES_OF_A_SITE):
        segmented(study, "North")
        segmented(0, "a CD from elsewhere")
    assert served_sites(services.records) == {"A", "B", "North"}
    report = gate_document(2, services)
    assert report["decision"] == "insufficient-evidence"
    assert "Site North has 0 gate patients" in report["reasons"][0]["detail"]


def test_an_answer_that_is_no_probability_is_refused_where_the_mask_would_not_show_it(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered = services.endpoints[0].segment

    def not_a_number(hu: NDArray[np.int16], release: int, ct: Geometry | None = None) -> Segmentation:
        answer = answered(hu, release, ct=ct)
        if release == 2:
            probability = answer.probability.copy()
            probability[1, 0, 0, 0] = np.nan  # outside every organ
            return replace(answer, probability=probability)
        return answer

    monkeypatch.setattr(services.endpoints[0], "segment", not_a_number)
    with pytest.raises(Refused, match="wrong-answer") as refusal:
        gate_document(2, services)
    assert refusal.value.measured == {"not-a-probability": ["spleen"]}


def test_a_second_look_needs_a_person_and_says_so(services: Services) -> None:
    assert "looked-before" not in codes(gate_document(2, services))
    add_gate_case(services, services.endpoints[0], 10, spleen_truth=2)
    services.records.freeze(Purpose.GATE)
    report = gate_document(2, services)
    assert "decided on this candidate 1 times before" in report["reasons"][0]["detail"]
    assert gate_document(2, services) == report
