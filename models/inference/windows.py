"""The sliding window: crop to the body, plan, predict window by window, blend.

The same code runs inside Triton (numpy 1.26) and in process (numpy 2). Everything here is
deterministic: windows are visited in one order and sums are taken in that order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby, product
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.body import BODY_HU, body_mask
from models.contract import ModelContract
from models.errors import InvalidRelease
from models.inference.compact import keep_side, round_served
from models.inference.sampled_features import FeatureSampler
from models.inference.segmentation import Segmentation
from models.masks import Box, bounding_box
from models.resampling import AIR_HU

BODY_MARGIN_MM = 10.0
"""Kept round the body's box, so that skin is never the edge of what is evaluated."""

WEIGHT_SIGMA = 0.125
"""Standard deviation of the blending weight as a fraction of the window's side."""

WEIGHT_FLOOR = 1e-3
"""Least weight, relative to the peak: a window's corner still counts where nothing else was seen."""

LOGIT_LIMIT = 60.0
"""Logits are clipped here: float16 knows no difference, and exp stays finite in float32."""

Origin = tuple[int, int, int]


WindowLogits = NDArray[np.float32] | Sequence[NDArray[np.float32]]
"""Of one window, channel by channel, axes (k, j, i)."""


class Prediction(NamedTuple):
    """What the network answers for one window.

    Parameters
    ----------
    logits
        By organ, axes (k, j, i), float32: one array, but for a network with a recipe.
    global_feature
        Shape (feature,), float32.
    member_spread
        By channel of each organ whose head has members: axes (k, j, i), float32, the standard deviation
        of the members' probabilities, 0..0.5.
    frozen
        Axes (class, k, j, i), float32: the logits of a network with a recipe, as it was imported.
    """

    logits: WindowLogits
    global_feature: NDArray[np.float32]
    member_spread: Mapping[int, NDArray[np.float32]] = MappingProxyType({})
    frozen: NDArray[np.float32] | None = None


Predict = Callable[[NDArray[np.float32]], Prediction]
"""The network for one window, axes (1, 1, k, j, i), scaled to 0..1."""

Maps = Callable[[], tuple[NDArray[np.float32], Sequence[NDArray[np.float32]]]]
"""Last features and coarser maps, finest first, of the window last answered; axes (channel, k, j, i)."""


def scale_hu(
    hu: NDArray[np.int16] | NDArray[np.float32], hu_window: tuple[float, float]
) -> NDArray[np.float32]:
    """Clip Hounsfield units to the contract's window and scale to 0..1; any shape, float32."""
    low, high = hu_window
    scaled = np.clip(hu.astype(np.float32), low, high)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    return scaled


def network_input(
    hu: NDArray[np.int16] | NDArray[np.float32], contract: ModelContract
) -> NDArray[np.float32]:
    """Return Hounsfield units as the contract's network wants them; any shape, float32."""
    return scale_hu(hu, contract.hu_window) if contract.recipe is None else contract.recipe.scaled(hu)


