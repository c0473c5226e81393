from __future__ import annotations

import numpy as np
import pytest

from models.bounds.conformal import conformal_quantile, fewest_cases, lower_bound
from models.calibration import OrganCalibration


def cases(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """SDC too optimistic by 0.05 and noisy, with a tail of bad cases."""
    dsc = np.clip(0.9 - rng.exponential(0.05, n) - 0.4 * (rng.random(n) < 0.03), 0, 1)
    return np.clip(dsc + 0.05 + rng.normal(0, 0.03, n), 0, 1), dsc


@pytest.mark.parametrize(("n", "confidence"), [(9, 0.9), (30, 0.9), (100, 0.9), (19, 0.95)])
def test_the_bound_covers_as_often_as_it_says(n, confidence):
    rng = np.random.default_rng(n)
    covered = []
    for _ in range(400):
        calibration = OrganCalibration(conformal_quantile(*cases(rng, n), confidence), confidence, n)
        sdc, dsc = cases(rng, 50)
        covered.append(np.mean([d >= lower_bound(s, calibration) for s, d in zip(sdc, dsc, strict=True)]))
    # Exact: ceil((n+1)c)/(n+1) over calibration sets; the mean of 400 strays by less than 0.015.
    assert np.mean(covered) == pytest.approx(np.ceil((n + 1) * confidence - 1e-9) / (n + 1), abs=0.015)


@pytest.mark.parametrize(("confidence", "fewest"), [(0.9, 9), (0.95, 19), (0.8, 4)])
def test_too_few_cases_leave_an_organ_uncalibrated(confidence, fewest):
    assert fewest_cases(confidence) == fewest
    values = np.linspace(0.8, 0.9, fewest)
    assert conformal_quantile(values[1:], values[1:], confidence) is None
    assert conformal_quantile(values, values, confidence) == 0.0


def test_the_quantile_is_the_ranked_residual():
    sdc, dsc = np.full(20, 0.9), 0.9 - np.arange(1, 21) / 100
    assert conformal_quantile(sdc, dsc) == pytest.approx(0.19)  # ceil(21 * 0.9) = 19th of 20


def test_a_bound_stays_between_0_and_1():
    assert lower_bound(0.3, OrganCalibration(0.5, 0.9, 20)) == 0.0
    assert lower_bound(0.99, OrganCalibration(-0.1, 0.9, 20)) == 1.0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="one per case"):
        conformal_quantile([0.9, 0.8], [0.9])
    with pytest.raises(ValueError, match="finite"):
        conformal_quantile([0.9] * 10, [float("nan")] * 10)
    with pytest.raises(ValueError, match="confidence"):
        conformal_quantile([0.9] * 10, [0.9] * 10, 1.0)
