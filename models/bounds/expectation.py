"""What DSC is to be expected of an outline, from signs of how sure the segmenter is of it.

For each organ a ridge regression of DSC on four signs is fitted to the calibration cases. More confidence,
more agreement and less entropy never lower what is expected, whatever chance says in few cases; and no sign
counts for more than it did in any of them: what lies beyond makes nobody surer.

Source: Rottmann et al. 2020, arXiv 1811.00648 (MetaSeg): the quality of a segment, regressed on a few numbers
of its probabilities and its size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from models.bounds.reliability import calibrated
from models.bounds.uncertainty import entropy_near, member_agreement, soft_dice_confidence
from models.calibration import Expectation, Reliability

DIRECTIONS = np.array([[1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, -1, 0], [0, 0, 0, 1]])
"""What may speak for an outline, in the order of `Signs`."""

RIDGE = 3.0
"""Pull of every weight towards 0, in calibration cases whose signs vary by one standard deviation."""


class Signs(NamedTuple):
    """What speaks for and against one outline.

    Parameters
    ----------
    confidence
        Soft Dice confidence of calibrated probabilities, 0..1.
    entropy
        Mean entropy of served probabilities in and near the organ, nats, 0..ln 2.
    size
        Natural logarithm of its voxels on the model grid.
    agreement
        `models.bounds.uncertainty.member_agreement`; 1 for a head of one member.
    """

    confidence: float
    entropy: float
    size: float
    agreement: float


def signs_of(
    probability: NDArray[np.float16],
    mask: NDArray[np.bool_],
    reliability: Reliability,
    spread: NDArray[np.float16] | None,
) -> Signs | None:
    """Return the signs of one organ; None for an empty mask.

    Parameters
    ----------
    probability
        As served, axes (k, j, i) on the model grid.
    mask
        The voxels served as organ, same axes.
    reliability
        What calibrates the probabilities.
    spread
        Disagreement of the head's members, same axes; None for a head of one.
    """
    confidence = soft_dice_confidence(calibrated(probability, reliability), mask)
    entropy = entropy_near(probability, mask)
    if confidence is None or entropy is None:
        return None
    agreement = member_agreement(probability, spread)
    size = math.log(int(np.count_nonzero(mask)))
    return Signs(confidence, entropy, size, 1.0 if agreement is None else agreement)


def expected_dsc(signs: Signs, expectation: Expectation | None) -> float:
    """Return the DSC that is expected, from which the bound is taken; without a regression the confidence."""
    if expectation is None:
        return signs.confidence
    return expectation.intercept + sum(
        weight * (min(sign, surest) if weight > 0 else max(sign, surest))
        for weight, sign, surest in zip(expectation.weights, signs, expectation.surest, strict=True)
    )


def fit_expectation(signs: Sequence[Signs], dsc: ArrayLike) -> Expectation:
    """Regress DSC on signs.

    Parameters
    ----------
    signs, dsc
        Of each calibration case, in one order.
    """
    table, truth = np.asarray(signs, dtype=np.float64), np.asarray(dsc, dtype=np.float64)
    centre, scale = table.mean(axis=0), table.std(axis=0)
    varies = scale > 1e-9
    scale = np.where(varies, scale, 1.0)
    units = (table - centre) / scale
    # Least squares with every coefficient at least 0, on the signs as they speak for the outline; size, which
    # may speak either way, twice. The ridge is one more row for each.
    for_it = np.column_stack([units @ direction for direction in DIRECTIONS])
    rows = np.vstack([for_it, math.sqrt(RIDGE) * np.eye(len(DIRECTIONS))])
    found, _ = nnls(rows, np.append(truth - truth.mean(), np.zeros(len(DIRECTIONS))))
    weights = np.where(varies, found @ DIRECTIONS / scale, 0.0)
    surest = np.where(weights > 0, table.max(axis=0), table.min(axis=0))
    return Expectation(
        weights=tuple(weights.tolist()),
        surest=tuple(surest.tolist()),
        intercept=float(truth.mean() - weights @ centre),
    )


def expected_without(signs: Sequence[Signs], dsc: Sequence[float]) -> list[float]:
    """Return what is expected of each case by a regression that has not seen it."""
    return [
        expected_dsc(
            one,
            fit_expectation([*signs[:n], *signs[n + 1 :]], np.delete(np.asarray(dsc, dtype=np.float64), n)),
        )
        for n, one in enumerate(signs)
    ]
