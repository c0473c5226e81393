"""What serving costs, in the gate's decision: what is counted refuses, seconds are shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.contract import TRUNK_INPUT
from models.documents import to_json
from models.gate.decide import gate
from models.gate.report import Decision, GatePolicy
from models.gate.rules import affordable
from models.gate.serving_cost import ReleaseCost, ServingCost, Timing
from models.network.export import export_head, export_trunk
from models.network.heads import HeadSpec, build_head
from models.network.trunk_kinds import build_trunk
from models.network.tuning.tune import level_spec
from models.release import Release
from models.tuning.settings import Level
from services.inference.graph_cost import graph_cost
from services.releases.gate_reports import Trial
from tests.conftest import ROOT
from tests.unit.models.gate.test_decide import (
    CANDIDATE,
    FAST,
    INCUMBENT,
    STOMACH,
    better,
    codes,
    decide,
    evidence,
    scores,
)

POLICY = GatePolicy()
TERA, GIGA, MEGA = 10**12, 10**9, 10**6


def release_cost(
    flops: float = TERA, moved: float = 23 * GIGA, live: float = 160 * MEGA, networks: int = 100
) -> ReleaseCost:
    return ReleaseCost(int(flops) // 3, int(moved) // 3, int(live), networks, int(flops), int(moved))


def cost_of(
    candidate: ReleaseCost, incumbent: ReleaseCost | None = None, timed: Mapping[str, Timing] | None = None
) -> ServingCost:
    return ServingCost(10, 30, incumbent or release_cost(), candidate, timed or {})


@pytest.mark.parametrize(
    ("incumbent", "candidate", "code"),
    [
        # up to the budget a study may cost, whatever it cost before
        ({"flops": TERA / 100}, {"flops": TERA}, None),
        ({"flops": TERA / 100}, {"flops": TERA + 1}, "too-costly"),
        ({"moved": GIGA}, {"moved": 140 * GIGA}, None),
        ({"moved": GIGA}, {"moved": 140 * GIGA + 1}, "too-costly"),
        ({"live": MEGA}, {"live": 2**29}, None),
        ({"live": MEGA}, {"live": 2**29 + 1}, "too-much-memory"),
        # beyond it, a share more than the incumbent
        ({"flops": 100 * TERA}, {"flops": 150 * TERA}, None),
        ({"flops": 100 * TERA}, {"flops": 150 * TERA + 1}, "too-costly"),
        ({"moved": 2 * TERA}, {"moved": 3 * TERA + 1}, "too-costly"),
        ({"live": 2**32}, {"live": 2**32 * 1.25 + 1}, "too-much-memory"),
        ({"live": 2**32}, {"live": 2**32 * 1.25}, None),
        # networks have no budget: a server holds those of every loaded release
        ({"networks": 100}, {"networks": 125}, None),
        ({"networks": 100}, {"networks": 126}, "too-large"),
        ({}, {}, None),
    ],
)
def test_a_candidate_that_costs_more_than_a_site_plans_for_is_refused(
    incumbent: dict, candidate: dict, code: str | None
) -> None:
    cost = cost_of(release_cost(**candidate), release_cost(**incumbent))
    assert [(reason.code, reason.decision) for reason in affordable(cost, POLICY)] == (
        [(code, Decision.REFUSE)] if code else []
    )
    report = decide(scores(better(30)), cost=cost)
    assert report.cost == cost
    assert (report.decision, codes(report)) == (
        (Decision.REFUSE, {code}) if code else (Decision.PROMOTE, set())
    )


def test_a_refusal_tells_both_figures_and_what_may_be() -> None:
    (reason,) = affordable(cost_of(release_cost(4 * TERA, 200 * GIGA), release_cost(2 * TERA)), POLICY)
    assert reason.detail == (
        "A study of the gate set takes 4e+12 operations instead of 2e+12 (1.5 times as many, or 1e+12, may "
        "be), and moves 2e+11 bytes instead of 2.3e+10 (1.5 times as many, or 1.4e+11, may be)."
    )


SECONDS = st.lists(st.floats(0, 1e6), min_size=5, max_size=5).map(tuple)
PROCESSOR = st.lists(st.none() | st.floats(0, 1e6), min_size=5, max_size=5).map(tuple)
TIMED = st.fixed_dictionaries(
    dict.fromkeys(("incumbent", "candidate"), st.builds(Timing, SECONDS, PROCESSOR))
)


@settings(max_examples=25, deadline=None)
@given(timed=TIMED, gain=st.sampled_from([0.1, 0.0, -0.1]), flops=st.sampled_from([TERA, 4 * TERA]))
def test_whatever_the_seconds_the_decision_is_the_same_document(timed: dict, gain: float, flops: int) -> None:
    found = evidence(scores(better(30, gain=gain)))

    def document(timed: dict) -> dict:
        cost = cost_of(release_cost(flops), timed=timed)
        report = to_json(gate(INCUMBENT, CANDIDATE, STOMACH, found, "python/cpu", FAST, cost=cost))
        assert report["cost"].pop("timed").keys() == timed.keys()
        return report

    assert document(timed) == document({})


def test_a_trial_of_an_earlier_version_keeps_its_key() -> None:
    trial = Trial(
        CANDIDATE, INCUMBENT, "a" * 64, "python/cpu", GatePolicy(approval_required=True), timed=True
    )
    assert trial.key == "30836b55202619d3cf6f04f58d572bcac2c0bfcbd141185e843640362a264c4e"
    assert replace(trial, timed=False).key != trial.key


def test_heads_tuned_as_high_as_they_are_by_default_are_affordable_in_the_demo() -> None:
    """Four of nine heads look at neighbours: 2.24 times the operations; a study has at most three windows.

    Counted on a small window: what a voxel costs is nearly the same.
    """
    contract = Release.from_bytes((ROOT / "models/starter/releases/1/release.json").read_bytes()).contract
    small = replace(contract, window_shape=(16, 32, 32))
    times = 3 * math.prod(contract.window_shape) / math.prod(small.window_shape)
    window = {TRUNK_INPUT: (1, 1, *small.window_shape)}
    trunk = graph_cost(export_trunk(build_trunk(contract.trunk), small), window, "trunk")
    head = HeadSpec(contract.feature_channels, members=3)
    plain, tuned = (
        graph_cost(export_head(build_head(level_spec(level, head, small)), small), trunk.answers, "head")
        for level in (Level.HEAD, Level.NEIGHBOURHOOD)
    )

    def study(neighbours: int) -> ReleaseCost:
        parts = [trunk, *[plain] * (9 - neighbours), *[tuned] * neighbours]
        flops, moved = (sum(getattr(part, name) for part in parts) for name in ("flops", "moved_bytes"))
        alive = trunk.answer_bytes + max(part.live_bytes for part in parts[1:])
        return release_cost(times * flops, times * moved, times / 3 * alive)

    before, after, all_nine = study(0), study(4), study(9)
    assert before.study_flops == pytest.approx(3 * 55.7 * GIGA, rel=0.02)
    assert after.study_flops / before.study_flops == pytest.approx(2.24, abs=0.03)
    assert all_nine.study_flops / before.study_flops == pytest.approx(3.80, abs=0.06)
    for found in (after, all_nine):
        assert affordable(cost_of(found, before), POLICY) == []
