"""From logits on the network's grid to labels on the CT's.

nnU-Net brings the logits of every class to the CT's grid, rounds them to float16 and decides there. Where the
eight voxels of the network round one of the CT are decided alike, so is it: a mean keeps the order. Only
elsewhere are logits interpolated. The labels are the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from models.nnunet.grid import NetworkGrid, nearest

ROUNDED = 2.0**-10
"""Two means of float16 may become equal where they differ by no more of their size than this."""

LEAST = 2.0**-24
"""The smallest float16 over 0. Of it the sigmoid, as float32, is 1/2 still: no region begins there."""

AT_ONCE = 2**18
"""Voxels of the CT whose logits are interpolated at the same time."""

Labels = NDArray[np.uint8] | NDArray[np.uint16]


def class_labels(logits: NDArray[np.float16], grid: NetworkGrid) -> Labels:
    """Return the class of the largest logit at each voxel of the CT.

    Parameters
    ----------
    logits
        Axes (class, k, j, i), on the network's grid.
    grid
        Where that lies in the CT.

    Returns
    -------
    ndarray
        Axes (k, j, i) of the CT; the lowest of equal classes, and 0 outside the box that was cut out.
    """
    winner, sure = winners(logits)
    labels: Labels = np.zeros(grid.turned_shape, dtype=winner.dtype)
    inside = labels[grid.box]
    for k, plane in enumerate(_planes(grid)):
        inside[k], agreed = plane.decided(winner, sure)
        for part in _parts(~agreed):
            inside[k][part] = _largest(logits, plane.corners(*part))
    return grid.turn.undo(labels)


def private_mask(
    own: NDArray[np.float16], logits: NDArray[np.float16], number: int, grid: NetworkGrid
) -> NDArray[np.bool_]:
    """Return where a head of its own has a larger logit than every other class of the network has.

    Parameters
    ----------
    own
        Its logits, axes (k, j, i), on the network's grid.
    logits
        Of the network as it was imported, axes (class, k, j, i).
    number
        The class that the head took over; the network's own logit of it counts no more.
    grid
        As `class_labels`.

    Returns
    -------
    ndarray
        Axes (k, j, i) of the CT, bool. Of equal logits that of the lower class is the larger one. Where `own`
        is the network's, this is where `class_labels` is `number`.
    """
    others = [n for n in range(len(logits)) if n != number]
    rival, most = _greatest(logits, others)
    margin = own.astype(np.float32) - most
    rival[margin > 0] = number
    sure = np.abs(margin) > ROUNDED * np.maximum(np.abs(own.astype(np.float32)), np.abs(most)) + LEAST
    mask = np.zeros(grid.turned_shape, dtype=np.bool_)
    inside = mask[grid.box]
    for k, plane in enumerate(_planes(grid)):
        said, agreed = plane.decided(rival, sure)
        inside[k] = said == number
        for part in _parts(~agreed):
            corners = plane.corners(*part)
            value = _interpolated(own, corners)
            won = np.ones(value.shape, dtype=np.bool_)
            for other in others:
                theirs = _interpolated(logits[other], corners)
                won &= (value >= theirs) if other > number else (value > theirs)
            inside[k][part] = won
    return grid.turn.undo(mask)


def wins(own: NDArray[np.float16], logits: NDArray[np.float16], number: int) -> NDArray[np.bool_]:
    """Return the same on the network's grid itself, as `private_mask`; axes (k, j, i)."""
    won = np.ones(own.shape, dtype=np.bool_)
    for other, logit in enumerate(logits):
        if other != number:
            won &= (own >= logit) if other > number else (own > logit)
    return won


def region_masks(logits: NDArray[np.float16], grid: NetworkGrid) -> Iterator[NDArray[np.bool_]]:
    """Yield, for each channel, where the sigmoid of its logit is over 1/2; axes (k, j, i) of the CT.

    Parameters
    ----------
    logits, grid
        As `class_labels`.
    """
    for logit in logits:
        mask = np.zeros(grid.turned_shape, dtype=np.bool_)
        inside, over = mask[grid.box], logit > LEAST
        everywhere = np.ones(over.shape, dtype=np.bool_)
        for k, plane in enumerate(_planes(grid)):
            inside[k], agreed = plane.decided(over, everywhere)
            for part in _parts(~agreed):
                inside[k][part] = _interpolated(logit, plane.corners(*part)) > LEAST
        yield grid.turn.undo(mask)


