from __future__ import annotations

import numpy as np
import pytest

from models.bounds.domain import distance, fit_domain, is_out_of_domain, study_feature


def studies(
    rng: np.random.Generator, n: int, basis: np.ndarray, shift: np.ndarray | float = 0.0
) -> np.ndarray:
    """Features that vary along a few directions, as a trunk's do, with a little of everything else."""
    latent = rng.normal(size=(n, len(basis))) * np.geomspace(1.0, 0.2, len(basis))
    return latent @ basis + 0.03 * rng.normal(size=(n, basis.shape[1])) + shift


@pytest.mark.parametrize(("n", "length"), [(30, 128), (60, 256)])
def test_own_site_is_rarely_out_of_domain_and_another_site_nearly_always(n, length):
    rng = np.random.default_rng(n)
    basis = np.linalg.qr(rng.normal(size=(length, 6)))[0].T
    false_alarms, found = [], []
    for _ in range(5):
        reference = fit_domain(studies(rng, n, basis))
        shift = rng.normal(size=length) * 0.1
        false_alarms += [is_out_of_domain(x, reference) for x in studies(rng, 50, basis)]
        found += [is_out_of_domain(x, reference) for x in studies(rng, 50, basis, shift)]
    assert np.mean(false_alarms) <= 0.05
    assert np.mean(found) >= 0.95


def test_a_direction_no_calibration_study_had_is_seen_in_the_residual():
    rng = np.random.default_rng(1)
    basis = np.eye(64)[:3]
    reference = fit_domain(studies(rng, 40, basis))
    usual = studies(rng, 1, basis)[0]
    assert not is_out_of_domain(usual, reference)
    assert is_out_of_domain(usual + 2.0 * np.eye(64)[50], reference)


def test_the_distance_of_the_studies_it_was_fitted_to_is_about_one():
    rng = np.random.default_rng(2)
    features = studies(rng, 40, np.eye(64)[:4])
    reference = fit_domain(features)
    distances = [distance(x, reference) for x in features]
    assert np.sqrt(np.mean(np.square(distances))) == pytest.approx(1.2, abs=0.15)  # the larger of two


def test_a_feature_that_is_not_finite_is_out_of_domain():
    reference = fit_domain(np.random.default_rng(3).normal(size=(20, 8)))
    assert is_out_of_domain(np.full(8, np.nan), reference)


def test_equal_studies_give_an_equal_reference_whatever_their_order():
    features = np.random.default_rng(4).normal(size=(20, 8))
    a, b = fit_domain(features), fit_domain(features[::-1])
    assert np.allclose(a.components, b.components)
    assert a.threshold == pytest.approx(b.threshold)


@pytest.mark.parametrize("features", [np.zeros((9, 4)), np.ones((20, 4)), np.full((20, 4), np.inf)])
def test_too_few_or_meaningless_studies_are_refused(features):
    with pytest.raises(ValueError, match="studies"):
        fit_domain(features)


def test_the_feature_of_a_study_is_the_mean_over_its_windows():
    assert study_feature(np.array([[1, 2], [3, 6]], dtype=np.float32)).tolist() == [2.0, 4.0]
    with pytest.raises(ValueError, match="window"):
        study_feature(np.zeros((0, 4), dtype=np.float32))
