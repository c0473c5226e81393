"""The gate as a flow: the frozen set is answered by both releases, and what is measured is kept."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from flows.gate.cost import PROBES
from flows.gate.trial import policy, trial_of
from flows.serving.serve import write
from models.errors import Refused
from models.gate.rescan import RESCANS
from models.release import Release, sha256_hex
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.releases.gate_reports import PICTURED
from services.settings import Settings
from services.wiring import Services
from tests.support.established import established
from tests.support.killed import Killed
from tests.support.log import lines
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
from tests.support.tiny_networks import publish_tiny, tiny_contract

BETTER = {"liver": 1, "spleen": 3}


@pytest.fixture
def site(tmp_path: Path) -> tuple[Services, InProcessEndpoint]:
    return in_process_site(tmp_path)


def loaded(services: Services, endpoint: InProcessEndpoint, number: int) -> None:
    write(services.releases.release(number), services)
    endpoint.load()


def gate_set(
    site: tuple[Services, InProcessEndpoint], patients: int, spleen_truth: int, liver_truth: int = 1
) -> None:
    """Freeze a gate set drawn by loaded releases, and forget that they were asked."""
    services, endpoint = site
    for number in {spleen_truth, liver_truth}:
        loaded(services, endpoint, number)
    freeze_gate_set(services, endpoint, patients, spleen_truth, liver_truth)
    endpoint.asked.clear()


def codes(report: dict) -> set[str]:
    return codes_of(report)


def test_a_better_candidate_may_be_promoted_and_the_decision_is_kept(site) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    report = gate_document(2, services)
    assert (report["release"], report["decision"], report["reasons"]) == (2, "needs-approval", [])
    liver, spleen = report["organs"]
    assert (liver["tuned"], liver["decision"]) == (False, "promote")
    assert [reason["code"] for reason in spleen["reasons"]] == ["few-patients"]
    assert spleen["gate_set"]["patients"] == 12
    assert spleen["gate_set"]["candidate"] == 1
    assert spleen["gate_set"]["lower_bound"] > 0.3
    assert {site: found["patients"] for site, found in spleen["sites"].items()} == {"A": 6, "B": 6}
    assert spleen["target"]["patients"] == 6
    frozen = services.records.frozen(Purpose.GATE)
    assert report["gate_set"] == {"version": 1, "digest": frozen.digest, "cases": 12}
    assert (spleen["noise"]["cases"], spleen["noise"]["deviation"] > 0) == (12, True)
    assert spleen["surface"]["mean"] > 0
    before, after = report["cost"]["incumbent"], report["cost"]["candidate"]
    assert before == after, "the same graphs, with other weights"
    assert (report["cost"]["studies"], report["cost"]["windows"]) == (12, 12), "each fits into a window"
    assert after["study_flops"] == after["window_flops"] > 2 * 4 * 16**3 * 27 * 3, "trunk, two heads"
    assert {len(timed["wall_seconds"]) for timed in report["cost"]["timed"].values()} == {PROBES}
    assert min(report["cost"]["timed"]["candidate"]["processor_seconds"]) > 0
    assert Counter(endpoint.asked) == {1: 12 * (1 + RESCANS) + PROBES, 2: 12 + PROBES}
    endpoint.asked.clear()
    assert gate_document(2, services) == report
    assert endpoint.asked == []
    (event,) = lines(services.records, "gate-decided")
    assert (event.payload["against"], event.payload["decision"]) == (1, "needs-approval")
    assert services.records.release_states()[2] is ReleaseState.NEEDS_APPROVAL
    assert services.records.incumbent() == 1
    page, kept = sorted((services.releases.folder / "releases" / "2" / "gate").iterdir())
    assert (page.suffix, kept.suffix) == (".html", ".json")
    assert event.payload["page"] == sha256_hex(page.read_bytes())
    assert page.read_text().count('src="data:image/png') == 2 + 1 + 2 * PICTURED
    assert "http" not in page.read_text()
    assert "Look at the worst cases below, then organloop promote or organloop decline." in page.read_text()
    assert "gain where corrected" in page.read_text()
    assert "GFLOP a study" in page.read_text()


@pytest.mark.parametrize("seconds", [0.01, 1e5])
def test_who_else_uses_the_processor_decides_nothing(site, monkeypatch: pytest.MonkeyPatch, seconds) -> None:
    """The candidate's answers seem to take a thousand times as long as the incumbent's, or as little."""
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    answers = endpoint.segment

    def slow(hu, release, sampled=False, ct=None):
        now[0] += {1: 10.0, 2: seconds}[release]
        return answers(hu, release, sampled, ct)

    now = [0.0]
    monkeypatch.setattr(endpoint, "segment", slow)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    report = gate_document(2, services)
    assert (report["decision"], codes(report)) == ("needs-approval", {"few-patients"})
    assert report["cost"]["timed"]["incumbent"]["wall_seconds"] == [10.0] * PROBES
    assert report["cost"]["timed"]["candidate"]["wall_seconds"] == [seconds] * PROBES


def test_a_candidate_worse_on_an_organ_is_refused(site) -> None:
    services, _ = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=1)
    report = gate_document(2, services)
    assert report["decision"] == "refuse"
    assert {"worse-than-incumbent", "no-gain", "site-collapse"} <= codes(report)
    assert services.records.release_states()[2] is ReleaseState.REFUSED


def test_one_changed_byte_in_an_untouched_head_is_refused_though_it_answers_the_same_bits(site) -> None:
    services, _ = site
    store = services.releases
    better = publish_tiny(store, 2, BETTER, parent=1)
    liver = store.add_head(b"liver 1.")
    store.add_export(liver, store.export(better.heads["liver"]))
    candidate = replace(better, number=3, heads={**better.heads, "liver": liver})
    store.publish(candidate)
    record_candidate(services, candidate, ("spleen",))
    gate_set(site, 12, spleen_truth=3)
    report = gate_document(3, services)
    assert report["decision"] == "refuse"
    assert codes(report) == {"untouched-head-changed", "few-patients"}


def test_an_untouched_head_that_answers_other_bits_is_refused(site) -> None:
    services, _ = site
    add_candidate(services, 2, {"liver": 4, "spleen": 3})
    gate_set(site, 12, spleen_truth=2)
    report = gate_document(2, services)
    assert report["decision"] == "refuse"
    assert codes(report) == {"untouched-head-changed", "untouched-output-changed", "few-patients"}


def test_six_patients_are_insufficient_evidence_and_it_says_how_many_would_do(site) -> None:
    services, _ = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 6, spleen_truth=2)
    report = gate_document(2, services)
    assert report["decision"] == "insufficient-evidence"
    assert codes(report) == {"too-few-patients", "too-few-target-patients", "site-not-covered"}
    assert report["organs"][1]["patients_needed"] == 10


def test_without_a_frozen_set_nothing_is_asked_and_it_says_what_to_do(site) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    report = gate_document(2, services)
    assert report["decision"] == "insufficient-evidence"
    assert codes(report) == {"gate-set-not-frozen"}
    assert "organloop cases freeze" in report["reasons"][0]["detail"]
    assert endpoint.asked == []


def test_a_head_that_nobody_meant_to_change_is_refused(site) -> None:
    services, _ = site
    publish_tiny(services.releases, 2, BETTER, parent=1)
    gate_set(site, 12, spleen_truth=2)
    assert "untouched-head-changed" in codes(gate_document(2, services))


def test_a_patient_who_was_learnt_from_is_no_judge(site) -> None:
    services, _ = site
    patient = services.cases.pseudonym("gate patient 3")
    add_candidate(services, 2, BETTER, patients=(patient,))
    gate_set(site, 12, spleen_truth=2)
    report = gate_document(2, services)
    assert (report["decision"], codes(report)) == ("refuse", {"leaked-patient", "few-patients"})


def test_a_site_that_wants_a_person_asked_gets_needs_approval(site) -> None:
    services, _ = site
    services = replace(services, settings=services.settings.model_copy(update={"approval_required": True}))
    add_candidate(services, 2, BETTER)
    gate_set((services, services.endpoints[0]), 12, spleen_truth=2)
    assert gate_document(2, services)["decision"] == "needs-approval"
    assert services.records.release_states()[2] is ReleaseState.NEEDS_APPROVAL


def test_only_demonstration_weights_pass_without_a_person_unless_the_site_says_otherwise() -> None:
    demo = Release(1, None, "0", {"liver": "l", "spleen": "s"}, tiny_contract())
    clinical = replace(demo, demonstration=False)
    asked = [
        policy(Settings(approval_required=setting), release).approval_required
        for release in (demo, clinical)
        for setting in (None, False, True)
    ]
    assert asked == [False, False, True, True, False, True]


def test_a_set_that_has_grown_asks_for_a_new_decision_and_the_old_version_stays(site) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    first = gate_document(2, services)
    add_gate_case(services, endpoint, 12, spleen_truth=2)
    assert gate_document(2, services) == first, "a case added counts from the next freezing"
    services.records.freeze(Purpose.GATE)
    endpoint.asked.clear()
    second = gate_document(2, services)
    assert (first["gate_set"]["version"], second["gate_set"]["version"]) == (1, 2)
    assert second["gate_set"]["cases"] == 13
    assert 1 + PROBES <= endpoint.asked.count(2) <= 1 + PROBES + 2, "what was measured is measured once"
    old = services.records.frozen(Purpose.GATE, 1)
    assert old is not None
    assert (old.digest, len(old.manifest)) == (first["gate_set"]["digest"], 12)
    assert [e.payload["gate_set"] for e in lines(services.records, "gate-decided")] == [
        first["gate_set"]["digest"],
        second["gate_set"]["digest"],
    ]


def test_a_patient_taken_out_of_the_set_asks_for_the_next_version(site) -> None:
    services, _ = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 13, spleen_truth=2)
    patient = services.records.cases(Purpose.GATE)[0].patient
    services.records.erase_patient(patient, who="Dr B", reason="asked for it")
    with pytest.raises(Refused, match="organloop cases freeze"):
        gate_document(2, services)
    assert services.records.freeze(Purpose.GATE).version == 2
    assert gate_document(2, services)["gate_set"]["cases"] == 12


def test_killed_at_any_case_it_goes_on_where_it_was(site) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    told: list[str] = []

    def killed_every_third_time(message: str) -> None:
        told.append(message)
        if len(told) % 3 == 0 and "gate case" in message:
            raise Killed

    report = None
    for _ in range(20):
        try:
            report = gate_document(2, services, killed_every_third_time)
        except Killed:
            continue
        break
    assert report is not None
    assert 12 + PROBES <= endpoint.asked.count(2) <= 12 + PROBES + 2, "the worst two may be asked again"
    assert report["decision"] == "needs-approval"
    assert len(lines(services.records, "gate-decided")) == 1
    assert any("gate case 12 of 12: about 0 s left" in message for message in told)


def test_the_incumbent_is_not_asked_again_for_the_next_candidate(site) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    add_candidate(services, 3, {"liver": 1, "spleen": 5})
    gate_set(site, 12, spleen_truth=2)
    gate_document(2, services)
    endpoint.asked.clear()
    gate_document(3, services)
    assert Counter(endpoint.asked) == {1: PROBES + 2, 3: 12 + PROBES}


def test_the_incumbent_itself_is_no_candidate(site) -> None:
    with pytest.raises(Refused, match="is-incumbent"):
        gate_document(1, site[0])


def test_a_candidate_that_lacks_an_organ_is_refused_and_nothing_is_asked(site) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    add_candidate(services, 3, {"spleen": 3})
    report = gate_document(3, services)
    assert (report["decision"], report["organs"]) == ("refuse", [])
    assert codes(report) == {"contract-changed"}
    assert endpoint.asked == []
    assert services.records.release_states()[3] is ReleaseState.REFUSED
    assert gate_document(3, services) == report


def test_a_candidate_of_a_release_that_was_rolled_back_is_refused(site) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    candidate = publish_tiny(services.releases, 3, {"liver": 1, "spleen": 3}, parent=2)
    record_candidate(services, candidate, ("spleen",))
    report = gate_document(3, services)
    assert (report["decision"], codes(report)) == ("refuse", {"other-parent"})
    assert endpoint.asked == []


def test_a_frozen_set_that_is_not_what_was_frozen_decides_nothing(site) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    database = sqlite3.connect(services.settings.home / "records.sqlite")
    with database:
        database.execute("UPDATE cases SET site = 'C' WHERE case_id = (SELECT case_id FROM cases LIMIT 1)")
    database.close()
    with pytest.raises(Refused, match="gate-set-changed"):
        gate_document(2, services)
    assert endpoint.asked == []
    assert lines(services.records, "gate-decided") == ()


def test_a_changed_margin_or_policy_asks_for_a_new_decision(site) -> None:
    services, _ = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    keys = {trial_of(2, services).key}
    strict = services.settings.model_copy(update={"approval_required": True})
    keys.add(trial_of(2, replace(services, settings=strict)).key)
    keys.add(trial_of(2, replace(services, targets=established({"spleen": (None, 0.05)}))).key)
    assert len(keys) == 3


def test_the_decision_on_record_names_the_digest_of_the_report(site) -> None:
    services, _ = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    gate_document(2, services)
    (file,) = (services.releases.folder / "releases" / "2" / "gate").glob("*.json")
    (event,) = lines(services.records, "gate-decided")
    assert event.payload["report"] == sha256_hex(file.read_bytes())
    assert event.payload["trial"] == trial_of(2, services).key
    file.chmod(0o644)
    file.write_bytes(file.read_bytes().replace(b"needs-approval", b"promote"))
    with pytest.raises(Refused, match="gate-report-changed"):
        gate_document(2, services)
