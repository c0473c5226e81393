"""Masks kept by the box that holds all they draw, a bit a voxel: what is drawn costs, not the CT round it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
"""Slices along (k, j, i), with start and stop."""

Shape = tuple[int, int, int]
"""Voxels along (k, j, i)."""

NOWHERE: Box = (slice(0, 0), slice(0, 0), slice(0, 0))

PLANE_BYTES = 1024
"""What one plane takes besides its bits while a mask is laid plane by plane: objects, at most."""

_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(axis=1, dtype=np.uint8)
"""How many bits of each byte are set; numpy 1.26 cannot count them."""


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> Box | None:
    """Return the smallest box round a (k, j, i) mask, grown by a margin of voxels; None when empty."""
    tight: list[slice] = []
    for axis in range(3):
        hits = np.flatnonzero(mask[tuple(tight)].any(axis=tuple(a for a in range(3) if a != axis)))
        if hits.size == 0:
            return None
        tight.append(slice(int(hits[0]), int(hits[-1]) + 1))
    k, j, i = (
        slice(max(side.start - margin, 0), min(side.stop + margin, count))
        for side, count in zip(tight, mask.shape, strict=True)
    )
    return (k, j, i)


@dataclass(frozen=True, eq=False)
class BoxedMask:
    """Which voxels of a grid belong to an organ; made by `of`, `part`, `empty` and the operators.

    Two of one grid are combined by ``&``, ``|``, ``^`` and ``-`` (in the first and not in the second), and
    equal where they draw the same voxels. None is ever changed.

    Parameters
    ----------
    shape
        Of the grid.
    box
        The smallest that holds every voxel drawn; `NOWHERE` where none is.
    bits
        Axes (k, j, byte) in the box, uint8, a bit a voxel along i, the first in the highest; not writable.
    """

    shape: Shape
    box: Box
    bits: NDArray[np.uint8]

    __array_ufunc__ = None  # an array is no mask of ours: numpy must not take the mask for a number

    @classmethod
    def empty(cls, shape: Shape) -> BoxedMask:
        """Return the mask of a grid that draws nothing."""
        return cls(shape, NOWHERE, _packed(np.zeros((0, 0, 0), dtype=bool)))

    @classmethod
    def of(cls, dense: NDArray[np.bool_]) -> BoxedMask:
        """Return the mask that an array is, axes (k, j, i), bool.

        Raises
        ------
        ValueError
            If the array is not three-dimensional and bool.
        """
        if dense.ndim != 3:
            raise ValueError(f"a mask has three axes, not {dense.ndim}")
        k, j, i = dense.shape
        return cls.part(dense, (slice(0, k), slice(0, j), slice(0, i)), (k, j, i))

    @classmethod
    def part(cls, inside: NDArray[np.bool_], box: Box, shape: Shape) -> BoxedMask:
        """Return the mask that draws within a box of a grid what an array says, and nothing elsewhere.

        Raises
        ------
        ValueError
            If the array is not bool, or not of the box's size.
        """
        if inside.dtype != np.bool_ or inside.shape != tuple(side.stop - side.start for side in box):
            raise ValueError(f"a mask is bool and of its box's size, not {inside.dtype} {inside.shape}")
        tight = bounding_box(inside)
        if tight is None:
            return cls.empty(shape)
        # packed across the order in which an array lies (NIfTI's), bits take a hundred times as long
        return cls(shape, _moved(tight, box, 1), _packed(np.ascontiguousarray(inside[tight])))

    @classmethod
    def of_slices(cls, drawn: NDArray[np.bool_], shape: Shape) -> BoxedMask:
        """Return the mask that draws every voxel of the slices named, shape (slices,), and of no other."""
        slices = np.flatnonzero(drawn)
        if slices.size == 0:
            return cls.empty(shape)
        box = (slice(int(slices[0]), int(slices[-1]) + 1), slice(0, shape[1]), slice(0, shape[2]))
        inside = np.zeros((box[0].stop - box[0].start, *shape[1:]), dtype=bool)
        inside[slices - box[0].start] = True
        return cls(shape, box, _packed(inside))

    @property
    def nbytes(self) -> int:
        """Bytes that its voxels take."""
        return self.bits.nbytes

    @cached_property
    def voxels(self) -> int:
        """How many voxels it draws."""
        return int(_ONES[self.bits].sum(dtype=np.intp))

    @property
    def inside(self) -> NDArray[np.bool_]:
        """Its voxels within `box`, axes (k, j, i)."""
        return self.within(self.box)

    def any(self) -> bool:
        """Tell whether it draws any voxel."""
        return self.box != NOWHERE

    def within(self, box: Box) -> NDArray[np.bool_]:
        """Return its voxels within any box of the grid, axes (k, j, i), bool."""
        k, j, i = (side.stop - side.start for side in box)
        found = np.zeros((k, j, i), dtype=bool)
        both = _intersection(self.box, box)
        if both is not None:
            k_, j_, i_ = _moved(both, self.box, -1)
            first = i_.start // 8
            part = np.unpackbits(self.bits[k_, j_, first : (i_.stop + 7) // 8], axis=-1)
            found[_moved(both, box, -1)] = part[..., i_.start - 8 * first : i_.stop - 8 * first]
        return found

    def dense(self) -> NDArray[np.bool_]:
        """Return the voxels of the whole grid, axes (k, j, i), bool."""
        k, j, i = self.shape
        return self.within((slice(0, k), slice(0, j), slice(0, i)))

    def plane(self, k: int) -> NDArray[np.bool_]:
        """Return the voxels of one slice, axes (row, column), bool."""
        _, j, i = self.shape
        plane: NDArray[np.bool_] = self.within((slice(k, k + 1), slice(0, j), slice(0, i)))[0]
        return plane

    def centre(self) -> NDArray[np.float64]:
        """Return the mean (k, j, i) of the voxels it draws, shape (3,).

        Raises
        ------
        ValueError
            If it draws none.
        """
        if not self.any():
            raise ValueError("an empty mask has no centre")
        inside, mean = self.inside, []
        for axis, side in enumerate(self.box):
            counts = np.count_nonzero(inside, axis=tuple(a for a in range(3) if a != axis))
            mean.append(int(counts @ np.arange(side.start, side.stop)) / self.voxels)
        return np.array(mean)

    def by_slice(self) -> NDArray[np.intp]:
        """Return how many voxels it draws on each slice, shape (slices,)."""
        found = np.zeros(self.shape[0], dtype=np.intp)
        found[self.box[0]] = _ONES[self.bits].sum(axis=(1, 2), dtype=np.intp)
        return found

    def changed_by_slice(self, other: BoxedMask) -> NDArray[np.intp]:
        """Return how many voxels of each slice just one of the two draws, shape (slices,)."""
        return self.by_slice() + other.by_slice() - 2 * (self & other).by_slice()

    def packed(self) -> Iterator[bytes]:
        """Yield what `numpy.packbits` makes of the whole grid, in pieces, never the whole at once."""
        slices, rows, columns = self.shape
        for k in range(0, slices, 8):  # eight slices of whatever size are whole bytes
            box = (slice(k, min(k + 8, slices)), slice(0, rows), slice(0, columns))
            if _intersection(self.box, box) is None:
                yield bytes(((box[0].stop - k) * rows * columns + 7) // 8)
            else:
                yield np.packbits(self.within(box)).tobytes()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BoxedMask):
            return NotImplemented
        return (self.shape, self.box) == (other.shape, other.box) and np.array_equal(self.bits, other.bits)

    def __and__(self, other: BoxedMask) -> BoxedMask:
        self._require_grid(other)
        box = _intersection(self.box, other.box)
        if box is None:
            return BoxedMask.empty(self.shape)
        return BoxedMask.part(self.within(box) & other.within(box), box, self.shape)

    def __or__(self, other: BoxedMask) -> BoxedMask:
        self._require_grid(other)
        if not (self.any() and other.any()):
            return self if self.any() else other
        box = _hull(self.box, other.box)
        both = self.within(box)
        both |= other.within(box)
        return BoxedMask(self.shape, box, _packed(both))

    def __sub__(self, other: BoxedMask) -> BoxedMask:
        self._require_grid(other)
        if _intersection(self.box, other.box) is None:
            return self
        return BoxedMask.part(self.inside & ~other.within(self.box), self.box, self.shape)

    def __xor__(self, other: BoxedMask) -> BoxedMask:
        return (self - other) | (other - self)

    def _require_grid(self, other: BoxedMask) -> None:
        if self.shape != other.shape:
            raise ValueError(f"masks of two grids: {self.shape} is not {other.shape}")


class MaskByPlanes:
    """A mask that comes plane by plane, in any order; each plane is kept by its own box.

    Parameters
    ----------
    shape
        Of the grid.
    """

    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._planes: dict[int, BoxedMask] = {}
        self._box = NOWHERE
        self._held = 0

    @property
    def nbytes(self) -> int:
        """Bytes that its planes take, or the box round all of them will, whichever is more."""
        k, j, i = (side.stop - side.start for side in self._box)
        return max(self._held, k * j * ((i + 7) // 8))

    def any(self) -> bool:
        """Tell whether it draws any voxel so far."""
        return self._box != NOWHERE

    def lay(self, k: int, plane: BoxedMask) -> bool:
        """Lay a plane, a mask of one slice, on slice k; tell whether none was there, or the same.

        Raises
        ------
        ValueError
            If the plane is of another size.
        """
        if plane.shape != (1, *self._shape[1:]):
            raise ValueError(f"a plane of {plane.shape} is no slice of {self._shape}")
        if k in self._planes:
            return self._planes[k] == plane
        self._planes[k] = plane
        self._held += plane.nbytes + PLANE_BYTES
        if plane.any():
            at = (slice(k, k + 1), *plane.box[1:])
            self._box = _hull(self._box, at) if self._box != NOWHERE else at
        return True

    def unite(self, k: int, plane: BoxedMask) -> None:
        """Lay a plane on slice k, over what is there.

        Raises
        ------
        ValueError
            If the plane is of another size.
        """
        before = self._planes.pop(k, None)
        if before is not None:
            self._held -= before.nbytes + PLANE_BYTES
            plane = before | plane
        self.lay(k, plane)

    def whole(self) -> BoxedMask:
        """Return the mask."""
        if self._box == NOWHERE:
            return BoxedMask.empty(self._shape)
        slices, rows, columns = self._box
        width = (columns.stop - columns.start + 7) // 8
        bits = np.zeros((slices.stop - slices.start, rows.stop - rows.start, width), dtype=np.uint8)
        for k, plane in self._planes.items():
            if plane.any():
                bits[k - slices.start] = _packed(plane.within((slice(0, 1), rows, columns)))[0]
        bits.setflags(write=False)
        return BoxedMask(self._shape, self._box, bits)


def _packed(inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    bits = np.packbits(inside, axis=-1)
    bits.setflags(write=False)
    return bits


def _intersection(one: Box, other: Box) -> Box | None:
    k, j, i = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (k, j, i) if all(side.start < side.stop for side in (k, j, i)) else None


def _hull(one: Box, other: Box) -> Box:
    k, j, i = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return (k, j, i)


def _moved(box: Box, origin: Box, direction: int) -> Box:
    """Return a box moved by where another begins, away from the corner of the grid (1) or to it (-1)."""
    k, j, i = (
        slice(side.start + direction * by.start, side.stop + direction * by.start)
        for side, by in zip(box, origin, strict=True)
    )
    return (k, j, i)
