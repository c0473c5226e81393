"""One CT through a network that nnU-Net planned: from Hounsfield units to logits, and from these to masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.special import expit

from models.geometry import Geometry
from models.masks import BoxedMask
from models.nnunet.grid import NetworkGrid, network_grid, network_volume
from models.nnunet.totalsegmentator import CoarseCT, coarse_ct
from models.nnunet.turn import Turn
from models.nnunet.way_back import LEAST, Labels, class_labels, private_mask, region_masks, winners, wins
from models.nnunet.windows import Logits, Watch, blended_logits, placed
from models.recipe import NnunetRecipe


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The logits of one CT.

    Parameters
    ----------
    recipe
        What the network was asked by.
    logits
        Of the network as it was imported: axes (class, k, j, i), float16, on its grid.
    grid
        Where that lies: in the CT, or in what TotalSegmentator makes of it.
    coarse
        What it makes of it; None without that wrapping.
    own
        By class, the logits of heads that were tuned since; axes (k, j, i), float16.
    """

    recipe: NnunetRecipe
    logits: NDArray[np.float16]
    grid: NetworkGrid
    coarse: CoarseCT | None = None
    own: Mapping[int, NDArray[np.float16]] = field(default_factory=dict)

    def masks(self) -> dict[int, BoxedMask]:
        """Return by class where each organ of the recipe is, on the CT's grid."""
        return dict(self._regions() if self.recipe.rule == "regions" else self._classes())

    def on_grid(self) -> dict[int, NDArray[np.bool_]]:
        """Return by class where each organ of the recipe is on the network's grid, by the same rule."""
        if self.recipe.rule == "regions":
            return {n: self.own.get(n, self.logits[n]) > LEAST for n in self.recipe.organs}
        winner, _ = winners(self.logits)
        return {
            n: self._claimed(n, wins(self.own[n], self.logits, n), winner) if n in self.own else winner == n
            for n in self.recipe.organs
        }

    def probabilities(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield each organ of the recipe: its class, and its probability on the network's grid, float32.

        Of a softmax: sigmoid(z - logsumexp of all other classes, as they were imported).
        """
        if self.recipe.rule == "regions":
            for n in self.recipe.organs:
                yield n, expit(self.own.get(n, self.logits[n]).astype(np.float32))
            return
        every = _log_sum_exp(self.logits, range(len(self.logits)))
        for n in self.recipe.organs:
            if n in self.own:
                others = _log_sum_exp(self.logits, [m for m in range(len(self.logits)) if m != n])
                yield n, expit(self.own[n].astype(np.float32) - others)
            else:
                yield n, np.exp(self.logits[n].astype(np.float32) - every)

    def _regions(self) -> Iterator[tuple[int, BoxedMask]]:
        logits = np.stack([self.own.get(n, logit) for n, logit in enumerate(self.logits)])
        for number, mask in enumerate(region_masks(logits, self.grid)):
            if number in self.recipe.organs:
                yield number, BoxedMask.of(mask)

    def _classes(self) -> Iterator[tuple[int, BoxedMask]]:
        decided = class_labels(self.logits, self.grid)
        labels = self._on_ct(decided)
        boxes = dict(enumerate(ndimage.find_objects(labels), 1))
        for number in self.recipe.organs:
            if number in self.own:
                mask = private_mask(self.own[number], self.logits, number, self.grid)
                yield number, BoxedMask.of(self._on_ct(self._claimed(number, mask, decided)))
            elif number == 0:  # no box is found for it
                yield number, BoxedMask.of(labels == 0)
            elif (box := boxes.get(number)) is None:
                yield number, BoxedMask.empty(labels.shape)
            else:
                yield number, BoxedMask.part(labels[box] == number, box, labels.shape)

    def _claimed(self, number: int, won: NDArray[np.bool_], decided: Labels) -> NDArray[np.bool_]:
        """Return what a tuned head claims of what it won, where the network was imported with such labels."""
        left = self.recipe.yields_to(number)
        return won & ~np.isin(decided, left) if left else won

    def _on_ct(self, labels: Labels | NDArray[np.bool_]) -> NDArray:
        return labels if self.coarse is None else self.coarse.to_ct(labels)


def _log_sum_exp(logits: NDArray[np.float16], classes: Sequence[int]) -> NDArray[np.float32]:
    """Return it over some classes, axes (k, j, i), one class at a time."""
    most = np.full(logits.shape[1:], -np.inf, dtype=np.float32)
    for n in classes:
        np.maximum(most, logits[n], out=most)
    total = np.zeros_like(most)
    for n in classes:
        total += np.exp(logits[n] - most)
    return most + np.log(total)


@dataclass(frozen=True, eq=False)
class NetworkView:
    """A CT as the network sees it.

    Parameters
    ----------
    volume
        `models.nnunet.grid.network_volume`.
    grid
        Where it lies: in the CT, or in what TotalSegmentator makes of it.
    coarse
        What it makes of it; None without that wrapping.
    """

    volume: NDArray[np.float32]
    grid: NetworkGrid
    coarse: CoarseCT | None


def network_view(
    hu: NDArray[np.int16] | NDArray[np.float32],
    ct: Geometry,
    recipe: NnunetRecipe,
    spacing_mm: Sequence[float],
) -> NetworkView:
    """Return a CT as a network sees it; parameters as of `evaluate`."""
    grid, coarse = _grid(hu, ct, recipe, spacing_mm)
    hu = hu if coarse is None else coarse.hu
    return NetworkView(network_volume(hu, grid, recipe), grid, coarse)


def window_count(
    hu: NDArray[np.int16] | NDArray[np.float32],
    ct: Geometry,
    recipe: NnunetRecipe,
    spacing_mm: Sequence[float],
    window: Sequence[int],
) -> int:
    """Return how many windows the network is asked about for a CT, mirrored ones too; as `evaluate`."""
    grid, _ = _grid(hu, ct, recipe, spacing_mm)
    return len(placed(grid.shape, window, recipe.step)) * 2 ** len(recipe.mirrored)


def _grid(
    hu: NDArray[np.int16] | NDArray[np.float32],
    ct: Geometry,
    recipe: NnunetRecipe,
    spacing_mm: Sequence[float],
) -> tuple[NetworkGrid, CoarseCT | None]:
    coarse = None
    if recipe.wrapping == "totalsegmentator":
        coarse = coarse_ct(hu, ct, recipe.axes, spacing_mm)
        hu, ct = coarse.hu, coarse.geometry
        # As many voxels as there are: nothing is resampled twice.
        spacing_mm = [ct.spacing_mm[axis] for axis in Turn.between(ct, recipe.axes).order]
    return network_grid(hu, ct, recipe.axes, spacing_mm), coarse


def evaluate(
    hu: NDArray[np.int16] | NDArray[np.float32],
    ct: Geometry,
    recipe: NnunetRecipe,
    spacing_mm: Sequence[float],
    window: Sequence[int],
    network: Logits,
    tuned: Sequence[int] = (),
    watch: Watch | None = None,
) -> Evaluated:
    """Ask a network about a CT, as nnU-Net asks it.

    Parameters
    ----------
    hu
        Hounsfield units, axes (k, j, i).
    ct
        Their grid.
    recipe
        Which way.
    spacing_mm, window
        Voxels that were planned, millimetres, and how many a window has, both along the network's axes.
    network
        Answers one window with a logit for each class of the recipe, then one for each head that was tuned.
    tuned
        The classes of those heads.
    watch
        As `models.nnunet.windows.blended_logits`.

    Raises
    ------
    InvalidRelease
        As `models.nnunet.windows.blended_logits`.
    """
    return evaluate_view(network_view(hu, ct, recipe, spacing_mm), recipe, window, network, tuned, watch)


def evaluate_view(
    view: NetworkView,
    recipe: NnunetRecipe,
    window: Sequence[int],
    network: Logits,
    tuned: Sequence[int] = (),
    watch: Watch | None = None,
) -> Evaluated:
    """Ask a network about a CT as it sees it; as `evaluate`."""
    classes = len(recipe.classes)
    logits = blended_logits(
        view.volume, window, recipe.step, network, classes + len(tuned), recipe.mirrored, watch
    )
    own = dict(zip(tuned, logits[classes:], strict=True))
    return Evaluated(recipe, logits[:classes], view.grid, view.coarse, own)
