"""Which older studies to replay under a budget: of each organ's, important ones, unlike each other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

LEAST_IMPORTANCE = 0.05
"""Share of the greatest importance that every study has: what is sure is part of the old site too."""


def take_turns(orders: Iterable[Sequence[int]], budget: int) -> tuple[int, ...]:
    """Take the first of each order, then the next of each, until the budget is used; nothing twice.

    Parameters
    ----------
    orders
        By organ, the places of the studies that teach it, best first.
    budget
        Studies to take; fewer are taken where the orders hold no more.
    """
    waiting = [iter(order) for order in orders]
    taken: dict[int, None] = {}
    while waiting and len(taken) < budget:
        order = waiting.pop(0)
        place = next((place for place in order if place not in taken), None)
        if place is not None:
            taken[place] = None
            waiting.append(order)
    return tuple(taken)


def choose_replay(importance: NDArray, features: NDArray, budget: int) -> tuple[int, ...]:
    """Choose studies one by one: each time the most important times the farthest from those chosen.

    Parameters
    ----------
    importance
        Axes (study,), at least 0: `models.judgement.importance`, volume over the organ that is tuned,
        millilitres.
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
    if not count:
        return ()
    greatest = float(np.max(importance))
    worth = np.maximum(importance / greatest if greatest > 0 else np.ones(count), LEAST_IMPORTANCE)
    spread = features.std(axis=0)
    scaled = features[:, spread > 0] / spread[spread > 0]
    chosen: list[int] = []
    nearest = np.ones(count)
    while len(chosen) < min(budget, count):
        gain = worth * nearest
        gain[chosen] = -1.0
        chosen.append(int(np.argmax(gain)))
        away = np.sqrt(((scaled - scaled[chosen[-1]]) ** 2).sum(axis=1))
        nearest = away if len(chosen) == 1 else np.minimum(nearest, away)
    return tuple(chosen)
