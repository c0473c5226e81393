"""The sliding window as it is served: the bits of `models.inference.windows.segment_windows`, for less.

Of a slab that no later window sees only the boxes where an organ is are rounded and written; what lies
outside them is served as 0 and is never touched. So time and memory go with the organs, not with the volume.
"""

from __future__ import annotations

from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from models.body import body_mask
from models.contract import ModelContract
from models.errors import Refused
from models.inference.compact import FLOOR_PROBABILITY, keep_side, rounded
from models.inference.sampled_features import FeatureSampler
from models.inference.segmentation import Segmentation
from models.inference.windows import (
    BODY_MARGIN_MM,
    Maps,
    Predict,
    _check,
    _Slab,
    blend_weight,
    cut,
    plan,
    scale_hu,
)
from models.resampling import Box, bounding_box

HALF_NORMAL = np.float32(2.0**-14)
"""The least float16 with all its digits. Below it numpy takes thirty times as long to round a value."""


def serve_windows(
    hu: NDArray[np.int16],
    contract: ModelContract,
    predict: Predict,
    release_digest: str | None = None,
    maps: Maps | None = None,
) -> Segmentation:
    """Segment a volume; parameters, bits and errors as `models.inference.windows.segment_windows`."""
    body = body_mask(hu)
    crop = bounding_box(body, max(1, round(BODY_MARGIN_MM / min(contract.spacing_mm))))
    if crop is None:
        raise Refused("no-body", "the body is empty")
    origins = plan(body, crop, contract)
    del body
    weight = blend_weight(contract.window_shape)
    slab = _ServedSlab(contract, crop, hu.shape)
    features: list[NDArray[np.float32]] = []
    sampler = None if maps is None else FeatureSampler(contract, len(origins), release_digest or "")
    for first, group in groupby(origins, key=lambda origin: origin[0]):
        slab.serve_before(first)
        for origin in group:
            window = scale_hu(cut(hu, origin, contract.window_shape), contract.hu_window)
            answer = predict(window[None, None])
            _check(answer, contract)
            slab.add(answer, weight, origin)
            features.append(answer.global_feature)
            if maps is not None and sampler is not None:
                sampler.add(origin, hu.shape, answer.logits, *maps())
    slab.serve_before(crop[0].stop)
    return Segmentation(
        slab.probability,
        slab.disagreement,
        np.stack(features),
        np.array(origins, dtype=np.int32),
        release_digest,
        slab.member_disagreement,
        sampler.result() if sampler is not None else None,
    )


class _ServedSlab(_Slab):
    """A slab that writes itself out as it is served.

    What a voxel is served as depends on its 3x3x3 voxels. So a slice is written once the next one is final,
    and stays in the slab until that one is written.
    """

    def __init__(self, contract: ModelContract, crop: Box, shape: tuple[int, ...]) -> None:
        super().__init__(contract, crop, contract.window_shape[0] + 2)
        self._written = self._first
        # Pages that nothing is written to cost nothing.
        self.probability = np.zeros((len(contract.organs), *shape), dtype=np.float16)
        self.disagreement = np.zeros_like(self.probability)
        self.member_disagreement: dict[int, NDArray[np.float16]] = {}

    def serve_before(self, first: int) -> None:
        """Write out the slices that no window from `first` on changes or is beside, and let them go."""
        for organ in self._members:
            if organ not in self.member_disagreement:
                self.member_disagreement[organ] = np.zeros_like(self.probability[organ])
        last = self._crop[0].stop
        end = last if first >= last else first - 1
        if end <= self._written:
            return
        for organ in range(len(self._mean)):
            self._serve(organ, self._written, min(end, self._first + len(self._weight)))
        self._written = end
        passed, depth = min(end - 1 - self._first, len(self._weight)), len(self._weight)
        if passed <= 0:
            return
        for running in (self._weight, *self._mean, *self._scatter, *self._members.values()):
            running[: depth - passed] = running[passed:].copy()
            running[depth - passed :] = 0
        self._first = end - 1

    def _serve(self, organ: int, begin: int, end: int) -> None:
        """Write out one organ's slices from `begin` to before `end`, seen with those beside them."""
        low, high = max(begin - 1, self._first), min(end + 1, self._first + len(self._weight))
        slices = slice(low - self._first, high - self._first)
        mean = self._mean[organ][slices]
        box = bounding_box(mean > np.float32(np.float16(FLOOR_PROBABILITY)), margin=1)
        if box is None:
            return
        spreads, targets = [], [self.probability[organ], self.disagreement[organ]]
        seen = np.maximum(self._weight[slices][box], np.finfo(np.float32).tiny)  # 0 scatter where unseen
        spreads.append(np.sqrt(self._scatter[organ][slices][box] / seen))
        if organ in self._members:
            spreads.append(self._members[organ][slices][box])
            targets.append(self.member_disagreement[organ])
        fields = [_half(values) for values in (mean[box], *spreads)]
        keep_side(fields[0], mean[box], self._thresholds[organ])
        origin = (low, self._crop[1].start, self._crop[2].start)
        # Beyond what was evaluated the volume goes on, served as 0.
        pads = [
            (int(side.start == 0 < o), int(side.stop == n and o + n < whole))
            for side, o, n, whole in zip(box, origin, mean.shape, self.probability.shape[1:], strict=True)
        ]
        if np.any(pads):
            fields = [np.pad(field, pads) for field in fields]
        own = tuple(slice(a, a + s.stop - s.start) for (a, _), s in zip(pads, box, strict=True))
        fields = [field[own] for field in rounded(fields[0], fields[1:], self._thresholds[organ])]
        here = slice(max(begin, low + box[0].start), min(end, low + box[0].stop))
        place = tuple(slice(o + s.start, o + s.stop) for o, s in zip(origin[1:], box[1:], strict=True))
        part = slice(here.start - low - box[0].start, here.stop - low - box[0].start)
        if here.start < here.stop:
            for target, field in zip(targets, fields, strict=True):
                target[(here, *place)] = field[part]


def _half(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return values of 0 or more rounded to float16, as numpy rounds them."""
    half: NDArray[np.float16] = np.maximum(values, HALF_NORMAL).astype(np.float16)
    # 0.5 and a half's last digit are as far apart as a float32's first and last: adding rounds to that digit.
    digits = (values + np.float32(0.5)).view(np.uint32) - np.float32(0.5).view(np.uint32)
    np.copyto(half.view(np.uint16), digits.astype(np.uint16), where=values < HALF_NORMAL)
    return half
