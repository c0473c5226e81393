"""The gate on organs whose margin nobody has established: what changed does not pass, what did not does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from flows.gate.gate_candidate import organ_rows
from flows.gate.sections import what_to_do
from models.documents import from_json, to_json
from models.gate.decide import gate
from models.gate.document import GateDocument
from models.gate.report import Decision, GateReport
from models.organs import organ
from models.targets import FROM_THE_CATALOGUE, Targets
from services.pictures.gate_plots import bootstraps, differences
from services.releases.gate_reports import Trial, margins
from tests.support.established import established as of_site
from tests.unit.models.gate.test_decide import (
    CANDIDATE,
    FAST,
    INCUMBENT,
    STOMACH,
    better,
    codes,
    evidence,
    scores,
)

FOREIGN = replace(INCUMBENT, contract=replace(INCUMBENT.contract, imported=True))
TUNED = replace(FOREIGN, number=2, parent=1, heads=CANDIDATE.heads)


def established(target: float | None = None, margin: float | None = None) -> Targets:
    return of_site({"stomach": (target, margin)})


def decide(
    targets: Targets = FROM_THE_CATALOGUE, gain: float = 0.05, tuned: bool = True, candidate=TUNED
) -> GateReport:
    found = evidence(scores(better(30, gain) if tuned else np.zeros(30), tuned=tuned))
    return gate(FOREIGN, candidate, STOMACH, found, "python/cpu", FAST, targets=targets)


def test_a_changed_organ_without_a_margin_is_insufficient_evidence_and_what_is_missing_is_named():
    report = decide()
    stomach = report.organs[1]
    assert (report.decision, codes(report)) == (Decision.INSUFFICIENT_EVIDENCE, {"no-margin"})
    (reason,) = stomach.reasons
    assert "no margin and no target" in reason.detail
    assert "30 patients" in reason.detail
    assert "ORGANLOOP_TARGETS" in reason.detail
    assert stomach.margin is None
    assert stomach.gate_set.mean == pytest.approx(0.05, abs=0.01)  # measured all the same


def test_with_a_target_alone_the_margin_is_missing():
    (reason,) = decide(established(target=0.85)).organs[1].reasons
    assert "it has no margin." in reason.detail


def test_with_a_margin_of_the_site_s_own_it_is_promoted():
    report = decide(established(margin=0.02))
    assert (report.decision, codes(report)) == (Decision.PROMOTE, set())
    assert report.organs[1].margin == 0.02


def test_without_a_margin_a_loss_is_refused_all_the_same():
    report = decide(gain=-0.2)
    assert report.decision is Decision.REFUSE
    assert {"no-margin", "no-gain", "site-collapse"} <= codes(report)


def test_an_untouched_organ_needs_no_margin():
    same = replace(FOREIGN, number=2, parent=1)
    report = decide(tuned=False, candidate=same)
    assert (report.decision, codes(report)) == (Decision.PROMOTE, set())
    assert [one.margin for one in report.organs] == [None] * 3


def test_a_site_s_margin_decides_for_an_own_network_too():
    found = evidence(scores(better(30, -0.005, 0.001)))
    wide = gate(INCUMBENT, CANDIDATE, STOMACH, found, "python/cpu", FAST)
    assert "worse-than-incumbent" not in codes(wide)
    narrow = gate(INCUMBENT, CANDIDATE, STOMACH, found, "python/cpu", FAST, targets=established(margin=0.004))
    assert "worse-than-incumbent" in codes(narrow)


def test_a_document_without_a_margin_is_read_back_and_names_the_targets():
    digest = established().digest
    document = GateDocument.of(decide(), (2, 1), None, None, digest)
    said = to_json(document)
    assert (said["targets"], said["organs"][0]["margin"]) == (digest, None)
    assert from_json(GateDocument, said) == document
    assert "targets" not in to_json(GateDocument.of(decide(), (2, 1), None))


def test_a_decision_holds_for_the_margins_it_was_made_by():
    trial = Trial(CANDIDATE, INCUMBENT, "0" * 64, "python/cpu", FAST)
    assert replace(trial, targets=established(margin=organ("stomach").gate_margin)).key == trial.key
    assert replace(trial, targets=established(margin=0.05)).key != trial.key
    assert margins(FOREIGN, FROM_THE_CATALOGUE)["liver"] == {"margin": None, "nsd_tolerance_mm": 5.0}


def test_plots_and_table_of_an_organ_without_a_margin_are_drawn():
    document = GateDocument.of(decide(), (2, 1), None)
    for picture in (differences(document), bootstraps(document)):
        assert picture is not None
        assert picture.startswith(b"\x89PNG")
    (row,) = (row for row in organ_rows(document) if row["organ"] == "stomach")
    assert (row["decision"], row["tuned"]) == ("insufficient-evidence", "tuned")
    (reason,) = document.organs[1].reasons
    assert "organloop calibrate --propose" in what_to_do(reason)
