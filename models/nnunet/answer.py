"""What is served of one CT by a network that nnU-Net planned.

Masks are decided on the CT's grid, from logits. Probabilities and what windows disagree about are for flags
and bounds; they lie on the network's grid, turned to head, posterior and left as every model grid is.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import count

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.errors import InvalidRelease
from models.geometry import Geometry
from models.inference.compact import DISAGREEMENT_RANGE, FLOOR_PROBABILITY, stepped
from models.inference.sampled_features import FeatureSampler
from models.inference.segmentation import Drawn, Segmentation
from models.inference.windows import Maps, Predict, WindowLogits
from models.masks import BoxedMask, bounding_box
from models.nnunet.grid import NetworkGrid
from models.nnunet.predicted import predicted
from models.nnunet.turn import Turn
from models.nnunet.votes import Votes
from models.nnunet.whole import Evaluated, evaluate_view, network_view
from models.nnunet.windows import placed

CANONICAL = "SPL"
"""The axes of every model grid: to the head, posterior, to the left."""


def answer(
    hu: NDArray[np.int16] | NDArray[np.float32],
    ct: Geometry | None,
    contract: ModelContract,
    predict: Predict,
    release_digest: str | None = None,
    tuned: Collection[str] = (),
    maps: Maps | None = None,
) -> Segmentation:
    """Segment a CT.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i) of the CT.
    ct
        Its grid; None: the volume lies on the contract's model grid already.
    contract
        With a recipe of nnU-Net.
    predict
        The network for one window, with its `frozen` logits. It must be a function of the window alone.
    release_digest
        Of the release the network belongs to, if it belongs to one.
    tuned
        Organs whose heads are no longer the network's own.
    maps
        Where features shall be sampled for tuning: what the network saw of the window it answered last.

    Returns
    -------
    Segmentation
        With `drawn`. Probabilities are those of the softmax of the blended logits, where a tuned head's logit
        stands in place of the network's own, or of each region's logit. They lie on the network's grid; where
        nothing was resampled, on all of the CT's.

    Raises
    ------
    InvalidRelease
        As `models.nnunet.windows.blended_logits`.
    """
    recipe = contract.recipe
    if recipe is None:
        raise InvalidRelease("the contract has no recipe of nnU-Net")
    own = {n: contract.organs.index(organ) for n, organ in recipe.organs.items() if organ in tuned}
    if ct is None:
        ct = Geometry(hu.shape, _canonical(contract.spacing_mm))
    view = network_view(hu, ct, recipe, recipe.along(contract.spacing_mm))
    places = placed(view.volume.shape, contract.window_shape, recipe.step)
    votes = Votes(recipe, contract.window_shape, tuple(own))
    features: list[NDArray[np.float32]] = []
    images = 2 ** len(recipe.mirrored)
    asked = count()
    sampler = None if maps is None else FeatureSampler(contract, len(places), release_digest or "")

    def network(window: NDArray[np.float32]) -> WindowLogits:
        found = predict(window)
        if found.frozen is None or found.global_feature.shape != (contract.global_channels,):
            raise InvalidRelease(
                f"the network answered no logits of its own, or a feature of {found.global_feature.shape}"
            )
        if next(asked) % images == 0:  # of each window, not of its mirror images
            if sampler is not None and maps is not None:
                told = predicted(found.frozen, recipe, {n: found.logits[c] for n, c in own.items()})
                sampler.add_told(places[len(features)], view.volume.shape, told, *maps())
            features.append(found.global_feature)
        if not own:
            return found.frozen
        return [*found.frozen, *(found.logits[c] for c in own.values())]

    whole = evaluate_view(view, recipe, contract.window_shape, network, tuple(own), votes)
    shown = _Shown(whole.grid)
    channel = {n: contract.organs.index(organ) for n, organ in recipe.organs.items()}
    probability, disagreement = _fields(whole, votes, shown)
    return Segmentation(
        probability,
        disagreement,
        np.stack(features),
        votes.origins(whole.grid.shape),
        release_digest,
        samples=None if sampler is None else sampler.result(),
        drawn=Drawn(
            shown.geometry,
            {channel[n]: mask for n, mask in whole.masks().items()},
            {channel[n]: shown.mask(mask) for n, mask in whole.on_grid().items()},
        ),
    )


class _Shown:
    """The network's grid as others see it: turned; where nothing was resampled, with what was cut away."""

    def __init__(self, grid: NetworkGrid) -> None:
        self._grid = grid
        self._whole = grid.shape == grid.cropped
        own = grid.turn.geometry(grid.ct) if self._whole else grid.geometry
        self._turn = Turn.between(own, CANONICAL)
        self.geometry = self._turn.geometry(own)

    def on_network(self, field: NDArray) -> NDArray:
        """Return the view of a field that has the network's grid and axes."""
        turned = self._turn.undo(field)
        return turned[self._grid.box] if self._whole else turned

    def mask(self, inside: NDArray[np.bool_]) -> BoxedMask:
        """Return a mask of the network's grid."""
        field = np.zeros(self.geometry.shape, dtype=np.bool_)
        self.on_network(field)[...] = inside
        return BoxedMask.of(field)


def _canonical(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    affine[[2, 1, 0], [0, 1, 2]] = spacing_mm
    return affine


def _fields(whole: Evaluated, votes: Votes, shown: _Shown) -> tuple[NDArray[np.float16], NDArray[np.float16]]:
    """Return probability and disagreement of each organ, axes (organ, k, j, i), as others see them."""
    probability = np.zeros((len(whole.recipe.organs), *shown.geometry.shape), dtype=np.float16)
    disagreement = np.zeros(
        probability.shape, dtype=np.float16
    )  # pages that nothing is written to cost nothing
    for n, (number, own) in enumerate(whole.probabilities()):
        box = bounding_box(own > np.float32(FLOOR_PROBABILITY))
        if box is None:
            continue
        steps = stepped(own[box], 1.0, FLOOR_PROBABILITY)
        spread = stepped(votes.spread(number, box, whole.grid.shape), DISAGREEMENT_RANGE)
        shown.on_network(probability[n])[box] = steps
        shown.on_network(disagreement[n])[box] = np.where(steps > 0, spread, 0)
    return probability, disagreement
