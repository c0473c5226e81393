from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from models.calibration import Calibration, DomainReference, OrganCalibration
from models.errors import InvalidRelease
from models.gate.organ_score import OrganScore
from models.gate.scores import pair, score_organs
from models.geometry import Geometry
from models.inference.segmentation import Segmentation
from models.masks import BoxedMask
from models.metrics.dsc import Outcome
from models.proof.canary import answer_faults, canary_faults, canary_volume, probe_volume
from models.release import Release
from models.volume import Volume
from tests.support.tiny_networks import tiny_contract

CONTRACT = tiny_contract()
OLD = Release(1, None, "t", {"liver": "l", "spleen": "s"}, CONTRACT)
NEW = Release(2, 1, "t", {"liver": "l", "spleen": "s2"}, CONTRACT)
GRID = Geometry((6, 8, 7), np.array([[0, 0, 3, 0], [0, 3, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1.0]]))
VOLUME = Volume(np.zeros(GRID.shape, np.int16), GRID)
BLOCK = (slice(1, 4), slice(2, 6), slice(2, 5))


def answer(liver: float = 0.9, spleen: float = 0.9, by: Release = OLD) -> Segmentation:
    probability = np.zeros((2, *GRID.shape), np.float16)
    probability[0][BLOCK], probability[1][BLOCK] = liver, spleen
    return Segmentation(
        probability, probability / 10, np.zeros((1, 6), np.float32), np.zeros((1, 3), np.int32), by.digest
    )


def truth(liver: bool = True, spleen: bool = True) -> dict[str, BoxedMask]:
    block = np.zeros(GRID.shape, bool)
    block[BLOCK] = True
    return {"liver": BoxedMask.of(block & liver), "spleen": BoxedMask.of(block & spleen)}


def test_scores_are_dsc_presence_and_a_digest_of_the_organs_own_bits() -> None:
    first = score_organs(answer(), OLD, VOLUME, GRID, truth(spleen=False), "p")
    other = score_organs(answer(spleen=0.2), OLD, VOLUME, GRID, truth(spleen=False), "p")
    assert (first["liver"].dsc, first["liver"].outcome) == (1.0, Outcome.PRESENT)
    assert (first["spleen"].dsc, first["spleen"].outcome) == (0.0, Outcome.HALLUCINATED)
    assert (other["spleen"].dsc, other["spleen"].outcome) == (None, Outcome.ABSENT)
    assert first["liver"].digest == other["liver"].digest
    assert first["spleen"].digest != other["spleen"].digest
    missed = score_organs(answer(liver=0), OLD, VOLUME, GRID, truth(), "p")["liver"]
    assert (missed.dsc, missed.outcome) == (0.0, Outcome.MISSED)


def calibrated(threshold: float) -> Release:
    """`OLD`, with a bound for the liver in the domain of features near 0."""
    domain = DomainReference((0.0,) * 6, ((1.0, 0, 0, 0, 0, 0),), (1.0,), 1.0, threshold)
    organs = {"liver": OrganCalibration(quantile=0.05, confidence=0.9, cases=20)}
    return replace(OLD, calibration=Calibration(profile="p", organs=organs, domain=domain))


@pytest.mark.parametrize(
    ("release", "profile", "claims"),
    [
        (calibrated(4.0), "p", True),
        (calibrated(4.0), "another", False),
        (calibrated(-1.0), "p", False),  # nothing is in this domain
        (OLD, "p", False),
    ],
    ids=["in domain", "another profile", "out of domain", "uncalibrated"],
)
def test_a_bound_is_checked_only_where_the_reader_would_be_told_one(
    release: Release, profile: str, claims: bool
) -> None:
    scores = score_organs(answer(by=release), release, VOLUME, GRID, truth(), profile)
    assert (scores["liver"].expected_dsc is not None) is claims
    assert scores["spleen"].expected_dsc is None


