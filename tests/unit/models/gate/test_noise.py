from __future__ import annotations

import numpy as np
import pytest

from models.gate.noise import FEWEST_CASES, LEAST_NOISE, loss_thresholds, tail_share
from models.gate.rescan import NOISE_HU, scan_again
from models.geometry import Geometry
from models.resampling import resample

GRID = Geometry((20, 24, 22), np.array([[0, 0, 3, -30], [0, 3, 0, -40], [4, 0, 0, 10], [0, 0, 0, 1.0]]))


def scanned(rng: np.random.Generator, deviation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of two further scans, and of an equal model, per case; all share the first scan."""
    first = deviation * rng.normal(size=len(deviation))
    noise = deviation[:, None] * rng.normal(size=(len(deviation), 2)) - first[:, None]
    return noise, deviation * rng.normal(size=len(deviation)) - first


def alike(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.full(n, 0.02)


def unlike(rng: np.random.Generator, n: int) -> np.ndarray:
    return 0.02 / np.sqrt(rng.chisquare(5, n) / 5)


@pytest.mark.parametrize("deviation", [alike, unlike], ids=["cases alike", "cases unlike"])
def test_equal_models_exceed_any_threshold_of_four_organs_in_at_most_one_gate_of_twenty(deviation):
    rng = np.random.default_rng(3)
    share, tripped = tail_share(0.05, 4 * 20), 0
    for _ in range(250):
        organs = [scanned(rng, deviation(rng, 20)) for _ in range(4)]
        tripped += any((-lost > loss_thresholds(noise, share)).any() for noise, lost in organs)
    assert tripped / 250 <= 0.05


def test_a_loss_of_five_deviations_exceeds_the_threshold():
    rng = np.random.default_rng(4)
    noise, _ = scanned(rng, alike(rng, 40))
    thresholds = loss_thresholds(noise, tail_share(0.05, 40))
    assert np.median(thresholds) < 5 * np.sqrt(2) * 0.02


def test_a_noisy_case_may_lose_more_than_a_quiet_one():
    rng = np.random.default_rng(5)
    deviation = np.where(np.arange(40) < 8, 0.08, 0.01)
    thresholds = loss_thresholds(scanned(rng, deviation)[0], 0.001)
    assert np.median(thresholds[:8]) > 2 * np.median(thresholds[8:])


def test_a_case_that_never_moves_still_has_a_threshold_and_few_cases_have_none():
    still = loss_thresholds([(0.0, 0.0)] * 12, 0.001)
    assert (still > 2 * LEAST_NOISE).all()
    assert loss_thresholds([(0.01, 0.0)] * (FEWEST_CASES - 1), 0.001) is None


def test_the_shares_of_all_comparisons_add_up_to_the_false_alarm():
    for comparisons in (1, 40, 800):
        assert 1 - (1 - tail_share(0.05, comparisons)) ** comparisons == pytest.approx(0.05)


def test_a_further_scan_repeats_and_shows_the_same_patient_half_a_voxel_off():
    z, y, x = np.ogrid[:20, :24, :22]
    hu = (60 * np.sin(z / 5) + 40 * np.cos(y / 6) + 20 * np.sin(x / 7)).astype(np.int16)
    again, grid = scan_again(hu, GRID, "case", 1)
    assert again.dtype == np.int16
    assert np.array_equal(again, scan_again(hu, GRID, "case", 1)[0])
    assert not np.array_equal(again, scan_again(hu, GRID, "case", 2)[0])
    assert np.abs(GRID.to_index(grid.to_lps((0, 0, 0)))) == pytest.approx(0.5)
    back = resample(again, grid, GRID, outside=0, antialias=False)
    inner = (slice(2, -2),) * 3
    assert (back - hu)[inner].std() < 1.2 * NOISE_HU
    assert np.abs((back - hu)[inner].mean()) < 1.0


def test_air_stays_in_the_range_of_a_ct():
    again, _ = scan_again(np.full((8, 8, 8), -1024, np.int16), GRID, "air", 1)
    assert again.min() == -1024
