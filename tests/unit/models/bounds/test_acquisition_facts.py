from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.body import filled_body
from models.bounds.acquisition_facts import FACTS, acquisition_facts, fit_facts, strange_facts
from models.geometry import Geometry
from models.volume import Volume

GRID = Geometry((12, 40, 50), np.array([[0, 0, 4.0, -98], [0, 4.0, 0, -78], [4.0, 0, 0, 0], [0, 0, 0, 1]]))
CT = Geometry((16, 80, 100), np.array([[0, 0, 2.0, -99], [0, 2.0, 0, -79], [3.0, 0, 0, 0], [0, 0, 0, 1]]))


def abdomen(noise: float = 0.0, radius_mm: float = 70.0) -> np.ndarray:
    """A round body of 60 HU with a liver of 110 HU, in air."""
    place = np.moveaxis(GRID.to_lps(np.moveaxis(np.indices(GRID.shape), 0, -1)), -1, 0)
    hu = np.where(np.hypot(*place[:2]) < radius_mm, 60.0, -1000.0)
    hu[liver()] = 110
    return (hu + noise * np.random.default_rng(0).normal(size=hu.shape)).astype(np.int16)


def liver() -> np.ndarray:
    mask = np.zeros(GRID.shape, dtype=bool)
    mask[4:8, 15:22, 12:20] = True
    return mask


def facts(hu: np.ndarray) -> dict[str, float]:
    return acquisition_facts(Volume(hu, GRID), CT, filled_body(hu), {"liver": liver()})


def studies(n: int = 30) -> list[dict[str, float]]:
    rng = np.random.default_rng(1)
    return [
        {name: value * (1 + 0.05 * rng.uniform(-1, 1)) for name, value in USUAL.items()} for _ in range(n)
    ]


USUAL = facts(abdomen(noise=10))


def strange(study: dict[str, float]) -> list[str]:
    return [one.name for one in strange_facts(study, fit_facts(studies()))]


def test_facts_are_measured_on_the_voxels():
    assert USUAL["slice_mm"] == 3.0
    assert USUAL["pixel_mm"] == 2.0
    assert USUAL["length_mm"] == 48.0
    assert USUAL["body_cm2"] == pytest.approx(np.pi * 7**2, rel=0.03)
    assert USUAL["noise_hu"] == pytest.approx(10, rel=0.1)
    assert USUAL["liver_hu"] == pytest.approx(110, abs=3)
    assert USUAL["edge_share"] == USUAL["metal_ml"] == 0.0
    assert "aorta_hu" not in USUAL, "no aorta was found"


def test_a_usual_study_has_no_strange_fact():
    assert strange(USUAL) == []


def test_metal_is_found():
    hu = abdomen(noise=10)
    hu[2:10, 25:27, 25:27] = 3000
    assert facts(hu)["metal_ml"] == pytest.approx(8 * 4 * 0.064)
    assert strange(facts(hu)) == ["metal_ml"]


def test_a_body_cut_by_a_round_field_of_view_is_found():
    hu = abdomen(noise=10)
    y, x = np.indices(GRID.shape[1:]) * 4.0 - np.array([78.0, 98.0])[:, None, None]
    hu[:, np.hypot(x, y) > 50] = -1024
    assert facts(hu)["edge_share"] > 0.5
    assert "edge_share" in strange(facts(hu))


def test_another_phase_thickness_or_dose_is_found():
    assert strange(USUAL | {"liver_hu": 55.0}) == ["liver_hu"]
    assert strange(USUAL | {"slice_mm": 8.0}) == ["slice_mm"]
    assert strange(USUAL | {"noise_hu": 25.0}) == ["noise_hu"]
    (found,) = strange_facts(USUAL | {"noise_hu": float("nan")}, fit_facts(studies()))
    assert found.words == "noise"
    assert found.usual[0] < 10 < found.usual[1]


def test_what_was_not_measured_is_not_judged():
    without = {name: value for name, value in USUAL.items() if name != "liver_hu"}
    assert strange(without) == []
    rarely = [study if n < 5 else {**study, "aorta_hu": 150.0} for n, study in enumerate(studies(12))]
    assert "aorta_hu" not in fit_facts(rarely).names


def test_a_spread_below_what_matters_alarms_nobody():
    same = [dict(USUAL)] * 12
    nudged = {fact.name: USUAL[fact.name] + fact.step for fact in FACTS if fact.name in USUAL}
    assert strange_facts(nudged, fit_facts(same)) == ()


def test_few_studies_fit_nothing():
    with pytest.raises(ValueError, match="at least 10"):
        fit_facts(studies(9))


def test_own_studies_are_rarely_strange():
    rng = np.random.default_rng(2)
    drawn = [{f.name: rng.normal(100, 10) for f in FACTS} for _ in range(460)]
    reference = fit_facts(drawn[:60])
    alarms = np.mean([bool(strange_facts(one, reference)) for one in drawn[60:]])
    assert alarms <= 0.05, replace(reference, names=()).threshold
