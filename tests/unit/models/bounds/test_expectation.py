from __future__ import annotations

import numpy as np
import pytest

from models.bounds.expectation import Signs, expected_dsc, expected_without, fit_expectation, signs_of
from models.calibration import AS_SERVED


def cases(rng: np.random.Generator, n: int) -> tuple[list[Signs], np.ndarray]:
    """DSC falls with entropy and rises with size; the confidence says little, the members nothing."""
    entropy, size = rng.uniform(0.1, 0.4, n), rng.uniform(4, 8, n)
    dsc = 0.9 - entropy + 0.03 * size + rng.normal(0, 0.01, n)
    confidence = 0.9 + 0.1 * (dsc - dsc.mean()) + rng.normal(0, 0.02, n)
    return [Signs(*row, 1.0) for row in zip(confidence, entropy, size, strict=True)], dsc


def test_what_is_expected_follows_the_signs_that_tell():
    rng = np.random.default_rng(0)
    fitted = fit_expectation(*cases(rng, 60))
    signs, dsc = cases(rng, 500)
    expected = [expected_dsc(one, fitted) for one in signs]
    assert np.corrcoef(expected, dsc)[0, 1] > 0.98
    assert np.abs(np.mean(expected - dsc)) < 0.01
    assert fitted.weights[1] < 0 < fitted.weights[2]
    assert fitted.weights[3] == 0.0, "what never varies says nothing"


def test_few_cases_move_the_expectation_less():
    rng = np.random.default_rng(1)
    drawn, dsc = cases(rng, 6)
    signs = [Signs(0.9, one.entropy, 6.0, 1.0) for one in drawn]
    few = fit_expectation(signs, dsc).weights[1]
    many = fit_expectation(signs * 40, np.tile(dsc, 40)).weights[1]
    assert few / many == pytest.approx((6 / 9) / (240 / 243), abs=1e-6)


def test_no_sign_makes_surer_than_it_did_in_any_calibration_case():
    rng = np.random.default_rng(2)
    signs, dsc = cases(rng, 60)
    fitted = fit_expectation(signs, dsc)
    usual = signs[0]._replace(entropy=fitted.surest[1], size=fitted.surest[2])
    assert expected_dsc(usual._replace(entropy=0.0), fitted) == expected_dsc(usual, fitted)
    assert expected_dsc(usual._replace(size=99.0), fitted) == expected_dsc(usual, fitted)
    assert expected_dsc(usual._replace(entropy=0.6), fitted) < expected_dsc(usual, fitted) - 0.2
    assert expected_dsc(usual._replace(size=1.0), fitted) < expected_dsc(usual, fitted) - 0.05


def test_what_chance_says_against_sense_is_not_believed():
    rng = np.random.default_rng(4)
    entropy, agreement = rng.uniform(0.1, 0.4, 30), rng.uniform(0.9, 1, 30)
    signs = [Signs(0.9, e, 6.0, a) for e, a in zip(entropy, agreement, strict=True)]
    fitted = fit_expectation(signs, 0.6 + entropy - 0.5 * agreement)
    assert fitted.weights == (0.0, 0.0, 0.0, 0.0)
    assert fitted.intercept == pytest.approx(np.mean(0.6 + entropy - 0.5 * agreement))


def test_a_case_is_expected_by_the_others_alone():
    signs, dsc = cases(np.random.default_rng(3), 20)
    left_out = expected_without(signs, list(dsc))
    assert left_out[4] == expected_dsc(signs[4], fit_expectation(signs[:4] + signs[5:], np.delete(dsc, 4)))
    moved = list(dsc)
    moved[4] = 0.0
    assert expected_without(signs, moved)[4] == left_out[4]


def test_without_a_regression_the_confidence_is_expected():
    assert expected_dsc(Signs(0.87, 0.3, 5.0, 0.9), None) == 0.87


def test_signs_are_those_of_the_served_outline():
    probability = np.zeros((12, 12, 12), dtype=np.float16)
    probability[3:9, 3:9, 3:9] = 0.8
    mask = probability >= 0.5
    signs = signs_of(probability, mask, AS_SERVED, None)
    assert signs.confidence == pytest.approx(2 * 0.8 / 1.8, abs=1e-3)
    assert signs.size == pytest.approx(np.log(216))
    assert signs.agreement == 1.0
    doubted = signs_of(probability, mask, AS_SERVED, np.where(mask, 0.4, 0).astype(np.float16))
    assert doubted.agreement == pytest.approx(0.8, abs=1e-3)
    assert signs_of(probability, probability > 1, AS_SERVED, None) is None
