"""Served results made small: what no mask and no finding depends on is rounded, then packed without loss.

Rounding is part of the served result, wherever it is computed: in process and through a server the bits
are the same. Packing is how it travels, and gives back every bit.

A mask on any grid is the interpolated probability at or above the organ's threshold. Between eight voxels
on one side of the threshold the interpolated value is on that side too, whatever they are; so a voxel
keeps its float16 where the 3x3x3 voxels round it lie on both sides, or its value lies close to the
threshold, and masks keep their bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.masks import Box, bounding_box

FLOOR_PROBABILITY = 0.01
"""At or below this, and away from the organ's surface, a probability is served as 0. What judges uncertainty
takes 0.02 for 0 already; and a mean of 0.01 allows a standard deviation of 0.0995, which is nowhere told."""

STEPS = 225
"""Other probabilities, and disagreements, are served in so many equal steps of their range. 0.02, the limit
of `models.resampling.NEGLIGIBLE_PROBABILITY`, lies half-way between two of them: nothing crosses it."""

THRESHOLD_GUARD = 1 / 64
"""Nearer to the threshold than this a probability is not rounded, so that no arithmetic can carry it over."""

DISAGREEMENT_RANGE = 0.5
"""A standard deviation of probabilities is at most this."""

PARTS = {"box": np.int32, "code": np.uint8, "exact": np.float16}
"""Of a packed field, with their types."""

_EXACT = 255  # the code of a value that lies on no step; the value itself follows apart


def keep_side(half: NDArray[np.float16], exact: NDArray[np.float32], threshold: float) -> None:
    """Put back under the threshold, in place, what was rounded up to it: the mask stays the exact one's.

    Parameters
    ----------
    half, exact
        Probabilities of one organ rounded to float16, and before; any shape.
    threshold
        Probability at and above which a voxel belongs to the organ; it too counts as a float16.
    """
    limit = np.float16(threshold)
    rounded_up = (half == limit) & (exact < np.float32(limit))
    half[rounded_up] = np.nextafter(limit, np.float16(0))


def round_served(
    probability: NDArray[np.float16], disagreements: Sequence[NDArray[np.float16]], threshold: float
) -> None:
    """Round one organ's answer in place.

    Parameters
    ----------
    probability
        Axes (k, j, i), 0..1.
    disagreements
        Of the windows, and of the members where the head has some: same axes, 0..0.5. 0 where the
        probability becomes 0.
    threshold
        Probability at and above which a voxel belongs to the organ.

    Notes
    -----
    Largest changes: 0.01 of a probability at 0.01 or below, 0.0025 of any other, 0.0012 of a disagreement
    where the probability is served.
    """
    box = bounding_box(probability > FLOOR_PROBABILITY, margin=1)
    if box is None:
        for field in (probability, *disagreements):
            field[...] = 0
        return
    served = rounded(probability[box], [field[box] for field in disagreements], threshold)
    for field, values in zip((probability, *disagreements), served, strict=True):
        field[...] = 0
        field[box] = values


def rounded(
    probability: NDArray[np.float16], disagreements: Sequence[NDArray[np.float16]], threshold: float
) -> list[NDArray[np.float16]]:
    """Return one organ's probability and disagreements as `round_served` leaves them, of a part of a volume.

    At the part's faces it counts as if the outermost voxels went on beyond them.
    """
    inside = probability >= threshold
    exact = _beside(inside)
    exact &= _beside(~inside)
    exact |= np.abs(probability.astype(np.float32) - np.float32(threshold)) < THRESHOLD_GUARD
    steps = _rounding(1.0).value[probability.view(np.uint16)]
    steps[probability <= FLOOR_PROBABILITY] = 0
    fields = [np.where(exact, probability, steps)]
    served = exact | (steps > 0)
    for field in disagreements:
        spread = _rounding(DISAGREEMENT_RANGE).value[field.view(np.uint16)]
        spread[~served] = 0
        fields.append(spread)
    return fields


def stepped(values: NDArray[np.float32], full: float, floor: float = 0.0) -> NDArray[np.float16]:
    """Return values that no mask depends on, any shape, each the nearest of the steps from 0 to `full`.

    What is not over the floor becomes 0.
    """
    half = values.astype(np.float16)
    steps: NDArray[np.float16] = _rounding(full).value[half.view(np.uint16)]
    steps[half <= floor] = 0
    return steps


@dataclass(frozen=True, eq=False)
class PackedField:
    """A field of several organs, each in the box where it is not zero.

    Parameters
    ----------
    box
        Axes (organ, 6), int32: first voxel (k, j, i) and the one past the last; zeros for an organ that
        is 0 everywhere.
    code
        uint8, the boxes' voxels one after the other in (organ, k, j, i) order: 0 to 225 stands for that
        many steps, 255 for the next of `exact`.
    exact
        float16: values that lie on no step.
    """

    box: NDArray[np.int32]
    code: NDArray[np.uint8]
    exact: NDArray[np.float16]

    def tensors(self, name: str) -> dict[str, NDArray]:
        """Return the arrays under a tensor's name for each part, e.g. ``probability_{}``."""
        return {name.format(part): getattr(self, part) for part in PARTS}