def winners(logits: NDArray[np.float16]) -> tuple[Labels, NDArray[np.bool_]]:
    """Return the class of the largest logit, and whether it is larger by more than rounding may take away.

    Parameters
    ----------
    logits
        Axes (class, k, j, i).
    """
    winner = _labels(logits)
    best = logits[0].astype(np.float32)
    second = np.full(best.shape, -np.inf, dtype=np.float32)
    for number in range(1, len(logits)):
        logit = logits[number].astype(np.float32)
        over = logit > best
        np.maximum(second, np.where(over, best, logit), out=second)
        np.copyto(best, logit, where=over)
        winner[over] = number
    return winner, best - second > ROUNDED * np.maximum(np.abs(best), np.abs(second)) + LEAST


def _labels(logits: NDArray[np.float16]) -> Labels:
    """Return zeros on the network's grid, of a type that holds every class."""
    shape = logits.shape[1:]
    return np.zeros(shape, dtype=np.uint8) if len(logits) <= 256 else np.zeros(shape, dtype=np.uint16)


def _greatest(logits: NDArray[np.float16], classes: Sequence[int]) -> tuple[Labels, NDArray[np.float32]]:
    """Return which of some classes has the largest logit, and that logit."""
    winner = _labels(logits)
    winner[...] = classes[0]
    most = logits[classes[0]].astype(np.float32)
    for number in classes[1:]:
        logit = logits[number].astype(np.float32)
        over = logit > most
        np.copyto(most, logit, where=over)
        winner[over] = number
    return winner, most


@dataclass(frozen=True, eq=False)
class _Line:
    """Voxels of the CT along one axis: the network's below and above, and the share of the one above."""

    below: NDArray[np.intp]
    above: NDArray[np.intp]
    share: NDArray[np.float64]

    def at(self, index: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Yield what lies below and above some voxels, and their shares."""
        less = 1 - self.share[index]
        yield self.below[index], less
        yield self.above[index], 1 - less


Corner = tuple[tuple[NDArray[np.intp], NDArray[np.float64]], ...]
"""Along k, j and i: the index on the network's grid, for each of some voxels of the CT, and its share."""


@dataclass(frozen=True, eq=False)
class _Plane:
    """One slice of the CT across the network's first axis, in the box that was cut out."""

    number: int
    lines: tuple[_Line, _Line, _Line]

    def decided(self, values: NDArray, sure: NDArray[np.bool_]) -> tuple[NDArray, NDArray[np.bool_]]:
        """Return what the first corner says, and whether all eight are sure and say the same."""
        along, rows, columns = self.lines
        below, above = along.below[self.number], along.above[self.number]
        said, agreed = values[below], sure[below] & sure[above] & (values[below] == values[above])
        agreed = agreed[rows.below] & agreed[rows.above] & (said[rows.below] == said[rows.above])
        said = said[rows.below]
        same = said[:, columns.below] == said[:, columns.above]
        return said[:, columns.below], agreed[:, columns.below] & agreed[:, columns.above] & same

    def corners(self, j: NDArray[np.intp], i: NDArray[np.intp]) -> list[Corner]:
        """Return the eight corners round some of its voxels."""
        along, rows, columns = self.lines
        return list(product(along.at(np.full_like(j, self.number)), rows.at(j), columns.at(i)))


def _planes(grid: NetworkGrid) -> Iterator[_Plane]:
    k, j, i = (
        _line(size, wanted, axis == grid.coarse_back)
        for axis, (size, wanted) in enumerate(zip(grid.shape, grid.cropped, strict=True))
    )
    for number in range(grid.cropped[0]):
        yield _Plane(number, (k, j, i))


def _line(size: int, wanted: int, coarse: bool) -> _Line:
    if coarse:
        slices = nearest(size, wanted)
        return _Line(slices, slices, np.zeros(wanted))
    position = size / wanted * (np.arange(wanted) + 0.5) - 0.5
    below = np.floor(position).astype(np.intp)
    # At the edges both are the outermost voxel, and shares are as if they were not: as scipy has it.
    return _Line(np.clip(below, 0, size - 1), np.clip(below + 1, 0, size - 1), position - below)


def _parts(unsure: NDArray[np.bool_]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    rows, columns = np.nonzero(unsure)
    for first in range(0, len(rows), AT_ONCE):
        yield rows[first : first + AT_ONCE], columns[first : first + AT_ONCE]


def _largest(logits: NDArray[np.float16], corners: list[Corner]) -> NDArray[np.intp]:
    best = np.full(len(corners[0][0][0]), -np.inf, dtype=np.float16)
    winner = np.zeros(len(best), dtype=np.intp)
    for number, logit in enumerate(logits):
        half = _interpolated(logit, corners)
        over = half > best
        best[over] = half[over]
        winner[over] = number
    return winner


def _interpolated(logit: NDArray[np.float16], corners: list[Corner]) -> NDArray[np.float16]:
    result = np.zeros(len(corners[0][0][0]))
    for (k, share_k), (j, share_j), (i, share_i) in corners:
        result += logit[k, j, i] * share_k * share_j * share_i  # in scipy's order: there are ties
    return result.astype(np.float16)
