from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from models.calibration import Calibration, DomainReference, FactsReference, OrganCalibration
from models.documents import to_json
from models.gate.decide import Tuning, decide_without_cases, gate
from models.gate.evidence import OrganEvidence
from models.gate.paired import PairedScore, bootstrap_mean, mean_difference, patients_needed
from models.gate.release_faults import release_faults
from models.gate.report import Decision, GatePolicy, GateReport
from models.metrics.dsc import Outcome
from models.release import Release, sha256_hex
from tests.support.paired import changed, paired
from tests.support.paper_releases import paper_contract, paper_release

ORGANS = ("liver", "stomach", "aorta")
CONTRACT = paper_contract(ORGANS)
INCUMBENT = paper_release(CONTRACT)
CANDIDATE = replace(
    INCUMBENT, number=2, parent=1, heads={**INCUMBENT.heads, "stomach": sha256_hex(b"stomach, tuned")}
)
FAST = GatePolicy(resamples=999, unseen_share=0.1)
"""Of 29 patients, one is among a tenth that loses, as good as surely."""

STOMACH = Tuning(("stomach",))

Difference = Callable[[np.random.Generator, int], np.ndarray]


def scores(difference: np.ndarray, base: float = 0.8, tuned: bool = True) -> tuple[PairedScore, ...]:
    """One case per patient, sites A and B in turn."""
    return tuple(
        paired(
            case=f"case-{n}",
            patient=f"patient-{n}",
            site="AB"[n % 2],
            origin="independent",
            incumbent_digest=f"{n}",
            candidate_digest=f"{n}{' tuned' if tuned else ''}",
            incumbent_dsc=base,
            candidate_dsc=base + d,
            incumbent_outcome=Outcome.PRESENT,
            candidate_outcome=Outcome.PRESENT,
        )
        for n, d in enumerate(difference)
    )