def pack(field: Sequence[NDArray[np.float16]] | NDArray[np.float16], full: float) -> PackedField:
    """Pack a field; `unpack` gives back every bit.

    Parameters
    ----------
    field
        Organs, each with axes (k, j, i), 0 to `full`.
    full
        Value of the last step.
    """
    code_of = _rounding(full).code
    boxes = np.zeros((len(field), 6), dtype=np.int32)
    codes: list[NDArray[np.uint8]] = []
    exact: list[NDArray[np.float16]] = []
    for row, organ in zip(boxes, field, strict=True):
        box = _box_of(organ)
        if box is None:
            continue
        row[:3], row[3:] = [side.start for side in box], [side.stop for side in box]
        values = organ[box].ravel()
        codes.append(code_of[values.view(np.uint16)])
        exact.append(values[codes[-1] == _EXACT])
    return PackedField(boxes, _joined(codes, np.uint8), _joined(exact, np.float16))


def unpack(packed: PackedField, shape: tuple[int, int, int], full: float) -> NDArray[np.float16]:
    """Return the field that was packed, axes (organ, k, j, i).

    Parameters
    ----------
    packed
        What `pack` gave.
    shape
        Voxels of the field along (k, j, i).
    full
        Value of the last step, as it was packed.

    Raises
    ------
    ValueError
        If boxes do not lie in the shape, codes and exact values are not as many as they ask for, or a code
        stands for nothing.
    """
    field = np.zeros(
        (len(packed.box), *shape), dtype=np.float16
    )  # pages that nothing is written to cost nothing
    table = np.zeros(256, dtype=np.float16)
    table[: STEPS + 1] = _step_values(full)
    sizes = [_box(row, shape) for row in packed.box]
    counts = [int(np.prod([side.stop - side.start for side in box])) for box in sizes]
    if sum(counts) != len(packed.code) or np.count_nonzero(packed.code == _EXACT) != len(packed.exact):
        raise ValueError(
            f"{len(packed.code)} codes and {len(packed.exact)} exact values do not fill {sum(counts)} voxels"
        )
    if ((packed.code > STEPS) & (packed.code < _EXACT)).any():
        raise ValueError(
            f"codes are 0 to {STEPS} or {_EXACT}, not {packed.code[packed.code != _EXACT].max()}"
        )
    first = taken = 0
    for organ, box, count in zip(field, sizes, counts, strict=True):
        code = packed.code[first : first + count]
        values = table[code]
        other = np.flatnonzero(code == _EXACT)
        values[other] = packed.exact[taken : taken + len(other)]
        organ[box] = values.reshape(organ[box].shape)
        first, taken = first + count, taken + len(other)
    return field


def _beside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels whose 3x3x3 voxels hold one of the mask."""
    near = mask
    for axis in range(3):
        grown = near.copy()
        upper, lower = np.moveaxis(grown, axis, 0), np.moveaxis(near, axis, 0)
        upper[1:] |= lower[:-1]
        upper[:-1] |= lower[1:]
        near = grown
    return near


def _box_of(field: NDArray[np.float16]) -> Box | None:
    """Return the box where a field, axes (k, j, i), is not zero: slice by slice, as most are zero."""
    bits = field.view(np.uint16)
    slices = np.flatnonzero(bits.reshape(len(bits), -1).max(axis=1))
    if slices.size == 0:
        return None
    first, stop = int(slices[0]), int(slices[-1]) + 1
    plane = bounding_box(bits[first:stop].max(axis=0, keepdims=True) > 0)
    assert plane is not None
    return (slice(first, stop), *plane[1:])


class _Rounding(NamedTuple):
    """Of every float16, by its bits: the nearest step's value, and its code, 255 where it is no step."""

    value: NDArray[np.float16]
    code: NDArray[np.uint8]


@cache
def _rounding(full: float) -> _Rounding:
    every = np.arange(2**16, dtype=np.uint16)
    values = np.nan_to_num(every.view(np.float16).astype(np.float32), nan=0.0, posinf=full, neginf=0.0)
    nearest = np.clip(np.rint(values * np.float32(STEPS / full)), 0, STEPS).astype(np.uint8)
    value = _step_values(full)[nearest]
    return _Rounding(value, np.where(value.view(np.uint16) == every, nearest, _EXACT).astype(np.uint8))


def _step_values(full: float) -> NDArray[np.float16]:
    """Return the value of every step, float16, ascending."""
    return (np.arange(STEPS + 1) * (full / STEPS)).astype(np.float16)


def _box(row: NDArray[np.int32], shape: tuple[int, int, int]) -> Box:
    k, j, i = (slice(int(a), int(b)) for a, b in zip(row[:3], row[3:], strict=True))
    if any(not 0 <= s.start <= s.stop <= n for s, n in zip((k, j, i), shape, strict=True)):
        raise ValueError(f"box {row.tolist()} does not lie in {shape}")
    return (k, j, i)


def _joined(parts: list[NDArray], dtype: type) -> NDArray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype=dtype)
