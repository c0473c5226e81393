"""Which older studies to replay under a budget: important ones, unlike each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

LEAST_IMPORTANCE = 0.05
"""Share of the greatest importance that every study has: what is sure is part of the old site too."""


def choose_replay(importance: NDArray, features: NDArray, budget: int) -> tuple[int, ...]:
    """Choose studies one by one: each time the most important times the farthest from those chosen.

    Parameters
    ----------
    importance
        Axes (study,), at least 0: `models.importance`, volume over the organs that are tuned, millilitres.
    features
        Axes (study, feature): where a study lies, e.g. the mean of its windows' global features; each
        is put on the scale of its own spread.
    budget
        Studies to choose; all are chosen where there are no more.

    Returns
    -------
    tuple of int
        Places of the chosen, in the order they were chosen; among equals the first comes first.

    Notes
    -----
    Source of the distances: farthest-first traversal, Gonzalez, Theoretical Computer Science 38 (1985)
    293; of the importance: Qu et al., arXiv:2305.09666.
    """
    count = len(importance)
    if count <= budget:
        return tuple(range(count))
    greatest = float(np.max(importance))
    worth = np.maximum(importance / greatest if greatest > 0 else np.ones(count), LEAST_IMPORTANCE)
    spread = features.std(axis=0)
    scaled = features[:, spread > 0] / spread[spread > 0]
    chosen: list[int] = []
    nearest = np.ones(count)
    while len(chosen) < budget:
        gain = worth * nearest
        gain[chosen] = -1.0
        chosen.append(int(np.argmax(gain)))
        away = np.sqrt(((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
        nearest = away if len(chosen) == 1 else np.minimum(nearest, away)
    return tuple(chosen)
