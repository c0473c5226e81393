"""Whether a study looks like those a release was calibrated on, by the trunk's global feature.

Two numbers, the larger counts: the Mahalanobis distance along the leading principal directions of the
calibration studies, and the length of what these leave over, where a shift shows that no calibration
study ever had. (Their sum hides the second behind the noise of the first: on simulated studies it found
6 to 41 % of shifts of which the larger found 87 to 100 %.)

Source: Lee et al. 2018, arXiv 1807.03888; the residual as in Wang et al. 2022 (ViM), arXiv 2203.10807.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.calibration import DomainReference

FEWEST_STUDIES = 10
"""A reference is not fitted to fewer studies, nor a fact judged."""

EXPLAINED = 0.98
"""Share of the variance the leading directions hold; there is at most one per four studies."""

FALSE_ALARMS = 0.025
"""Share of in-domain studies whose features may be called strange, and as much for their facts."""

MARGIN = 1.1
"""Factor on the threshold, for what so few studies do not show."""


def study_feature(global_feature: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the mean over windows, shape (feature,), of a study's (window, feature) global feature."""
    if global_feature.ndim != 2 or len(global_feature) == 0:
        raise ValueError(f"global feature must be (window, feature), not {global_feature.shape}")
    return global_feature.mean(axis=0, dtype=np.float64)


def fit_domain(features: ArrayLike) -> DomainReference:
    """Describe where the calibration studies lie.

    Parameters
    ----------
    features
        Axes (study, feature), at least `FEWEST_STUDIES` studies; fewer studies than features is usual.

    Returns
    -------
    DomainReference
        Its threshold is the 1 - `FALSE_ALARMS` quantile of the distances of each study to a reference
        fitted without it, corrected for their number (the largest for n < 39), times `MARGIN`.

    Raises
    ------
    ValueError
        If there are too few studies, a value is not finite, or studies do not differ.
    """
    X = np.asarray(features, dtype=np.float64)
    if X.ndim != 2 or len(X) < FEWEST_STUDIES or not np.isfinite(X).all():
        raise ValueError(f"need finite features of at least {FEWEST_STUDIES} studies, not {X.shape}")
    left_out = np.array([distance(X[n], _fit(np.delete(X, n, axis=0), math.inf)) for n in range(len(X))])
    return _fit(X, MARGIN * farthest_usual(left_out))


def farthest_usual(left_out: ArrayLike) -> float:
    """Return how far all but `FALSE_ALARMS` of studies lie, by the distance of each from the others."""
    distances = np.sort(left_out)
    rank = min(len(distances), math.ceil((len(distances) + 1) * (1 - FALSE_ALARMS) - 1e-9))
    return float(distances[rank - 1])


def distance(feature: ArrayLike, reference: DomainReference) -> float:
    """Return how far a study lies from the reference; about 1 for those it was fitted to.

    Parameters
    ----------
    feature
        `study_feature`, shape (feature,).
    reference
        Where the calibration studies lie.

    Raises
    ------
    ValueError
        If the feature's length is not the reference's.
    """
    centred = np.asarray(feature, dtype=np.float64) - np.asarray(reference.mean)
    components = np.asarray(reference.components)
    along = components @ centred
    mahalanobis = np.sqrt(np.mean((along / np.asarray(reference.scale)) ** 2))
    residual = np.linalg.norm(centred - along @ components) / reference.residual_scale
    return float(np.maximum(mahalanobis, residual))


def is_out_of_domain(feature: ArrayLike, reference: DomainReference) -> bool:
    """Tell whether a study lies beyond the reference's threshold; a feature that is not finite does."""
    return not distance(feature, reference) <= reference.threshold


def _fit(X: NDArray[np.float64], threshold: float) -> DomainReference:
    mean = X.mean(axis=0)
    _, singular, directions = np.linalg.svd(X - mean, full_matrices=False)
    variance = singular**2 / (len(X) - 1)
    if not variance[0] > 0:
        raise ValueError("the calibration studies do not differ in their global feature")
    enough = int(np.searchsorted(np.cumsum(variance) / variance.sum(), EXPLAINED)) + 1
    count = min(enough, len(X) // 4)
    # Directions of one sign whatever the linear algebra library, so that equal studies give equal bytes.
    leading = directions[:count]
    leading = leading * np.sign(leading[np.arange(count), np.abs(leading).argmax(axis=1)])[:, None]
    # Never less than a thousandth of the whole, or rounding would be measured as distance.
    residual = max(float(variance[count:].sum()), 1e-6 * float(variance.sum()))
    return DomainReference(
        mean=tuple(mean.tolist()),
        components=tuple(tuple(row) for row in leading.tolist()),
        scale=tuple(np.sqrt(variance[:count]).tolist()),
        residual_scale=math.sqrt(residual),
        threshold=threshold,
    )