def axis_starts(first: int, stop: int, side: int, window: int, overlap: float) -> tuple[int, ...]:
    """Place windows along one axis so that they cover the body's extent.

    Parameters
    ----------
    first, stop
        Extent to cover, voxels, stop excluded.
    side
        Voxels of the volume along the axis.
    window
        Voxels of a window.
    overlap
        Least fraction shared by neighbours.

    Returns
    -------
    tuple of int
        First voxel of each window, ascending, spread evenly. A window reaches outside the volume
        only where the volume is smaller than the window: real voxels are better context than padding.
    """
    length = stop - first
    if side <= window:
        return (-((window - side) // 2),)
    if length <= window:
        return (min(max(first - (window - length) // 2, 0), side - window),)
    step = max(1, int(window * (1 - overlap) + 1e-9))
    gaps = -(-(length - window) // step)
    return tuple(first + (n * (length - window) + gaps // 2) // gaps for n in range(gaps + 1))


def plan(body: NDArray[np.bool_], crop: Box, contract: ModelContract) -> tuple[Origin, ...]:
    """Return the first voxel (k, j, i) of every window to evaluate, in order of k, j, i.

    Parameters
    ----------
    body
        Axes (k, j, i): `body_mask`.
    crop
        The box to cover.
    contract
        Window shape and overlap.
    """
    ks, js, is_ = (
        axis_starts(side.start, side.stop, n, window, contract.overlap)
        for side, n, window in zip(crop, body.shape, contract.window_shape, strict=True)
    )
    return tuple(o for o in product(ks, js, is_) if body[_inside(o, contract.window_shape)].any())


def study_origins(hu: NDArray[np.int16], contract: ModelContract) -> tuple[Origin, ...]:
    """Return the windows that serving evaluates of a volume on the model grid, axes (k, j, i)."""
    body, crop = _looked_at(hu, contract)
    return plan(body, crop, contract)


def _looked_at(hu: NDArray[np.int16], contract: ModelContract) -> tuple[NDArray[np.bool_], Box]:
    """Return the body and the box round it that is evaluated.

    What little of a patient a CT shows may be too small for the model grid to show. Then all counts as body,
    so that whatever passed the verdict is answered.
    """
    if contract.recipe is not None:
        raise InvalidRelease("windows of a network with a recipe of its own lie where that says")
    body = body_mask(hu) if hu.max() > BODY_HU else np.ones(hu.shape, dtype=np.bool_)
    crop = bounding_box(body, _margin(contract))
    if crop is None:
        raise ValueError("a body that is there has a box")
    return body, crop


def _margin(contract: ModelContract) -> int:
    return max(1, round(BODY_MARGIN_MM / min(contract.spacing_mm)))


def _inside(origin: Origin, shape: Sequence[int]) -> Box:
    """Slices of the volume under a window; a stop beyond the volume is cut by numpy."""
    k, j, i = (slice(max(o, 0), o + w) for o, w in zip(origin, shape, strict=True))
    return (k, j, i)


def cut(hu: NDArray[np.int16], origin: Origin, shape: Sequence[int]) -> NDArray[np.int16]:
    """Cut one window out of the volume, air where it reaches outside; axes (k, j, i)."""
    window = np.full(tuple(shape), AIR_HU, dtype=np.int16)
    voxels = hu[_inside(origin, shape)]
    start = [max(-o, 0) for o in origin]
    window[tuple(slice(s, s + n) for s, n in zip(start, voxels.shape, strict=True))] = voxels
    return window


def blend_weight(shape: Sequence[int]) -> NDArray[np.float32]:
    """Return the Gaussian weight of a window's voxels, axes (k, j, i), peak 1, at least `WEIGHT_FLOOR`.

    Notes
    -----
    Source: Isensee et al., nnU-Net, Nature Methods 18 (2021) 203: predictions lose accuracy towards
    a window's border, so the centre counts most.
    """
    weight = np.ones((1, 1, 1), dtype=np.float32)
    for axis, side in enumerate(shape):
        centre, sigma = (side - 1) / 2, WEIGHT_SIGMA * side
        # math.exp, not numpy's: the same bits under every numpy.
        line = np.array([math.exp(-0.5 * ((n - centre) / sigma) ** 2) for n in range(side)], dtype=np.float32)
        weight = weight * np.expand_dims(line, tuple(a for a in range(3) if a != axis))
    return np.maximum(weight, np.float32(WEIGHT_FLOOR))


def segment_windows(
    hu: NDArray[np.int16],
    contract: ModelContract,
    predict: Predict,
    release_digest: str | None = None,
    maps: Maps | None = None,
) -> Segmentation:
    """Segment a volume: what `blend_windows` gives, rounded as it is served (`models.inference.compact`)."""
    answer = blend_windows(hu, contract, predict, release_digest, maps)
    for channel, organ in enumerate(contract.organs):
        spreads = [answer.disagreement[channel]]
        if channel in answer.member_disagreement:
            spreads.append(answer.member_disagreement[channel])
        round_served(answer.probability[channel], spreads, contract.thresholds[organ])
    return answer


def blend_windows(
    hu: NDArray[np.int16],
    contract: ModelContract,
    predict: Predict,
    release_digest: str | None = None,
    maps: Maps | None = None,
    kind: type[Slab] | None = None,
) -> Segmentation:
    """Segment a volume window by window and blend the probabilities.

    Parameters
    ----------
    hu
        Hounsfield units on the model grid, axes (k, j, i), int16.
    contract
        What the model expects and returns.
    predict
        The network for one window. It must be a function of the window alone.
    release_digest
        Of the release the network belongs to, if it belongs to one.
    maps
        Where features shall be sampled for tuning: what the network saw of the window it answered last.
    kind
        How slabs are accumulated and written out; None: as `Slab`.

    Returns
    -------
    Segmentation
        Probabilities are the weighted mean over the windows that saw a voxel, on their side of the organ's
        threshold; disagreement their weighted standard deviation; the members' disagreement is its own
        weighted mean.

    Raises
    ------
    InvalidRelease
        If the network answers with other shapes than the contract's or with values that are no
        numbers; a NaN would otherwise read as an absent organ. If the contract has a recipe.

    Notes
    -----
    Only a slab one window deep is accumulated at a time, so that memory is the result's plus
    2 x organs x slab in float32, and one slab more for each head with members.
    """
    body, crop = _looked_at(hu, contract)
    origins = plan(body, crop, contract)
    del body
    weight = blend_weight(contract.window_shape)
    slab = (kind or Slab)(contract, crop, hu.shape)
    features: list[NDArray[np.float32]] = []
    sampler = None if maps is None else FeatureSampler(contract, len(origins), release_digest or "")
    for first, group in groupby(origins, key=lambda origin: origin[0]):
        slab.move(first)
        for origin in group:
            window = network_input(cut(hu, origin, contract.window_shape), contract)
            answer = predict(window[None, None])
            _check(answer, contract)
            slab.add(answer, weight, origin)
            features.append(answer.global_feature)
            if maps is not None and sampler is not None:
                sampler.add(origin, hu.shape, np.asarray(answer.logits), *maps())
    slab.move(crop[0].stop)
    return Segmentation(
        slab.probability,
        slab.disagreement,
        np.stack(features),
        np.array(origins, dtype=np.int32),
        release_digest,
        slab.member_disagreement,
        sampler.result() if sampler is not None else None,
    )


def _check(answer: Prediction, contract: ModelContract) -> None:
    logits, feature, spreads, _ = answer
    expected = (len(contract.organs), *contract.window_shape)
    if np.shape(logits) != expected or feature.shape != (contract.global_channels,):
        raise InvalidRelease(
            f"the network answered {np.shape(logits)} and {feature.shape}, "
            f"the contract says {expected} and {(contract.global_channels,)}"
        )
    if any(spread.shape != expected[1:] for spread in spreads.values()):
        raise InvalidRelease(f"members answered other shapes than the contract's {expected[1:]}")
    if not all(np.isfinite(values).all() for values in (*logits, feature, *spreads.values())):
        raise InvalidRelease("the network answered with values that are no finite numbers")


class Slab:
    """Running weighted mean and scatter over part of the crop, as deep along k as one window.

    Parameters
    ----------
    contract
        What the model expects and returns.
    crop
        The box that is evaluated.
    shape
        Of the volume, (k, j, i).

    Notes
    -----
    Source: D. H. D. West, Updating mean and variance estimates: an improved method, CACM 22 (1979)
    532. Unlike sums of squares it cancels nothing: equal predictions have a scatter of exactly 0.
    """

    beside = 0
    """Slices beyond a window's that are kept."""

    def __init__(self, contract: ModelContract, crop: Box, shape: tuple[int, ...]) -> None:
        organs = len(contract.organs)
        # Pages that nothing is written to cost nothing.
        self.probability = np.zeros((organs, *shape), dtype=np.float16)
        self.disagreement = np.zeros_like(self.probability)
        self.member_disagreement: dict[int, NDArray[np.float16]] = {}
        self._thresholds = [contract.thresholds[organ] for organ in contract.organs]
        self._crop = crop
        self._first = crop[0].start  # k of the slab's first slice, in the volume
        shape = tuple(side.stop - side.start for side in crop)
        shape = (min(contract.window_shape[0] + self.beside, shape[0]), *shape[1:])
        self._weight = np.zeros(shape, dtype=np.float32)
        self._mean = np.zeros((organs, *shape), dtype=np.float32)
        self._scatter = np.zeros((organs, *shape), dtype=np.float32)
        self._members: dict[int, NDArray[np.float32]] = {}

    def add(self, answer: Prediction, weight: NDArray[np.float32], origin: Origin) -> None:
        """Blend one window's answer, whose first voxel in the volume is the origin."""
        starts = (self._first, self._crop[1].start, self._crop[2].start)
        low = [max(o, s) for o, s in zip(origin, starts, strict=True)]
        high = [min(o + w, c.stop) for o, w, c in zip(origin, weight.shape, self._crop, strict=True)]
        here = tuple(slice(a - s, b - s) for a, b, s in zip(low, high, starts, strict=True))
        inside = tuple(slice(a - o, b - o) for a, b, o in zip(low, high, origin, strict=True))
        total = self._weight[here]
        total += weight[inside]
        share = weight[inside] / total  # exactly 1 for the first window at a voxel
        spread = weight[inside] * (1 - share)
        for organ, member_spread in answer.member_spread.items():
            blended = self._members.setdefault(organ, np.zeros_like(self._weight))[here]
            blended += share * (member_spread[inside] - blended)
        for organ, logit in enumerate(answer.logits):
            mean, scatter = self._mean[organ][here], self._scatter[organ][here]
            step = _sigmoid(logit[inside])
            step -= mean
            mean += share * step
            step *= step
            step *= spread
            scatter += step

    def move(self, first: int) -> None:
        """Write out the slices before `first`, which no later window sees, and start there."""
        if first <= self._first:
            return
        done = min(first - self._first, len(self._weight))
        target = (slice(self._first, self._first + done), *self._crop[1:])
        seen = np.maximum(self._weight[:done], np.finfo(np.float32).tiny)  # 0 scatter where unseen
        for organ, (mean, scatter) in enumerate(zip(self._mean, self._scatter, strict=True)):
            half = mean[:done].astype(np.float16)
            keep_side(half, mean[:done], self._thresholds[organ])
            self.probability[organ][target] = half
            self.disagreement[organ][target] = np.sqrt(scatter[:done] / seen)
        self._hold_members()
        for organ, blended in self._members.items():
            self.member_disagreement[organ][target] = blended[:done]
        self._let_go(done, first)

    def _hold_members(self) -> None:
        for organ in self._members:
            if organ not in self.member_disagreement:
                self.member_disagreement[organ] = np.zeros_like(self.probability[organ])

    def _let_go(self, passed: int, first: int) -> None:
        """Drop the first slices; the slab begins at `first` of the volume then."""
        kept = len(self._weight) - passed
        for running in (self._weight, *self._mean, *self._scatter, *self._members.values()):
            running[:kept] = running[passed:].copy()
            running[kept:] = 0
        self._first = first


def _sigmoid(logit: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probability of a logit; any shape, float32."""
    value = np.clip(logit, -LOGIT_LIMIT, LOGIT_LIMIT)
    np.negative(value, out=value)
    np.exp(value, out=value)
    value += 1
    np.reciprocal(value, out=value)
    return value
