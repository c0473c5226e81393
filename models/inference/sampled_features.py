"""Features kept while serving: what a head sees of some voxels of each window, for tuning without a trunk.

Voxels are drawn as tuning draws them, with the prediction alone: half where an organ ends or is uncertain,
the rest inside, near and far, each with one over the probability with which it was drawn, so that
weighted sums stay unbiased.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.contract import ModelContract
from models.masks import bounding_box

BUDGET_BYTES = 32 * 2**20
"""Most that the features of one study take; voxels per window follow from it."""

WINDOW_VOXELS = 4096
"""Most voxels of one window, as many as tuning draws for one organ; few windows need no more."""

SHARES = (0.4, 0.2, 0.15, 0.15, 0.1)
"""Of a window's sample: on a predicted boundary, uncertain, inside, near, far. A stratum with fewer voxels
gives all it has."""

UNCERTAIN_LOGIT = 1.386
"""An organ's probability is between 0.2 and 0.8 (`models.judgement.review_regions.UNCERTAIN_PROBABILITY`)."""

NEAR_VOXELS = 6
"""Near an organ: within so many voxels along each axis."""

NEIGHBOURS = 27


@dataclass(frozen=True, eq=False)
class SampledFeatures:
    """Voxels of one study and what a head sees of them.

    Parameters
    ----------
    window
        Shape (voxel,), int32: row of `models.inference.segmentation.Segmentation.window_origin` and of its
        `global_feature`.
    index
        Shape (voxel,), int32: position in the flattened window, (k, j, i) order, ascending in a window.
        Every voxel lies in the volume.
    weight
        Shape (voxel,), float32: one over the probability with which it was drawn.
    taps
        Axes (voxel, channel), float16: the last features of the 3x3x3 neighbours in (k, j, i) order, 0
        outside the window, then each coarser map, finest first, trilinear at the voxel.
    """

    window: NDArray[np.int32]
    index: NDArray[np.int32]
    weight: NDArray[np.float32]
    taps: NDArray[np.float16]

    def features(self, contract: ModelContract) -> NDArray[np.float16]:
        """Return the last features at the voxels, axes (voxel, channel)."""
        middle = NEIGHBOURS // 2 * contract.feature_channels
        return self.taps[:, middle : middle + contract.feature_channels]

    def neighbourhood(self, contract: ModelContract) -> NDArray[np.float16]:
        """Return the last features of the 3x3x3 neighbours, axes (voxel, 27 x channel)."""
        return self.taps[:, : NEIGHBOURS * contract.feature_channels]

    def coarse(self, contract: ModelContract) -> dict[int, NDArray[np.float16]]:
        """Return the coarser maps at the voxels by level (1 = half resolution), axes (voxel, channel)."""
        maps, first = {}, NEIGHBOURS * contract.feature_channels
        for level, channels in enumerate(contract.coarse_channels, 1):
            maps[level] = self.taps[:, first : first + channels]
            first += channels
        return maps

    def require(self, contract: ModelContract, windows: int) -> None:
        """Require that these are features of so many windows of a contract.

        Raises
        ------
        ValueError
            If shapes or indices do not fit.
        """
        count = len(self.index)
        shapes = [self.window.shape, self.index.shape, self.weight.shape, self.taps.shape]
        if shapes != [(count,)] * 3 + [(count, tap_channels(contract))]:
            raise ValueError(f"sampled features of shapes {shapes} do not fit the contract")
        voxels = int(np.prod(contract.window_shape))
        for values, limit in ((self.window, windows), (self.index, voxels)):
            if count and not (values.min() >= 0 and values.max() < limit):
                raise ValueError("sampled features name voxels that no window has")


def tap_channels(contract: ModelContract) -> int:
    """Return the channels of `SampledFeatures.taps`."""
    return NEIGHBOURS * contract.feature_channels + sum(contract.coarse_channels)


