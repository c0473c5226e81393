from __future__ import annotations

import numpy as np
import pytest

from models.bounds.band import PROBABILITIES, fit_band, missed
from models.bounds.certificate import certify, fewest_certified, safe_above


def cases(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The less confident, the more often under a target of 0.5: of those at 0 half, from 0.6 on none."""
    sdc = rng.random(n)
    return sdc, np.where(rng.random(n) < 0.5 * np.maximum(0, 1 - sdc / 0.6), 0.0, 1.0)


def true_risk(threshold: float) -> float:
    """Share under target among cases at or above a confidence, in `cases`."""
    short = max(0.0, 0.6 - threshold)
    return 0.5 * short**2 / 1.2 / (1 - threshold)


@pytest.mark.parametrize("n", [40, 100, 400])
def test_a_certificate_is_wrong_as_rarely_as_it_says(n):
    rng = np.random.default_rng(n)
    found = [safe_above(*cases(rng, n), 0.5) for _ in range(1500)]
    wrong = np.mean([one is not None and true_risk(one) > 0.1 for one in found])
    assert wrong <= 0.1 + 3 * np.sqrt(0.1 * 0.9 / 1500)


def test_all_certificates_of_nine_organs_hold_together_as_they_say():
    rng = np.random.default_rng(9)
    wrong = [
        any(
            (one := safe_above(*cases(rng, 150), 0.5, delta=0.1 / 9)) and true_risk(one) > 0.1
            for _ in range(9)
        )
        for _ in range(200)
    ]
    assert np.mean(wrong) <= 0.1


def test_more_cases_certify_more():
    rng = np.random.default_rng(0)
    drawn = [[safe_above(*cases(rng, n), 0.5) for _ in range(50)] for n in (60, 200, 2000)]
    lowest = [np.median([1.0 if one is None else one for one in found]) for found in drawn]
    assert lowest[0] > lowest[1] > lowest[2]
    assert true_risk(lowest[2]) == pytest.approx(0.1, abs=0.015)


def test_22_cases_without_a_miss_are_the_fewest():
    assert fewest_certified() == 22
    assert fewest_certified(0.05, 0.05) == 59
    assert safe_above(np.linspace(0.8, 0.9, 21), np.ones(21), 0.5) is None
    assert safe_above(np.linspace(0.8, 0.9, 22), np.ones(22), 0.5) == 0.0


def test_equal_confidences_are_taken_together_or_not_at_all():
    sdc, dsc = np.full(30, 0.9), np.ones(30)
    assert safe_above(sdc, dsc, 0.5) == 0.0
    dsc[:4] = 0
    assert safe_above(sdc, dsc, 0.5) is None


def test_a_miss_among_the_most_confident_ends_it():
    sdc, dsc = np.linspace(1, 0.1, 40), np.ones(40)
    dsc[3] = 0
    assert safe_above(sdc, dsc, 0.5) is None


def test_an_organ_is_certified_only_as_far_down_as_it_goes_unflagged():
    sdc, dsc = np.linspace(1, 0.1, 40), np.ones(40)
    dsc[25:] = 0
    assert safe_above(sdc, dsc, 0.5) == pytest.approx(sdc[25])
    assert certify(sdc, dsc, 0.5, unflagged_from=sdc[26]) is None
    certificate = certify(sdc, dsc, 0.5, unflagged_from=sdc[24])
    assert (certificate.cases, certificate.under_target, certificate.dsc_target) == (25, 0, 0.5)


def test_the_band_holds_the_organ_on_average_as_promised():
    rng = np.random.default_rng(1)

    def case() -> np.ndarray:
        difficulty = rng.uniform(0.5, 3)
        return missed(rng.beta(2, difficulty, 400), np.ones(400, bool))

    held = []
    for _ in range(200):
        band = fit_band([case() for _ in range(40)])
        index = int(np.flatnonzero(band == PROBABILITIES)[0])
        held.append(np.mean([case()[index] for _ in range(20)]))
    assert np.mean(held) <= 0.05 + 0.004


def test_a_band_is_found_only_where_enough_cases_show_it():
    nothing = np.zeros(len(PROBABILITIES))
    assert fit_band([nothing] * 19) == PROBABILITIES[0]
    assert fit_band([nothing] * 18) is None
    assert fit_band([nothing + 0.2] * 50) is None
    assert fit_band([]) is None


def test_what_lies_where_no_probability_is_counts_as_missed():
    share = missed(np.array([0.9, 0.3]), np.array([True, True]), elsewhere=2)
    assert share[0] == 0.75  # asked for 0.5
    assert share[-1] == 0.5
    assert missed(np.array([0.9]), np.array([False])) is None
