"""The sliding window as it is served: the bits of `models.inference.windows.segment_windows`, for less.

Of a slab that no later window sees only the boxes where an organ is are rounded and written; what lies
outside them is served as 0 and is never touched. So time and memory go with the organs, not with the volume.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelContract
from models.inference.compact import FLOOR_PROBABILITY, keep_side, rounded
from models.inference.segmentation import Segmentation
from models.inference.windows import Maps, Predict, Slab, blend_windows
from models.masks import Box, bounding_box

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
    return blend_windows(hu, contract, predict, release_digest, maps, _ServedSlab)


class _ServedSlab(Slab):
    """A slab that writes itself out as it is served.

    What a voxel is served as depends on its 3x3x3 voxels. So a slice is written once the next one is final,
    and stays in the slab until that one is written.
    """

    beside = 2

    def __init__(self, contract: ModelContract, crop: Box, shape: tuple[int, ...]) -> None:
        super().__init__(contract, crop, shape)
        self._written = self._first

    def move(self, first: int) -> None:
        """Write out the slices that no window from `first` on changes or is beside, and let them go."""
        self._hold_members()
        last = self._crop[0].stop
        end = last if first >= last else first - 1
        if end <= self._written:
            return
        for organ in range(len(self._mean)):
            self._serve(organ, self._written, min(end, self._first + len(self._weight)))
        self._written = end
        if end - 1 > self._first:
            self._let_go(min(end - 1 - self._first, len(self._weight)), end - 1)

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
