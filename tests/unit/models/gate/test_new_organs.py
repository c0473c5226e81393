"""An organ that the incumbent lacks: a person decides, told all; what is far too bad is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.calibration import Calibration, DomainReference, OrganCalibration
from models.gate.decide import Tuning, gate
from models.gate.evidence import OrganEvidence
from models.gate.paired import PairedScore
from models.gate.release_faults import release_faults
from models.gate.report import Decision, GateReport
from models.metrics.dsc import Outcome
from models.release import Release, sha256_hex
from tests.support.paired import changed, paired
from tests.unit.models.gate.test_decide import (
    CANDIDATE,
    CONTRACT,
    FAST,
    INCUMBENT,
    ORGANS,
    better,
    codes,
    scores,
)

WITH_SPLEEN = replace(CONTRACT, organs=(*ORGANS, "spleen"), thresholds={**CONTRACT.thresholds, "spleen": 0.5})


def with_spleen(release: Release = INCUMBENT) -> Release:
    heads = {**release.heads, "spleen": sha256_hex(b"spleen")}
    return replace(release, number=2, parent=1, heads=heads, contract=WITH_SPLEEN)


def drawn(*dsc: float | None, outcome: Outcome | None = Outcome.PRESENT) -> list[PairedScore]:
    """Return the candidate's scores, one case of a patient each; None of a case in which nobody drew it."""
    return [
        paired(
            case=f"case-{n:02}",
            patient=f"patient-{n}",
            site="AB"[n % 2],
            origin="independent",
            candidate_digest=f"{n} spleen",
            candidate_dsc=one,
            candidate_outcome=None if one is None else outcome,
            candidate_overlaps={"stomach": 2},
        )
        for n, one in enumerate(dsc)
    ]


def decide(
    spleen: list[PairedScore], candidate: Release | None = None, stomach: float = 0.0, **said
) -> GateReport:
    same = OrganEvidence(scores(np.zeros(30), tuned=False))
    changed = scores(better(30, gain=stomach))
    found = {
        "liver": same,
        "stomach": OrganEvidence(changed, changed) if stomach else same,
        "aorta": same,
        "spleen": OrganEvidence(tuple(spleen)),
    }
    tuning = Tuning(**{"organs": ("spleen",), **said})
    return gate(INCUMBENT, candidate or with_spleen(), tuning, found, "python/cpu", FAST)


def test_a_new_organ_that_was_measured_needs_a_person_who_is_told_the_figures() -> None:
    report = decide(drawn(0.95, 0.85, 0.75, None), estimates={"spleen": 0.93})
    *others, spleen = report.organs
    assert (report.decision, codes(report)) == (Decision.NEEDS_APPROVAL, {"new-organ"})
    assert [one.decision for one in others] == [Decision.PROMOTE] * 3
    assert (spleen.tuned, spleen.new.cases, spleen.new.drawn, spleen.new.patients) == (False, 4, 3, 3)
    assert (spleen.new.mean, spleen.new.least) == (pytest.approx(0.85), 0.75)
    assert spleen.reasons[0].detail == (
        "The incumbent has no spleen to compare it with; its target is 0.90. 3 gate patients have it by "
        "independent truth: mean DSC 0.850 (under the target), least 0.750; missed in 0 cases, found in 0 "
        "that have none. Tuning itself estimated a DSC of 0.930, on patients that only judged. It has no "
        "bound: every result of it will be for review."
    )
    assert spleen.new.shown == (("case-02", 0.75), ("case-01", 0.85), ("case-00", 0.95), ("case-03", None))
    assert spleen.taken_voxels == {"stomach": 8}


def test_where_nobody_drew_it_the_report_says_so_and_what_tuning_estimated() -> None:
    report = decide(drawn(None, None), estimates={"spleen": 0.8})
    assert (report.decision, codes(report)) == (Decision.NEEDS_APPROVAL, {"new-organ"})
    detail = report.organs[-1].reasons[0].detail
    assert "Nobody has measured it: none of 2 gate cases has independent truth of it." in detail
    assert "Tuning itself estimated a DSC of 0.800 (under the target)" in detail


