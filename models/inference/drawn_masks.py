"""Masks as two arrays, for the way from a server: the box of each, and the bits of one after the other."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.masks import BoxedMask, Shape


def pack_masks(masks: Mapping[int, BoxedMask]) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """Return masks as arrays; `unpack_masks` gives them back.

    Parameters
    ----------
    masks
        By channel, of every channel from 0.

    Returns
    -------
    box : ndarray
        Axes (channel, 6), int32: first voxel (k, j, i) and the one past the last; zeros of an empty mask.
    bits : ndarray
        uint8, each mask's bytes as `BoxedMask.bits` has them, one mask after the other.
    """
    ordered = [masks[channel] for channel in range(len(masks))]
    box = np.array([[*(s.start for s in m.box), *(s.stop for s in m.box)] for m in ordered], dtype=np.int32)
    bits = [mask.bits.ravel() for mask in ordered]
    return box.reshape(-1, 6), np.concatenate(bits) if bits else np.zeros(0, dtype=np.uint8)


def unpack_masks(box: NDArray[np.int32], bits: NDArray[np.uint8], shape: Shape) -> dict[int, BoxedMask]:
    """Return the masks, by channel, on a grid of this shape.

    Raises
    ------
    ValueError
        If a box does not lie in the shape, or the bytes are not as many as the boxes ask for.
    """
    masks, first = {}, 0
    for channel, row in enumerate(box.tolist()):
        sides = list(zip(row[:3], row[3:], strict=True))
        if any(not 0 <= start <= stop <= n for (start, stop), n in zip(sides, shape, strict=True)):
            raise ValueError(f"box {row} does not lie in {shape}")
        k, j, i = (stop - start for start, stop in sides)
        count = k * j * ((i + 7) // 8)
        packed = bits[first : first + count]
        if len(packed) != count:
            raise ValueError(f"{len(bits)} bytes of masks, more were announced")
        inside = np.unpackbits(packed.reshape(k, j, -1), axis=-1, count=i) if count else np.zeros((k, j, i))
        where = (slice(*sides[0]), slice(*sides[1]), slice(*sides[2]))
        masks[channel] = BoxedMask.part(inside.astype(np.bool_), where, shape)
        first += count
    if first != len(bits):
        raise ValueError(f"{len(bits)} bytes of masks, {first} were announced")
    return masks