class Told(NamedTuple):
    """What is predicted in one window; axes (k, j, i), bool.

    Parameters
    ----------
    band
        On either side of where an organ ends.
    doubt
        An organ is neither likely nor unlikely there.
    organ
        Of any organ.
    """

    band: NDArray[np.bool_]
    doubt: NDArray[np.bool_]
    organ: NDArray[np.bool_]


class FeatureSampler:
    """Draws voxels of one study, window by window.

    Parameters
    ----------
    contract
        Channels, thresholds.
    windows
        How many windows the study has; they share the budget.
    release_digest
        Seeds the draw, together with each window's origin: the same study and release, the same voxels.
    """

    def __init__(self, contract: ModelContract, windows: int, release_digest: str) -> None:
        thresholds = np.array([contract.thresholds[organ] for organ in contract.organs])
        self._limits = np.log(thresholds / (1 - thresholds)).astype(np.float32)
        self._seed = zlib.crc32(release_digest.encode())
        bytes_a_voxel = 3 * 4 + 2 * tap_channels(contract)
        self.voxels = max(1, min(WINDOW_VOXELS, BUDGET_BYTES // (windows * bytes_a_voxel)))
        self._parts: list[tuple[NDArray, NDArray, NDArray, NDArray]] = []

    def add(
        self,
        origin: Sequence[int],
        shape: Sequence[int],
        logits: NDArray[np.float32],
        features: NDArray[np.float32],
        coarse: Sequence[NDArray[np.float32]],
    ) -> None:
        """Draw from the next window.

        Parameters
        ----------
        origin
            First voxel (k, j, i) of the window in the volume.
        shape
            Voxels of the volume.
        logits
            Axes (organ, k, j, i).
        features
            Axes (channel, k, j, i): the trunk's last features.
        coarse
            Each with axes (channel, k, j, i): the coarser maps, finest first.
        """
        self.add_told(origin, shape, told_by(logits, self._limits), features, coarse)

    def add_told(
        self,
        origin: Sequence[int],
        shape: Sequence[int],
        told: Told,
        features: NDArray[np.float32],
        coarse: Sequence[NDArray[np.float32]],
    ) -> None:
        """Draw from the next window by what is predicted there; parameters as `add`."""
        low = [max(-o, 0) for o in origin]
        high = [n - o for o, n in zip(origin, shape, strict=True)]
        scanned = np.zeros(told.organ.shape, dtype=np.bool_)
        scanned[tuple(slice(*pair) for pair in zip(low, high, strict=True))] = True
        number = len(self._parts)
        random = np.random.Generator(np.random.PCG64([self._seed, number, *map(abs, origin)]))
        index, weight = draw(told, scanned, self.voxels, random)
        taps = gather(features, coarse, index)
        self._parts.append((np.full(len(index), number, np.int32), index.astype(np.int32), weight, taps))

    def result(self) -> SampledFeatures:
        """Return what was drawn from all windows."""
        window, index, weight, taps = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        return SampledFeatures(window, index, weight, taps)


def told_by(logits: NDArray[np.float32], limits: NDArray[np.float32]) -> Told:
    """Return what is predicted in one window.

    Parameters
    ----------
    logits
        Axes (organ, k, j, i).
    limits
        Shape (organ,): logit at and above which a voxel belongs to the organ.
    """
    band, organ, doubt = (np.zeros(logits.shape[1:], dtype=np.bool_) for _ in range(3))
    for logit, limit in zip(logits, limits, strict=True):
        add_mask(logit >= limit, organ, band)
        doubt |= np.abs(logit) < UNCERTAIN_LOGIT
    return Told(band, doubt, organ)


def add_mask(mask: NDArray[np.bool_], organ: NDArray[np.bool_], band: NDArray[np.bool_]) -> None:
    """Add an organ's voxels, and those on either side of where it ends; axes (k, j, i), in place."""
    box = bounding_box(mask, margin=1)
    if box is not None:  # outside it nothing begins or ends
        part = mask[box]
        organ[box] |= part
        band[box] |= ndimage.binary_dilation(part) & ~ndimage.binary_erosion(part, border_value=1)


def draw(
    told: Told, scanned: NDArray[np.bool_], count: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draw voxels of one window, stratified by what is predicted there.

    Parameters
    ----------
    told
        That.
    scanned
        Axes (k, j, i): voxels that lie in the volume; no other is drawn.
    count
        Voxels to draw at most.
    random
        Where the draw comes from.

    Returns
    -------
    index : ndarray
        Positions in the flattened window, (k, j, i) order, ascending.
    weight : ndarray
        float32, one over the probability with which each was drawn; in all as many as were scanned.
    """
    near = ndimage.maximum_filter(told.organ, 2 * NEAR_VOXELS + 1)
    kind = np.select((~scanned, told.band, told.doubt, told.organ, near), (5, 0, 1, 2, 3), 4).ravel()
    index, weight = draw_strata([kind == stratum for stratum in range(len(SHARES))], SHARES, count, random)
    order = np.argsort(index)
    return index[order], weight[order]


def draw_strata(
    strata: Sequence[NDArray[np.bool_]], shares: Sequence[float], count: int, random: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Draw its share of `count` from each stratum, or all it has; ascending in each.

    Returns
    -------
    index : ndarray
        Positions in the flattened strata, one stratum after the other.
    weight : ndarray
        float32, one over the probability with which each was drawn.
    """
    drawn: list[NDArray[np.int64]] = []
    weights: list[NDArray[np.float32]] = []
    for stratum, share in zip(strata, shares, strict=True):
        found = np.flatnonzero(stratum)
        taken = min(max(round(share * count), 1), len(found))
        if taken:
            drawn.append(np.sort(random.choice(found, taken, replace=False, shuffle=False)))
            weights.append(np.full(taken, len(found) / taken, dtype=np.float32))
    return np.concatenate(drawn), np.concatenate(weights)


def gather(
    features: NDArray[np.float32], coarse: Sequence[NDArray[np.float32]], index: NDArray[np.int64]
) -> NDArray[np.float16]:
    """Return the taps of some voxels of one window; axes as in `SampledFeatures`."""
    shape = features.shape[1:]
    places = np.stack(np.unravel_index(index, shape))
    flat = features.reshape(len(features), -1)
    columns = []
    for step in np.ndindex(3, 3, 3):  # no padded copy: the features of a window are 100 MB and more
        there = places + np.array(step)[:, None] - 1
        inside = np.logical_and.reduce([(at >= 0) & (at < n) for at, n in zip(there, shape, strict=True)])
        column = flat[:, np.ravel_multi_index(tuple(there), shape, mode="clip")].T
        column[~inside] = 0
        columns.append(column)
    columns += [_interpolated(maps, places, shape) for maps in coarse]
    limit = np.finfo(np.float16).max
    return np.clip(np.concatenate(columns, axis=1), -limit, limit).astype(np.float16)


def _interpolated(
    maps: NDArray[np.float32], places: NDArray[np.int64], shape: Sequence[int]
) -> NDArray[np.float32]:
    """Return a coarser map, axes (channel, k, j, i), at voxels of the window; axes (voxel, channel)."""
    total = np.zeros((places.shape[1], len(maps)), dtype=np.float32)
    lower, part = [], []
    for place, fine, side in zip(places, shape, maps.shape[1:], strict=True):
        position = np.clip((place + 0.5) * side / fine - 0.5, 0, side - 1)
        first = np.minimum(position.astype(np.int64), max(side - 2, 0))
        lower.append(first)
        part.append((position - first).astype(np.float32))
    for corner in np.ndindex(2, 2, 2):
        at = [np.minimum(f + c, n - 1) for f, c, n in zip(lower, corner, maps.shape[1:], strict=True)]
        share = np.ones(places.shape[1], dtype=np.float32)
        for fraction, c in zip(part, corner, strict=True):
            share = share * (fraction if c else 1 - fraction)
        total += share[:, None] * maps[:, at[0], at[1], at[2]].T
    return total
