"""What an earlier version decided while seconds were weighed: found, acted on, or decided anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import flows.gate.gate_candidate
from flows.gate.page import page_of
from flows.gate.trial import trial_of
from flows.gate.views import Views
from flows.promotion.promote import require_passed
from models.gate.document import GateDocument, TimedCost
from models.gate.report import Decision, GateReason
from models.release import Release
from services.records.entries.cases import Purpose
from services.records.entries.releases import ReleaseState
from services.releases.gate_reports import GateReports, Trial
from services.wiring import Services
from tests.integration.test_gate_candidate import BETTER, codes, gate_set
from tests.support.log import lines
from tests.support.promotion import InProcessEndpoint, add_candidate, gate_document, in_process_site


@pytest.fixture
def site(tmp_path: Path) -> tuple[Services, InProcessEndpoint]:
    return in_process_site(tmp_path)


def decided_by_seconds(services: Services, monkeypatch: pytest.MonkeyPatch, **reason: str) -> dict:
    """Let the gate decide as it did while seconds were weighed and nothing was counted."""

    def cost(incumbent: Release, *_: object) -> None:
        return None

    def kept(trial: Trial, *said: object) -> GateDocument:
        cost = TimedCost(2.94, 6.7, 1000, 1001)
        document = replace(written(trial, *said), policy=trial.policy.timed(), cost=cost)
        if reason:
            refused = GateReason(decision=Decision.REFUSE, **reason)
            document = replace(document, decision=Decision.REFUSE, reasons=(refused,))
        return document

    written = flows.gate.gate_candidate._document
    with monkeypatch.context() as patched:
        patched.setattr(
            flows.gate.gate_candidate,
            "trial_of",
            lambda number, of: replace(trial_of(number, of), timed=True),
        )
        patched.setattr(flows.gate.gate_candidate, "serving_cost", cost)
        patched.setattr(flows.gate.gate_candidate, "_document", kept)
        return gate_document(2, services)


def test_what_an_earlier_version_has_decided_is_found_and_may_be_acted_on(site, monkeypatch) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    before = decided_by_seconds(services, monkeypatch)
    endpoint.asked.clear()
    assert gate_document(2, services) == before
    assert endpoint.asked == []
    assert len(lines(services.records, "gate-decided")) == 1
    assert require_passed(2, services) == 1
    reports = GateReports(services.releases.folder)
    trial = trial_of(2, services)
    kept = {case.case_id: case for case in services.records.cases(Purpose.GATE)}
    page = page_of(
        reports.find(trial).document,
        trial,
        lambda case: services.cases.read(kept[case]),
        services.segmenter,
        Views(),
    ).decode()
    assert '<td class="words">candidate</td><td class="words">6.700</td><td>1001</td>' in page


def test_what_seconds_have_refused_is_decided_anew_and_the_old_report_stays(site, monkeypatch) -> None:
    services, endpoint = site
    add_candidate(services, 2, BETTER)
    gate_set(site, 12, spleen_truth=2)
    slow = {"code": "too-slow", "detail": "A window takes 6.70 s instead of 2.94 s."}
    assert decided_by_seconds(services, monkeypatch, **slow)["decision"] == "refuse"
    (old,) = (services.releases.folder / "releases" / "2" / "gate").glob("*.json")
    kept = old.read_bytes()
    report = gate_document(2, services)
    assert (report["decision"], codes(report)) == ("needs-approval", {"few-patients", "looked-before"})
    assert (old.read_bytes(), len(lines(services.records, "gate-decided"))) == (kept, 2)
    assert services.records.release_states()[2] is ReleaseState.NEEDS_APPROVAL
    endpoint.asked.clear()
    assert gate_document(2, services) == report
    assert endpoint.asked == []
