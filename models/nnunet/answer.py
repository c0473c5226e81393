"""What is served of one CT by a network that nnU-Net planned.

Masks are decided on the CT's grid, from logits. Probabilities and what windows disagree about are for flags
and bounds; they lie on the network's grid, turned to head, posterior and left as every model grid is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.geometry import Geometry
from models.inference.compact import DISAGREEMENT_RANGE, FLOOR_PROBABILITY, stepped
from models.inference.segmentation import Drawn, Segmentation
from models.masks import BoxedMask, bounding_box
from models.nnunet.turn import Turn
from models.nnunet.votes import Votes
from models.nnunet.whole import Evaluated, evaluate

CANONICAL = "SPL"
"""The axes of every model grid: to the head, posterior, to the left."""


class PlannedAnswer(NamedTuple):
    """What the network answers for one window.

    Parameters
    ----------
    logits
        Axes (class, k, j, i), float32: the network's own, as it was imported, then those of tuned heads.
    global_feature
        Shape (feature,), float32.
    """

    logits: NDArray[np.float32]
    global_feature: NDArray[np.float32]


Predict = Callable[[NDArray[np.float32]], PlannedAnswer]
"""The network for one window, axes (1, 1, k, j, i)."""


def answer(
    hu: NDArray[np.int16] | NDArray[np.float32],
    ct: Geometry,
    contract: ModelContract,
    predict: Predict,
    release_digest: str | None = None,
    tuned: Sequence[int] = (),
) -> Segmentation:
    """Segment a CT.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i) of the CT.
    ct
        Its grid.
    contract
        With a recipe of nnU-Net.
    predict
        The network for one window. It must be a function of the window alone.
    release_digest
        Of the release the network belongs to, if it belongs to one.
    tuned
        Classes whose heads are no longer the network's own.

    Returns
    -------
    Segmentation
        With `drawn`. Probabilities are those of the softmax of the blended logits, where a tuned head's logit
        stands in place of the network's own, or of each region's logit.

    Raises
    ------
    InvalidRelease
        As `models.nnunet.windows.blended_logits`.
    """
    recipe = contract.recipe
    if recipe is None:
        raise InvalidRelease("the contract has no recipe of nnU-Net")
    features: list[NDArray[np.float32]] = []
    votes = Votes(recipe, contract.window_shape, tuned)
    images = 2 ** len(recipe.mirrored)
    asked = count()

    def network(window: NDArray[np.float32]) -> NDArray[np.float32]:
        found = predict(window)
        if found.global_feature.shape != (contract.global_channels,):
            raise InvalidRelease(f"the network answered a global feature of {found.global_feature.shape}")
        if next(asked) % images == 0:  # of each window, not of its mirror images
            features.append(found.global_feature)
        return found.logits

    spacing, window = contract.spacing_mm, contract.window_shape
    whole = evaluate(hu, ct, recipe, spacing, window, network, tuned, votes)
    grid = whole.grid.geometry
    turn = Turn.between(grid, CANONICAL)
    masks, channel = whole.masks(), {n: contract.organs.index(recipe.classes[n]) for n in recipe.organs}
    probability, disagreement = _fields(whole, votes)
    return Segmentation(
        np.stack([turn.apply(field) for field in probability]),
        np.stack([turn.apply(field) for field in disagreement]),
        np.stack(features),
        votes.origins(whole.grid.shape),
        release_digest,
        drawn=Drawn(
            turn.geometry(grid),
            {channel[n]: mask for n, mask in masks.items()},
            {channel[n]: BoxedMask.of(turn.apply(mask)) for n, mask in whole.on_grid().items()},
        ),
    )


def _fields(whole: Evaluated, votes: Votes) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Return probability and disagreement of each organ, axes (organ, k, j, i), on the network's grid."""
    shape = whole.grid.shape
    probability = np.zeros((len(whole.recipe.organs), *shape), dtype=np.float16)
    disagreement = np.zeros_like(probability)
    for n, (number, own) in enumerate(whole.probabilities()):
        probability[n] = stepped(own, 1.0, FLOOR_PROBABILITY)
        box = bounding_box(probability[n] > 0)
        if box is None:
            continue
        spread = stepped(votes.spread(number, box, shape), DISAGREEMENT_RANGE)
        disagreement[n][box] = np.where(probability[n][box] > 0, spread, 0)
    return probability, disagreement
