from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deploy.cli.main import app
from flows.calibration.calibrate import calibrate_release
from flows.calibration.cases import untaught
from flows.calibration.random_audit import check_bounds, note_bounds
from flows.cases.keep import accept
from models.corrections.ledger import HybridLabel, OrganLedger, OrganState, Provenance
from models.corrections.opinions import Opinion, Seen
from models.documents import to_json
from models.errors import Refused
from models.masks import BoxedMask
from models.phantom.case import make_case
from models.resampling import to_model_grid
from models.targets import FROM_THE_CATALOGUE, Targets
from services.cases.store import CaseContent
from services.records.entries.cases import Purpose
from services.records.entries.corrections import Correction
from services.records.entries.releases import ReleaseState
from services.records.events.results import BoundsChecked, CheckedBound
from services.settings import Settings
from services.wiring import connect_in_process
from tests.support.learning import ORGANS, SPACING, THREADS, Site, open_site
from tests.support.listed import WEBER, listed, put_on_list, said
from tests.support.log import lines, write_line

FEWEST = 10


def keep(
    site: Site, seed: int, origin: str = "independent", patient: str | None = None, name: str = "series"
) -> None:
    """Keep a phantom of site A for calibration."""
    services = site.services
    case = make_case("A", seed, spacing_mm=SPACING)
    contract = services.releases.release(1).contract
    content = CaseContent(
        volume=to_model_grid(case.volume, contract.spacing_mm),
        ct=case.volume.geometry,
        sent={},
        labels={organ: HybridLabel(BoxedMask.of(case.truth[organ]), Provenance.READER) for organ in ORGANS},
    )
    services.cases.add(
        services.records, f"{name} {seed}", patient or f"patient {seed}", Purpose.CALIBRATION, origin, content
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site with nine patients kept for calibration: one too few."""
    site = open_site(tmp_path_factory.mktemp("site"))
    for seed in range(FEWEST - 1):
        keep(site, seed)
    return site


@pytest.fixture
def site(prepared: Site, tmp_path: Path) -> Site:
    return prepared.copy(tmp_path)


def test_what_is_claimed_anew_is_a_candidate_of_the_same_weights(site):
    keep(site, 9)
    document = calibrate_release(site.services)
    parent, candidate = (site.services.releases.release(number) for number in (1, 2))
    assert (document.release, document.parent, document.cases) == (2, 1, FEWEST)
    assert (candidate.trunk, candidate.heads, candidate.contract, candidate.parent) == (
        parent.trunk,
        parent.heads,
        parent.contract,
        1,
    )
    assert candidate.calibration.domain != parent.calibration.domain
    assert candidate.calibration.facts.low[0] == SPACING[0]
    assert set(document.organs) == set(ORGANS)
    assert to_json(document)["organs"] == to_json(
        {organ: candidate.calibration.to_json()["organs"].get(organ) for organ in ORGANS}
    )
    assert {one.missing for one in document.proposals.values()} == {
        f"{FEWEST} cases with independent truth; 22 are the fewest that show anything"
    }
    assert site.services.records.incumbent() == 1, "promotion is an act with a name"
    assert site.services.records.release_states()[2] is ReleaseState.CANDIDATE
    (event,) = lines(site.services.records, "candidate-calibrated")
    assert event.payload["digest"] == candidate.digest
    assert len(event.payload["patients"]) == FEWEST
    assert calibrate_release(site.services).digest == candidate.digest
    assert site.services.releases.numbers() == (1, 2)


@pytest.mark.parametrize(
    ("origin", "patient", "left_out"),
    [("edited-from-1", None, "not_independent"), ("independent", "patient 3", "same_patient")],
)
def test_a_readers_edit_and_a_second_case_of_a_patient_do_not_count(site, origin, patient, left_out):
    keep(site, 9, origin, patient)
    with pytest.raises(Refused, match="too-few-cases") as refused:
        calibrate_release(site.services)
    assert refused.value.measured["patients"] == FEWEST - 1
    assert refused.value.measured[left_out] == 1


def test_images_that_are_kept_for_tuning_under_another_patient_do_not_count(site):
    services = site.services
    kept = services.records.cases(Purpose.CALIBRATION)
    content = services.cases.read(kept[0])
    services.cases.add(services.records, "twin", "twin", Purpose.TUNING, "edited-from-1", content)
    assert untaught(kept, services.cases, services.records) == list(kept[1:])
    with pytest.raises(Refused, match="too-few-cases") as refused:
        calibrate_release(services)
    assert refused.value.measured["same_images"] == 1


def test_proposals_go_into_a_new_file_only(site, tmp_path):
    there = tmp_path / "targets.toml"
    there.write_text("# signed")
    for path in (there, tmp_path / "nowhere" / "targets.toml"):
        home = {"ORGANLOOP_HOME": str(site.services.settings.home)}
        result = CliRunner().invoke(app, ["calibrate", "--propose", str(path)], env=home)
        assert result.exit_code == 2
    assert there.read_text() == "# signed"


def test_the_verb_writes_proposals_that_are_not_in_force(site, tmp_path):
    keep(site, 9)
    path = tmp_path / "proposed.toml"
    home = {"ORGANLOOP_HOME": str(site.services.settings.home), "ORGANLOOP_THREADS": str(THREADS)}
    result = CliRunner().invoke(app, ["calibrate", "--propose", str(path)], env=home)
    assert result.exit_code == 0, result.output
    assert "proposed, not in force" in result.output
    text = path.read_text()
    assert f"# What {FEWEST} calibration cases propose of release 1" in text
    missing = f"{FEWEST} cases with independent truth; 22 are the fewest"
    assert all(f"# {organ}: {missing}" in text for organ in ORGANS)
    assert Targets.read(path) == FROM_THE_CATALOGUE, "too few cases propose nothing"


def test_the_verb_refuses_with_the_numbers(site):
    home = {"ORGANLOOP_HOME": str(site.services.settings.home)}
    result = CliRunner().invoke(app, ["calibrate", "--json"], env=home)
    assert result.exit_code == 3
    document = json.loads(result.stdout)
    assert (document["code"], document["measured"]["patients"]) == ("too-few-cases", FEWEST - 1)


def test_cases_that_are_all_the_same_images_say_nothing(site, tmp_path):
    site = open_site(tmp_path / "same")
    for n in range(FEWEST):
        keep(site, 1, patient=f"patient {n}", name=f"series {n}")
    with pytest.raises(Refused, match="cases-say-nothing") as refused:
        calibrate_release(site.services)
    assert refused.value.measured == {"patients": FEWEST}
    assert site.services.releases.numbers() == (1,)


def test_bounds_of_audited_studies_that_readers_contradict_raise_an_alert(site, monkeypatch, tmp_path):
    monkeypatch.setenv("ORGANLOOP_AUDIT_SHARE", "1")
    audited = site.copy(tmp_path / "audited")
    for seed in (1, 2, 5):
        audited.correct(seed, "stomach")
    audited.study(4)
    records = audited.services.records
    drawn = lines(records, "audit-drawn")
    assert len(drawn) == 4
    assert drawn[0].payload["organs"]["stomach"]["bound"] > 0.4, "the truth is far from this"
    found = check_bounds(audited.services.records, audited.services.releases)
    assert (found.drawn, found.reviewed, found.alerts) == (4, 3, ("stomach",))
    (waiting,) = found.waiting
    assert waiting.study_uid == drawn[3].payload["study_uid"]
    row = found.organs["stomach"]
    assert (row.held, row.looked_at, row.broken) == (0, 3, True)
    assert row.high < row.promised == 0.9
    assert check_bounds(audited.services.records, audited.services.releases) == found
    assert records.all(BoundsChecked) == (), "who only looks notes nothing"
    note_bounds(found, records)
    note_bounds(found, records)
    (checked,) = records.all(BoundsChecked)
    assert (checked.said.drawn, checked.said.reviewed) == (4, 3)
    assert checked.said.organs == {"stomach": CheckedBound(0, 3, 0.9, True)}
    first = records.corrections()[0]
    (alert,) = lines(records, "bound-broken")
    assert alert.payload["organ"] == "stomach"
    home = {"ORGANLOOP_HOME": str(audited.services.settings.home)}
    result = CliRunner().invoke(app, ["bounds", "--json"], env=home)
    assert (result.exit_code, json.loads(result.stdout)) == (1, to_json(found))
    records.withdraw(first.sop_instance_uid, reader="Dr A", reason="wrong phase")
    found = check_bounds(audited.services.records, audited.services.releases)
    assert (found.reviewed, found.organs["stomach"].looked_at) == (2, 2), "never said"
    note_bounds(found, records)
    assert [one.said.organs["stomach"].looked_at for one in records.all(BoundsChecked)] == [3, 2]


def test_what_readers_accept_of_an_audited_study_counts_as_held(site, monkeypatch):
    monkeypatch.setenv("ORGANLOOP_AUDIT_SHARE", "1")
    services = connect_in_process(Settings(home=site.services.settings.home, threads=THREADS))
    Site(services, site.folder).study(6)
    (claimed,) = (event.payload for event in lines(services.records, "audit-drawn"))
    assert claimed["organs"]["stomach"]["bound"] is not None
    accept(claimed["study_uid"], ["stomach"], "Dr A", services.records, services.releases)
    found = check_bounds(services.records, services.releases)
    assert (found.drawn, found.reviewed, found.alerts, found.waiting) == (1, 1, (), ())
    (row,) = found.organs.values()
    assert (row.held, row.looked_at, row.accepted) == (1, 1, 1)


def test_what_a_reader_calls_wrong_without_drawing_is_reviewed_and_judges_no_bound(site):
    records = site.services.records
    claim = {"bound": 0.8, "confidence": 0.9, "volume_ml": 100.0, "reasons": []}
    claimed = {"study_uid": "1.2.1", "series_uid": "1.3.1", "release": 1, "importance_ml": 5.0}
    payload = {**claimed, "organs": dict.fromkeys(("stomach", "liver"), claim)}
    write_line(records, "audit-drawn", who="segment_study", payload=payload)
    organs = [said(one, "clear", "random-audit") for one in ("stomach", "liver", "aorta")]
    put_on_list(records, listed(1, audited=True), organs)
    wrong = {"reader": WEBER, "why": "too-small", "seen": Seen.VIEWER}
    records.give_opinion("result-1", ["stomach", "aorta"], Opinion.WRONG, **wrong)
    records.give_opinion("result-1", ["liver"], Opinion.CANNOT_SAY, reader=WEBER, seen=Seen.VIEWER)
    found = check_bounds(records, site.services.releases)
    assert (found.reviewed, found.waiting, found.organs) == (1, (), {})
    assert found.called_wrong == {"stomach": 1}, "of the aorta nothing was claimed"
    drawn = OrganLedger("stomach", OrganState.EDITED, 1, 1, 0, 10.0, 20.0, 2.0)
    records.record_correction(
        Correction("1.5.7", "1.5.8", "1.2.1", "1.3.1", 1, "correction", "Dr A", "", (drawn,))
    )
    found = check_bounds(records, site.services.releases)
    assert (found.reviewed, found.called_wrong, found.organs["stomach"].looked_at) == (1, None, 1)


def test_only_what_readers_make_of_the_series_that_was_drawn_is_a_word_on_its_claim(site):
    records = site.services.records
    claim = {"bound": 0.8, "confidence": 0.9, "volume_ml": 100.0, "reasons": []}
    claimed = {"study_uid": "1.2", "series_uid": "1.2.1", "release": 1, "importance_ml": 5.0}
    payload = {**claimed, "organs": dict.fromkeys(("stomach", "liver", "spleen"), claim)}
    write_line(records, "audit-drawn", who="segment_study", payload=payload)
    edited = OrganLedger("stomach", OrganState.EDITED, 1, 1, 0, 10.0, 20.0, 2.0)
    seen_less = OrganLedger("spleen", OrganState.ACCEPTED_FROM_PICTURES, 0, 0, 0, 0.0, 0.0, 0.0)
    of_it = Correction("1.2.7", "1.2.8", "1.2", "1.2.1", 1, "correction", "Dr A", "", (edited, seen_less))
    of_another = replace(of_it, sop_instance_uid="1.2.9", series_uid="1.2.2")
    records.record_correction(of_another)
    records.record_acceptance("1.2", "1.2.2", 1, ["liver"], "Dr A")
    found = check_bounds(site.services.records, site.services.releases)
    assert (found.reviewed, found.organs, len(found.waiting)) == (0, {}, 1)
    records.record_correction(of_it)
    records.record_correction(replace(of_another, content="d" * 64, organs=()))
    records.record_acceptance("1.2", "1.2.1", 1, ["liver"], "Dr A")
    found = check_bounds(site.services.records, site.services.releases)
    held = {organ: (row.held, row.looked_at, row.accepted) for organ, row in found.organs.items()}
    assert held == {"stomach": (1, 1, 0), "liver": (1, 1, 1)}
    assert (found.reviewed, found.waiting) == (1, ())


def test_a_study_that_is_not_drawn_claims_nothing_on_record(site):
    site.correct(3, "stomach")
    assert lines(site.services.records, "audit-drawn") == ()
    found = check_bounds(site.services.records, site.services.releases)
    assert (found.drawn, found.organs, found.alerts) == (0, {}, ())