def test_what_was_just_measured_is_what_comes_back_from_its_file() -> None:
    """Types too: what numpy counts is no JSON, and what is decided of it must not depend on who reads."""
    release = calibrated(4.0)
    for score in score_organs(answer(by=release), release, VOLUME, GRID, truth(), "p").values():
        kept = OrganScore.from_json(json.loads(json.dumps(score.to_json())))
        assert kept == score
        assert {k: type(v) for k, v in vars(kept).items()} == {k: type(v) for k, v in vars(score).items()}


def test_scores_come_back_from_json_and_pair() -> None:
    one, two = OrganScore("a", 0.5, Outcome.PRESENT), OrganScore("b", None, Outcome.ABSENT)
    assert [OrganScore.from_json(json.loads(json.dumps(s.to_json()))) for s in (one, two)] == [one, two]
    assert replace(one, expected_dsc=0.9).to_json()["sdc"] == 0.9  # as kept scores have it
    found = pair(one, two, case="c", patient="p", site="A", origin="independent", groups={})
    assert (found.incumbent.dsc, found.candidate.digest, found.candidate.outcome) == (
        0.5,
        "b",
        Outcome.ABSENT,
    )


def test_a_sane_candidate_passes_the_canary() -> None:
    assert canary_faults(OLD, NEW, answer(), answer(spleen=0.6, by=NEW)) == {}
    assert canary_faults(OLD, NEW, answer(spleen=0), answer(spleen=0, by=NEW)) == {}


@pytest.mark.parametrize(
    ("after", "faults"),
    [
        (answer(liver=0.8, by=NEW), {"untouched-output-changed": ("liver",)}),
        (answer(spleen=0.4, by=NEW), {"organ-lost": ("spleen",)}),
        (answer(spleen=float("nan"), by=NEW), {"not-a-probability": ("spleen",)}),
        (answer(spleen=1.5, by=NEW), {"not-a-probability": ("spleen",)}),
    ],
)
def test_a_candidate_that_answers_wrongly_is_named_with_its_organs(after: Segmentation, faults: dict) -> None:
    assert canary_faults(OLD, NEW, answer(), after) == faults


def test_an_answer_of_another_release_is_neither_scored_nor_compared() -> None:
    with pytest.raises(InvalidRelease, match=f"{OLD.digest}.*{NEW.digest}"):
        score_organs(answer(by=NEW), OLD, VOLUME, GRID, truth(), "p")
    for before, after in ((OLD, OLD), (NEW, NEW)):
        with pytest.raises(InvalidRelease):
            canary_faults(OLD, NEW, answer(by=before), answer(by=after))


def test_an_answer_of_another_shape_is_a_fault() -> None:
    assert answer_faults(OLD, answer(), (6, 8, 8)) == {"wrong-shape": ("liver", "spleen")}


def test_canary_and_probe_repeat_and_lie_on_the_contracts_grid() -> None:
    hu = canary_volume(CONTRACT)
    assert hu.dtype == np.int16
    assert (hu > -200).mean() > 0.3
    assert np.array_equal(hu, canary_volume(CONTRACT))
    assert probe_volume(CONTRACT).shape == CONTRACT.window_shape


@pytest.mark.parametrize("side_mm", [0.4, 14.0])
def test_a_contract_finer_or_coarser_than_phantoms_are_drawn_has_a_canary(side_mm: float) -> None:
    coarse = replace(CONTRACT, spacing_mm=(8.0, 8.0, side_mm))
    usual = replace(CONTRACT, spacing_mm=(8.0, 8.0, 10.0))
    hu, beside = canary_volume(coarse), canary_volume(usual)
    assert hu.shape[:2] == beside.shape[:2]
    assert hu.shape[2] * side_mm == pytest.approx(beside.shape[2] * 10.0, abs=2 * max(side_mm, 10.0))
    assert (hu > -200).mean() == pytest.approx((beside > -200).mean(), abs=0.1)
