"""Dice similarity coefficient, with the one rule for empty masks.

An organ missing on one side is an error of presence and scores 0. Missing on both sides it is agreement
about presence; there is nothing to overlap, the DSC is None and enters no mean. Presence is counted
apart (`Outcome`), so that neither a total miss nor a hallucination can hide behind an undefined number.

Source: Dice 1945, Ecology 26:297; on empty masks Maier-Hein et al. 2024, Metrics Reloaded.
"""

from __future__ import annotations

from enum import StrEnum

import numpy as np
from numpy.typing import NDArray


class Outcome(StrEnum):
    """Whether prediction and truth agree that the organ is there."""

    PRESENT = "present"
    MISSED = "missed"
    HALLUCINATED = "hallucinated"
    ABSENT = "absent"


def outcome(predicted: bool, true: bool) -> Outcome:
    """Name the agreement about presence: was the organ predicted, is it truly there."""
    if true:
        return Outcome.PRESENT if predicted else Outcome.MISSED
    return Outcome.HALLUCINATED if predicted else Outcome.ABSENT


def dsc(prediction: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float | None:
    """Return 2|P∩T| / (|P|+|T|).

    Parameters
    ----------
    prediction, truth
        Masks on one grid, axes (k, j, i), bool.

    Returns
    -------
    float or None
        0..1; 0 when one mask is empty, None when both are.

    Raises
    ------
    ValueError
        If the masks are not boolean or differ in shape.
    """
    if prediction.dtype != np.bool_ or truth.dtype != np.bool_ or prediction.shape != truth.shape:
        raise ValueError(
            f"masks must be bool and of one shape, not {prediction.dtype} {prediction.shape} "
            f"and {truth.dtype} {truth.shape}"
        )
    size = int(np.count_nonzero(prediction)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(prediction & truth)) / size if size else None
