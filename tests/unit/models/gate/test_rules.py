"""What the gate asks beside the means: subgroups, sites, single cases, bounds, surfaces."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from models.calibration import OrganCalibration
from models.gate.bounds import bound_check, bound_holds
from models.gate.decide import Tuning, gate
from models.gate.evidence import OrganEvidence
from models.gate.groups import no_group_pays
from models.gate.noise import tail_share
from models.gate.paired import MeanDifference, PairedScore
from models.gate.report import BoundCheck, Decision, GateReport
from models.metrics.dsc import Outcome
from tests.support.paired import changed
from tests.unit.models.gate.test_decide import (
    CALIBRATION,
    CANDIDATE,
    FAST,
    INCUMBENT,
    ORGANS,
    STOMACH,
    better,
    codes,
    decide,
    evidence,
    scores,
)


def with_groups(found: tuple[PairedScore, ...], fact: str, *names: str) -> tuple[PairedScore, ...]:
    return tuple(replace(s, groups={fact: names[n % len(names)]}) for n, s in enumerate(found))


def noisy(found: tuple[PairedScore, ...], deviation: float, seed: int = 1) -> tuple[PairedScore, ...]:
    """The incumbent moves by so much on further scans; surfaces as the DSC."""
    drawn = np.random.default_rng(seed).normal(0, deviation, (len(found), 2))
    return tuple(
        changed(
            s,
            incumbent_nsd=s.incumbent.dsc,
            candidate_nsd=s.candidate.dsc,
            again=tuple((s.incumbent.dsc + d, s.incumbent.dsc + d) for d in moved),
        )
        for s, moved in zip(found, drawn, strict=True)
    )


def stomach(report: GateReport):
    return report.organs[1]


def test_a_kernel_that_pays_is_refused_and_every_group_is_shown() -> None:
    difference = better(40, gain=0.12, deviation=0.01)
    difference[::4] = better(10, gain=-0.045, deviation=0.002)
    report = decide(with_groups(scores(difference), "kernel", "B70f", "B30f", "B30f", "B30f"))
    assert (report.decision, "kernel-collapse" in codes(report)) == (Decision.REFUSE, True)
    assert {k: v.patients for k, v in stomach(report).groups["kernel"].items()} == {"B30f": 30, "B70f": 10}


def test_a_small_group_that_may_have_lost_goes_to_a_person() -> None:
    difference = better(40, gain=0.12, deviation=0.01)
    difference[:6] = [-0.22, 0.05, -0.22, 0.14, 0.1, -0.1]
    found = tuple(
        replace(s, groups={"scanner": "new" if n < 6 else "old"}) for n, s in enumerate(scores(difference))
    )
    report = decide(noisy(found, 0.2))
    assert stomach(report).groups["scanner"]["new"].mean < -0.03
    assert (report.decision, codes(report)) == (Decision.NEEDS_APPROVAL, {"scanner-may-collapse"})


@pytest.mark.parametrize(("served", "patients"), [(("C",), 0), (("A", "B"), None)])
def test_a_site_that_is_served_and_not_in_the_set_is_insufficient_evidence_with_the_n_that_would_do(
    served: tuple[str, ...], patients: int | None
) -> None:
    report = decide(scores(better(30)), served=served)
    if patients is None:
        assert report.decision is Decision.PROMOTE
        return
    assert (report.decision, codes(report)) == (Decision.INSUFFICIENT_EVIDENCE, {"site-not-covered"})
    assert "Site C has 0 gate patients" in report.reasons[0].detail
    assert "5 would do" in report.reasons[0].detail


def test_a_site_whose_patients_have_not_the_organ_does_not_cover_it() -> None:
    absent = {"incumbent_outcome": Outcome.ABSENT, "candidate_outcome": Outcome.ABSENT}
    none = {"incumbent_dsc": None, "candidate_dsc": None}
    found = tuple(
        changed(s, **none, **absent) if s.site == "B" and n > 5 else s
        for n, s in enumerate(scores(better(60)))
    )
    report = decide(found)
    assert (report.decision, codes(report)) == (Decision.INSUFFICIENT_EVIDENCE, {"organ-not-covered"})
    assert "Of 30 gate patients of site B, 3 have the organ; 5 would do." in stomach(report).reasons[0].detail


def test_equal_candidates_are_not_refused_for_one_of_many_small_groups() -> None:
    rng, refused = np.random.default_rng(9), 0
    for _ in range(400):
        groups = {f"group {n}": group(rng.normal(0, 0.1, rng.integers(2, 9))) for n in range(20)}
        found = no_group_pays({"kernel": groups}, 0.02, tail_share(0.05, 20), FAST)
        refused += any(reason.decision is Decision.REFUSE for reason in found)
    assert 0 < refused / 400 <= 0.05 + 0.03, "three standard errors"
    alone = no_group_pays(
        {"kernel": {"B70f": group(np.full(6, -0.2) + 0.01)}}, 0.02, tail_share(0.05, 20), FAST
    )
    assert [reason.code for reason in alone] == ["kernel-collapse"]


def group(differences: np.ndarray) -> MeanDifference:
    """What is known of a group with these differences."""
    mean, deviation = float(differences.mean()), float(differences.std(ddof=1))
    return MeanDifference(len(differences), 0.8, 0.8 + mean, mean, deviation, None)


def test_the_incumbents_own_noise_says_what_a_case_may_lose() -> None:
    difference = better(30, gain=0.08, deviation=0.01)
    difference[4] = -0.12
    quiet, loud = (decide(noisy(scores(difference), deviation)) for deviation in (0.005, 0.06))
    assert codes(quiet) == {"large-loss"}
    assert codes(loud) == set()
    assert stomach(quiet).noise.cases == 30
    assert stomach(quiet).noise.deviation == pytest.approx(0.005, rel=0.3)
    assert stomach(quiet).noise.may_lose == FAST.smallest_loss
    assert stomach(loud).noise.may_lose > 0.12
    assert [case.may_lose for case in stomach(quiet).cases] == [FAST.smallest_loss] * 30


@pytest.mark.parametrize(("ruined", "decision"), [(1, Decision.NEEDS_APPROVAL), (3, Decision.REFUSE)])
def test_however_noisy_the_incumbent_a_person_sees_a_ruined_case_and_three_are_refused(
    ruined: int, decision: Decision
) -> None:
    difference = better(30, gain=0.1, deviation=0.01)
    difference[:ruined] = -0.3
    report = decide(noisy(scores(difference), 0.3))
    assert min(case.may_lose for case in stomach(report).cases) > 0.3
    assert (report.decision, codes(report)) == (decision, {"ruined-case"})
    quiet = decide(noisy(scores(difference), 0.01))
    assert (quiet.decision, codes(quiet)) == (Decision.REFUSE, {"ruined-case"})


@pytest.mark.parametrize(("lost", "decision"), [(1, Decision.NEEDS_APPROVAL), (3, Decision.REFUSE)])
def test_one_lost_case_goes_to_a_person_and_three_are_refused(lost: int, decision: Decision) -> None:
    difference = better(30, gain=0.08, deviation=0.01)
    difference[:lost] = -0.12
    report = decide(noisy(scores(difference), 0.01))
    assert (report.decision, codes(report)) == (decision, {"large-loss"})


def test_a_rough_surface_is_found_though_the_dsc_gains() -> None:
    found = noisy(scores(better(30, gain=0.08, deviation=0.01)), 0.01)
    rough = tuple(changed(s, candidate_nsd=s.incumbent.nsd - 0.05) for s in found)
    report = decide(rough)
    assert (report.decision, codes(report)) == (Decision.REFUSE, {"surface-worse-than-incumbent"})
    assert stomach(report).surface.mean == pytest.approx(-0.05)
    holed = (changed(found[0], candidate_nsd=found[0].incumbent.nsd - 0.3), *found[1:])
    assert codes(decide(holed)) == {"surface-loss"}


def test_presence_is_counted_apart_for_both_releases() -> None:
    cases = list(scores(better(30)))
    absent = {"incumbent_outcome": Outcome.ABSENT, "candidate_outcome": Outcome.ABSENT}
    cases[0] = changed(cases[0], incumbent_dsc=None, candidate_dsc=None, **absent)
    cases[1] = changed(cases[1], incumbent_dsc=0.0, incumbent_outcome=Outcome.MISSED)
    presence = stomach(decide(tuple(cases))).presence
    assert (presence["incumbent"].present, presence["incumbent"].missed, presence["incumbent"].absent) == (
        28, 1, 1,
    )  # fmt: skip
    assert (presence["candidate"].missed, presence["candidate"].hallucinated) == (0, 0)


def test_voxels_taken_from_other_organs_are_counted() -> None:
    found = scores(better(30))
    found = (
        changed(found[0], candidate_overlaps={"liver": 7}),
        changed(found[1], candidate_overlaps={"liver": 5}),
    )
    assert stomach(decide((*found, *scores(better(30))[2:]))).taken_voxels == {"liver": 12}


def test_bounds_that_hold_less_often_than_they_claim_are_refused() -> None:
    claimed = OrganCalibration(quantile=0.05, confidence=0.9, cases=20)
    found = tuple(changed(s, candidate_expected_dsc=0.95) for s in scores(np.linspace(0.0, 0.2, 20)))
    check = bound_check(found, claimed)
    assert check == BoundCheck(cases=20, held=10, confidence=0.9, calibrated_on=20)
    assert bound_check(found, None) is None
    assert [reason.code for reason in bound_holds(check, 0.05)] == ["bound-not-held"]
    twins = tuple(changed(s, case=f"{s.case}, again", candidate_expected_dsc=0.0) for s in found)
    assert bound_check((*found, *twins), claimed) == check, "cases of one patient count as one"


def test_what_is_counted_of_bounds_can_be_written_down() -> None:
    claimed = OrganCalibration(quantile=0.05, confidence=0.9, cases=20)
    found = tuple(
        changed(s, candidate_expected_dsc=np.float64(0.5)) for s in scores(np.linspace(0.0, 0.2, 20))
    )
    check = bound_check(found, claimed)
    assert check is not None
    assert json.loads(json.dumps(asdict(check)))["held"] == check.held > 0


def test_bounds_from_few_calibration_cases_may_hold_less_often_without_being_wrong() -> None:
    """Twenty residuals are drawn to calibrate and twenty to check, as good as one another."""
    rng, refused = np.random.default_rng(8), []
    for _ in range(2000):
        fitted, met = rng.normal(size=(2, 20))
        held = int((met <= np.sort(fitted)[18]).sum())
        refused.append(bool(bound_holds(BoundCheck(20, held, 0.9, 20), 0.05)))
    assert 0.005 < np.mean(refused) <= 0.05
    # A binomial of 0.9 takes these for wrong in one gate of eight, or so.
    assert bound_holds(BoundCheck(20, 15, 0.9, 20), 0.05) == []
    assert bound_holds(BoundCheck(20, 15, 0.9, 2000), 0.05)


def test_a_recalibrated_release_needs_a_person_and_its_bounds_are_checked() -> None:
    before = replace(INCUMBENT, calibration=CALIBRATION)
    anew = dict.fromkeys(ORGANS, OrganCalibration(0.08, 0.9, 24))
    after = replace(before, number=2, parent=1, calibration=replace(CALIBRATION, organs=anew))
    same = scores(np.zeros(30), tuned=False)
    found = {o: OrganEvidence(tuple(changed(s, candidate_expected_dsc=0.85) for s in same)) for o in ORGANS}
    report = gate(before, after, Tuning(recalibrated=True), found, "python/cpu", FAST)
    assert (report.decision, codes(report)) == (Decision.NEEDS_APPROVAL, {"recalibrated"})
    assert [organ.bound.held for organ in report.organs] == [30, 30, 30]
    silent = gate(before, after, Tuning(), found, "python/cpu", FAST)
    assert codes(silent) == {"calibration-changed"}


def test_untouched_organs_have_no_statistics_and_share_no_false_alarm() -> None:
    found = evidence(noisy(scores(better(30)), 0.01))
    report = gate(INCUMBENT, CANDIDATE, STOMACH, found, "python/cpu", FAST)
    assert report.organs[0].gate_set is None
    assert report.organs[0].cases == ()
    assert isinstance(stomach(report).gate_set, MeanDifference)