def better(n: int, gain: float = 0.05, deviation: float = 0.03, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(gain, deviation, n)


def evidence(stomach: tuple[PairedScore, ...], n: int = 30) -> dict[str, OrganEvidence]:
    same = OrganEvidence(scores(np.zeros(n), tuned=False))
    return {"liver": same, "stomach": OrganEvidence(stomach, stomach), "aorta": same}


def decide(stomach: tuple[PairedScore, ...], candidate: Release = CANDIDATE, **options) -> GateReport:
    arguments = {"profile": "python/cpu", "policy": FAST, **options}
    tuning = Tuning(("stomach",), arguments.pop("learnt_from", ()))
    return gate(INCUMBENT, candidate, tuning, evidence(stomach), **arguments)


def codes(report: GateReport) -> set[str]:
    return {r.code for r in report.reasons} | {r.code for organ in report.organs for r in organ.reasons}


def test_a_better_candidate_is_promoted():
    report = decide(scores(better(30)))
    assert (report.decision, codes(report)) == (Decision.PROMOTE, set())
    stomach = report.organs[1]
    assert [organ.tuned for organ in report.organs] == [False, True, False]
    assert stomach.gate_set.patients == 30
    assert stomach.gate_set.incumbent == pytest.approx(0.8)
    assert 0.03 < stomach.gate_set.lower_bound < stomach.gate_set.mean == pytest.approx(0.05, abs=0.01)
    assert sum(stomach.gate_set.drawn.counts) == FAST.resamples
    assert set(stomach.sites) == {"A", "B"}


def test_an_identical_candidate_is_promoted_as_untouched():
    same = replace(INCUMBENT, number=2, parent=1)
    report = decide(scores(np.zeros(30), tuned=False), same)
    assert report.decision is Decision.PROMOTE
    assert not any(organ.tuned for organ in report.organs)


def test_a_candidate_worse_by_the_margin_is_refused():
    report = decide(scores(better(30, gain=-0.025, deviation=0.01)))
    assert report.decision is Decision.REFUSE
    assert {"worse-than-incumbent", "no-gain"} <= codes(report)


def test_one_changed_byte_in_an_untouched_head_is_refused():
    changed = replace(CANDIDATE, heads={**CANDIDATE.heads, "aorta": sha256_hex(b"aortb")})
    report = decide(scores(better(30)), changed)
    assert report.decision is Decision.REFUSE
    assert codes(report) == {"untouched-head-changed"}


def test_one_changed_bit_in_an_untouched_answer_is_refused():
    stomach = scores(better(30))
    found = evidence(stomach)
    cases = found["aorta"].gate_set
    found["aorta"] = OrganEvidence((changed(cases[0], candidate_digest="other"), *cases[1:]))
    report = gate(INCUMBENT, CANDIDATE, STOMACH, found, "python/cpu", FAST)
    assert report.decision is Decision.REFUSE
    assert codes(report) == {"untouched-output-changed"}


def test_an_untouched_organ_nobody_compared_proves_nothing():
    found = {**evidence(scores(better(30))), "aorta": OrganEvidence(())}
    report = gate(INCUMBENT, CANDIDATE, STOMACH, found, "python/cpu", FAST)
    assert report.decision is Decision.INSUFFICIENT_EVIDENCE
    assert codes(report) == {"no-output-compared"}


def test_three_ruined_cases_are_refused_although_the_mean_gains():
    difference = better(30, gain=0.12)
    difference[[3, 11, 20]] = -0.5
    report = decide(scores(difference))
    assert report.organs[1].gate_set.mean > 0.04
    assert report.decision is Decision.REFUSE
    assert "ruined-case" in codes(report)
    assert [case for case, _ in report.organs[1].worst[:3]] == ["case-11", "case-20", "case-3"]


def test_a_large_loss_goes_to_a_person():
    difference = better(30, gain=0.08)
    difference[4] = -0.15
    report = decide(scores(difference))
    assert (report.decision, codes(report)) == (Decision.NEEDS_APPROVAL, {"large-loss"})


def test_six_cases_are_insufficient_and_the_report_says_how_many_would_do():
    report = decide(scores(better(6, deviation=0.05)))
    assert report.decision is Decision.INSUFFICIENT_EVIDENCE
    assert codes(report) == {"too-few-patients"}
    assert report.organs[1].patients_needed >= FAST.fewest_patients
    assert str(report.organs[1].patients_needed) in report.organs[1].reasons[0].detail


def test_an_equal_but_noisy_candidate_is_insufficient_with_the_n_that_would_do():
    noise = better(12, gain=0.0, deviation=0.06, seed=3)
    report = decide(scores(noise - noise.mean()))
    assert report.decision in (Decision.REFUSE, Decision.INSUFFICIENT_EVIDENCE)
    assert "not-shown-equal" in codes(report)
    deviation = report.organs[1].gate_set.deviation
    assert report.organs[1].patients_needed == patients_needed(deviation, 0.02, 0.95) > 12


@pytest.mark.parametrize(
    ("outcome", "code"), [(Outcome.MISSED, "new-miss"), (Outcome.HALLUCINATED, "new-hallucination")]
)
def test_a_new_error_of_presence_is_refused(outcome, code):
    cases = scores(better(30))
    before = Outcome.PRESENT if outcome is Outcome.MISSED else Outcome.ABSENT
    one = changed(cases[7], candidate_dsc=0.0, incumbent_outcome=before, candidate_outcome=outcome)
    if outcome is Outcome.HALLUCINATED:
        one = changed(one, incumbent_dsc=None)
    report = decide((*cases[:7], one, *cases[8:]))
    assert report.decision is Decision.REFUSE
    assert code in codes(report)


def test_a_miss_the_incumbent_shares_is_no_veto():
    cases = scores(better(30))
    one = changed(
        cases[7], incumbent_dsc=0.0, candidate_dsc=0.0,
        incumbent_outcome=Outcome.MISSED, candidate_outcome=Outcome.MISSED,
    )  # fmt: skip
    assert decide((*cases[:7], one, *cases[8:])).decision is Decision.PROMOTE


def test_a_site_that_pays_for_another_is_refused():
    difference = better(40, gain=0.15, deviation=0.02)
    difference[::2] = better(20, gain=-0.025, deviation=0.003)  # site A; the margin is 0.02
    report = decide(scores(difference))
    assert report.organs[1].gate_set.mean > 0.03
    assert (report.decision, codes(report)) == (Decision.REFUSE, {"site-collapse"})
    assert report.organs[1].sites["A"].mean == pytest.approx(-0.025, abs=0.01)
    difference[::2] = better(20, gain=-0.015, deviation=0.003)
    assert decide(scores(difference)).decision is Decision.PROMOTE


def test_a_patient_learnt_from_is_found_and_refused():
    report = decide(scores(better(30)), learnt_from=("patient-3", "someone-else"))
    assert (report.decision, codes(report)) == (Decision.REFUSE, {"leaked-patient"})


def test_a_changed_trunk_or_contract_is_refused():
    assert codes(decide(scores(better(30)), replace(CANDIDATE, trunk="1" * 64))) == {"trunk-changed"}
    moved = replace(CONTRACT, thresholds={**CONTRACT.thresholds, "aorta": 0.4})
    assert codes(decide(scores(better(30)), replace(CANDIDATE, contract=moved))) == {"contract-changed"}


CALIBRATION = Calibration(
    profile="python/cpu",
    organs={organ: OrganCalibration(quantile=0.05, confidence=0.9, cases=20) for organ in ORGANS},
    domain=DomainReference((0.0, 0.0), ((1.0, 0.0),), (1.0,), 1.0, 4.0),
)


def calibrated(calibration: Calibration | None) -> list[str]:
    """The faults of a candidate, the incumbent's calibration being `CALIBRATION`."""
    before = replace(INCUMBENT, calibration=CALIBRATION)
    after = replace(CANDIDATE, calibration=calibration)
    return [fault.code for fault in release_faults(before, after, ("stomach",))]


@pytest.mark.parametrize(
    "changed",
    [
        replace(CALIBRATION, organs=dict.fromkeys(ORGANS, OrganCalibration(-1.0, 0.9, 20))),
        replace(CALIBRATION, organs={o: c for o, c in CALIBRATION.organs.items() if o != "liver"}),
        replace(CALIBRATION, domain=replace(CALIBRATION.domain, threshold=1e9)),
        replace(CALIBRATION, profile="onnxruntime/gpu"),
        replace(CALIBRATION, facts=FactsReference(("slice mm",), (1.0,), (9.0,), 1e9)),
        None,
    ],
    ids=["quantiles", "an untouched organ's left out", "domain", "profile", "facts", "taken away"],
)
def test_a_changed_calibration_is_refused(changed: Calibration | None):
    assert calibrated(changed) == ["calibration-changed"]


def test_a_tuned_organs_calibration_may_be_dropped_or_measured_anew():
    others = {organ: known for organ, known in CALIBRATION.organs.items() if organ != "stomach"}
    for organs in (CALIBRATION.organs, others, {**others, "stomach": OrganCalibration(0.08, 0.9, 24)}):
        assert calibrated(replace(CALIBRATION, organs=organs)) == []


def test_the_calibration_of_an_organ_whose_head_stayed_may_not_change():
    same_head = replace(CANDIDATE, heads=INCUMBENT.heads, calibration=CALIBRATION)
    fewer = {organ: known for organ, known in CALIBRATION.organs.items() if organ != "stomach"}
    before = replace(INCUMBENT, calibration=replace(CALIBRATION, organs=fewer))
    assert [fault.code for fault in release_faults(before, same_head, ("stomach",))] == [
        "calibration-changed"
    ]


def test_a_demonstration_mark_may_be_set_and_never_taken_away():
    clinical = replace(CANDIDATE, demonstration=False)
    report = decide(scores(better(30)), clinical)
    assert (report.decision, codes(report)) == (Decision.REFUSE, {"demonstration-changed"})
    assert release_faults(replace(INCUMBENT, demonstration=False), CANDIDATE, ("stomach",)) == []


@pytest.mark.parametrize("parent", [None, 3])
def test_a_candidate_of_another_parent_is_refused(parent: int | None):
    report = decide(scores(better(30)), replace(CANDIDATE, number=4, parent=parent))
    assert (report.decision, codes(report)) == (Decision.REFUSE, {"other-parent"})


def test_without_cases_a_reason_is_needed():
    with pytest.raises(ValueError, match="reason"):
        decide_without_cases(INCUMBENT, CANDIDATE, (), "python/cpu", FAST)


def test_a_site_that_wants_an_approver_gets_asked():
    report = decide(scores(better(30)), policy=replace(FAST, approval_required=True))
    assert (report.decision, codes(report)) == (Decision.NEEDS_APPROVAL, {"approval-required"})


def test_few_patients_promote_nothing_by_themselves_for_what_the_set_does_not_hold_is_not_seen():
    report = decide(scores(better(30)), policy=replace(FAST, unseen_share=0.05))
    assert (report.decision, codes(report)) == (Decision.NEEDS_APPROVAL, {"few-patients"})
    assert "30 patients leave open that up to 10% of patients" in report.organs[1].reasons[0].detail
    assert "59 would rule out 5%" in report.organs[1].reasons[0].detail
    assert decide(scores(better(59)), policy=replace(FAST, unseen_share=0.05)).decision is Decision.PROMOTE


def test_a_candidate_that_was_decided_on_before_needs_a_person():
    report = decide(scores(better(30)), looks=2)
    assert (report.decision, codes(report)) == (Decision.NEEDS_APPROVAL, {"looked-before"})
    assert "2 times before" in report.reasons[0].detail


def test_edited_truth_alone_decides_nothing_but_is_shown():
    edited = tuple(replace(s, origin="edited-from-1") for s in scores(better(30)))
    report = decide(edited)
    assert report.decision is Decision.INSUFFICIENT_EVIDENCE
    assert report.organs[1].gate_set is None
    assert report.organs[1].origins["edited-from-1"].patients == 30


def not_independent(difference: np.ndarray, origin: str, site: str = "C") -> tuple[PairedScore, ...]:
    """Cases of further patients of another site."""
    return tuple(
        replace(s, case=f"{s.case}, {origin}", patient=f"{s.patient}, {origin}", site=site, origin=origin)
        for s in scores(difference)
    )


def test_a_gain_shown_on_accepted_truth_alone_decides_nothing():
    independent = scores(better(30))
    found = evidence(independent)
    found["stomach"] = OrganEvidence(independent, not_independent(better(6), "accepted-from-2"))
    report = gate(INCUMBENT, CANDIDATE, STOMACH, found, "python/cpu", FAST)
    assert report.decision is Decision.INSUFFICIENT_EVIDENCE
    assert codes(report) == {"too-few-target-patients"}
    assert report.organs[1].target is None


def test_a_loss_against_truth_accepted_from_the_incumbent_is_shown_and_vetoes_nothing():
    lost = not_independent(np.full(6, -0.5), "accepted-from-1")
    missed = tuple(changed(s, candidate_dsc=0.0, candidate_outcome=Outcome.MISSED) for s in lost[:2])
    stomach = scores(better(30)) + missed + lost[2:]
    report = decide(stomach)
    assert (report.decision, codes(report)) == (Decision.PROMOTE, set())
    found = report.organs[1]
    assert set(found.sites) == {"A", "B"}
    assert found.origins["accepted-from-1"].mean < -0.5
    assert all("accepted" not in case for case, _ in found.worst)
    assert len(found.cases) == 36
    assert {one.origin for one in found.cases} == {"independent", "accepted-from-1"}


def test_cases_of_one_patient_count_as_one():
    cases = scores(better(30))
    twins = tuple(replace(s, case=f"{s.case}, again") for s in cases)
    once, twice = decide(cases).organs[1].gate_set, decide(cases + twins).organs[1].gate_set
    assert once == twice


def test_a_report_repeats_exactly_in_any_order_of_cases_and_is_json():
    cases = scores(better(30))
    report = decide(cases)
    assert report == decide(cases[::-1])
    assert json.loads(json.dumps(to_json(report), allow_nan=False))["decision"] == "promote"
    assert to_json(report)["organs"][1]["gate_set"]["patients"] == 30


def test_evidence_must_cover_the_contract():
    with pytest.raises(ValueError, match="contract"):
        gate(INCUMBENT, CANDIDATE, STOMACH, {}, "python/cpu", FAST)


def test_the_bound_of_equal_values_is_their_mean_and_of_one_value_none():
    assert bootstrap_mean(np.full(12, 0.03), 0.95, 99, 0)[0] == pytest.approx(0.03)
    assert bootstrap_mean(np.array([0.03]), 0.95, 99, 0)[0] is None
    assert mean_difference((), 0.95, 99, 0) is None


def test_the_bound_lies_above_the_true_mean_about_one_time_in_twenty():
    rng = np.random.default_rng(11)
    above = [bootstrap_mean(rng.normal(0, 0.05, 30), 0.95, 499, n)[0] > 0 for n in range(400)]
    assert np.mean(above) == pytest.approx(0.05, abs=0.035)


def test_a_candidate_truly_worse_by_the_margin_rarely_passes():
    rng = np.random.default_rng(12)
    policy = replace(FAST, resamples=499)
    passed = [
        "not-shown-equal" not in found and "worse-than-incumbent" not in found
        for found in (codes(decide(scores(rng.normal(-0.02, 0.04, 40)), policy=policy)) for _ in range(60))
    ]
    assert np.mean(passed) <= 0.12  # 5 % and its noise over 60


@pytest.mark.parametrize(
    ("margin", "deviation", "n"), [(0.01, 0.02, 25), (0.01, 0.05, 155), (0.02, 0.05, 39), (0.02, 0.1, 155)]
)
def test_the_patients_needed_are_those_of_the_textbook(margin, deviation, n):
    assert patients_needed(deviation, margin, 0.95) == n