@pytest.mark.parametrize(
    ("spleen", "estimate", "code"),
    [
        (drawn(0.5, 0.39), None, "new-organ-poor"),
        (drawn(0.5, 0.41), None, None),
        (drawn(None), 0.44, "new-organ-poor"),
        (drawn(0.3), 0.95, "new-organ-poor"),
        (drawn(0.9), 0.1, None),
        (drawn(0.0, 0.0, outcome=Outcome.MISSED), 0.95, "new-organ-poor"),
    ],
)
def test_one_far_under_its_target_is_refused_truth_before_estimate(spleen, estimate, code) -> None:
    report = decide(spleen, estimates={} if estimate is None else {"spleen": estimate})
    assert codes(report) - {"new-organ"} == ({code} if code else set())
    assert report.decision is (Decision.REFUSE if code else Decision.NEEDS_APPROVAL)


@pytest.mark.parametrize("spleen", [drawn(None, None), drawn(0.0, 0.0, outcome=Outcome.HALLUCINATED)])
def test_what_nobody_has_measured_and_tuning_judged_on_nobody_no_person_can_approve(spleen) -> None:
    report = decide(spleen)
    assert report.decision is Decision.INSUFFICIENT_EVIDENCE
    assert codes(report) == {"new-organ", "new-organ-unmeasured"}


def test_nothing_is_loosened_for_the_organs_beside_it() -> None:
    other_aorta = with_spleen(replace(INCUMBENT, heads={**INCUMBENT.heads, "aorta": "0" * 64}))
    report = decide(drawn(0.9), other_aorta)
    assert (report.decision, codes(report)) == (Decision.REFUSE, {"untouched-head-changed", "new-organ"})
    both = {"organs": ("stomach", "spleen")}
    assert codes(decide(drawn(0.9), with_spleen(CANDIDATE), stomach=0.05, **both)) == {"new-organ"}
    worse = decide(drawn(0.9), with_spleen(CANDIDATE), stomach=-0.05, **both)
    assert worse.decision is Decision.REFUSE
    assert {"worse-than-incumbent", "no-gain"} <= codes(worse)


@pytest.mark.parametrize(("dsc", "refused"), [(0.93, set()), (0.6, {"bound-not-held"})])
def test_a_bound_that_is_claimed_of_it_is_checked(dsc: float, refused: set[str]) -> None:
    domain = DomainReference((0.0,), ((1.0,),), (1.0,), 1.0, 1.0)
    known = {"liver": OrganCalibration(0.05, 0.9, 20)}
    incumbent = replace(INCUMBENT, calibration=Calibration("python/cpu", known, domain))
    claims = replace(incumbent.calibration, organs={**known, "spleen": OrganCalibration(0.05, 0.9, 40)})
    spleen = [changed(one, candidate_expected_dsc=0.95) for one in drawn(*[dsc] * 30)]
    same = OrganEvidence(scores(np.zeros(30), tuned=False))
    found = {**dict.fromkeys(ORGANS, same), "spleen": OrganEvidence(tuple(spleen))}
    candidate = replace(with_spleen(), calibration=claims)
    report = gate(incumbent, candidate, Tuning(("spleen",)), found, "python/cpu", FAST)
    assert codes(report) == {"new-organ"} | refused
    assert report.organs[-1].bound.cases == 30
    assert "no bound" not in report.organs[-1].reasons[-1].detail


@pytest.mark.parametrize(
    ("change", "tuned"),
    [
        ({}, ("stomach",)),
        ({"overlap": 0.5}, ("spleen",)),
        ({"organs": ("spleen", *ORGANS)}, ("spleen",)),
        ({"organs": (*ORGANS, "spleen", "spleen")}, ("spleen",)),
        ({"thresholds": {**WITH_SPLEEN.thresholds, "liver": 0.4}}, ("spleen",)),
    ],
)
def test_a_contract_may_change_by_organs_on_record_as_new_behind_the_others_and_in_no_other_way(
    change, tuned
) -> None:
    assert release_faults(INCUMBENT, with_spleen(), ("spleen",)) == []
    candidate = replace(with_spleen(), contract=replace(WITH_SPLEEN, **change))
    assert [one.code for one in release_faults(INCUMBENT, candidate, tuned)] == ["contract-changed"]
    retrained = release_faults(INCUMBENT, with_spleen(), ("spleen",), retrained=True)
    assert "contract-changed" in [one.code for one in retrained]
