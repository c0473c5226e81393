"""Windows over the whole volume, their logits summed by Gaussian weights in float16, as nnU-Net does it.

In float16 every sum is rounded; where two classes are nearly alike, the label hangs on that. It is kept,
so that the network answers here as it did where it was trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, product

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from models.errors import InvalidRelease
from models.inference.windows import WindowLogits

SIGMA = 1 / 8
"""Of the Gaussian, of a window's side."""

PEAK = 10.0
"""Weight at the centre: more of float16's digits are used than with 1."""

HALF_NORMAL = np.float32(2.0**-14)

Origin = tuple[int, int, int]

Watch = Callable[[Origin, WindowLogits], None]
"""Told the first voxel of each window, in a volume no smaller than one, and its logits, not to be changed."""

Logits = Callable[[NDArray[np.float32]], WindowLogits]
"""The network: a window, float32 (1, 1, k, j, i), to its logits, class by class (k, j, i), read at once."""


def starts(size: int, window: int, step: float) -> tuple[int, ...]:
    """Return the first voxel of each window along one axis of a volume no smaller than a window."""
    count = int(np.ceil((size - window) / (window * step))) + 1
    if count == 1:
        return (0,)
    apart = (size - window) / (count - 1)
    return tuple(int(np.round(apart * n)) for n in range(count))


def weight(window: Sequence[int]) -> NDArray[np.float16]:
    """Return the weight of each voxel of a window, float16, none 0."""
    at_centre = np.zeros(tuple(window))
    at_centre[tuple(side // 2 for side in window)] = 1
    blurred = ndimage.gaussian_filter(at_centre, [side * SIGMA for side in window], mode="constant")
    blurred /= blurred.max() / PEAK
    half = blurred.astype(np.float16)
    half[half == 0] = half[half != 0].min()
    return half


def blended_logits(
    volume: NDArray[np.float32],
    window: Sequence[int],
    step: float,
    network: Logits,
    classes: int,
    mirrored: Sequence[int] = (),
    watch: Watch | None = None,
) -> NDArray[np.float16]:
    """Return the logits of a volume.

    Parameters
    ----------
    volume
        `models.nnunet.grid.network_volume`.
    window
        Voxels of a window along the network's axes. A smaller volume gets zeros round it.
    step
        Share of a window from one to the next.
    network
        Answers one window.
    classes
        Channels of its answer.
    mirrored
        Axes along which each window is mirrored too; the logits are averaged.
    watch
        Told each window's logits; None: nobody is.

    Returns
    -------
    ndarray
        Axes (class, k, j, i), float16, on the volume's grid.

    Raises
    ------
    InvalidRelease
        If the network answers in another shape, or with what is no number that float16 holds.
    """
    lacking = [max(side - n, 0) for side, n in zip(window, volume.shape, strict=True)]
    padded = np.pad(volume, [(n // 2, n - n // 2) for n in lacking])
    own = tuple(slice(n // 2, n // 2 + m) for n, m in zip(lacking, volume.shape, strict=True))
    weights = weight(window).astype(np.float32)
    sums = np.zeros((classes, *padded.shape), dtype=np.float16)
    total = np.zeros(padded.shape, dtype=np.float16)
    for origin in origins(padded.shape, window, step):
        here = tuple(slice(a, a + side) for a, side in zip(origin, window, strict=True))
        logits = _answered(padded[here], network, mirrored)
        shapes = [logit.shape for logit in logits]
        if shapes != [tuple(window)] * classes or not all(np.isfinite(logit).all() for logit in logits):
            said = f"{len(shapes)} logits of {sorted(set(shapes))}, not {classes} of {tuple(window)}"
            raise InvalidRelease(f"the network answered {said}, or what are no finite numbers")
        if watch is not None:
            watch(origin, logits)
        for channel in range(classes):
            weighted = logits[channel] * weights
            weighted += sums[channel][here]
            sums[channel][here] = rounded(weighted)
        del logits  # before the next ones come
        total[here] = rounded(total[here] + weights)
    seen = total[own].astype(np.float32)
    result = sums[(slice(None), *own)]
    for logit in result:
        logit[...] = rounded(logit / seen)
        if not np.isfinite(logit).all():
            raise InvalidRelease("the network's logits are too large to be summed as float16")
    return result


def rounded(values: NDArray[np.float32]) -> NDArray[np.float16]:
    """Return values rounded to float16, as numpy rounds them; they are changed.

    Below the least float16 with all its digits numpy takes twenty times as long to round a value. There, and
    beside 3/4, a half's and a single's last digits are as far apart: adding that rounds, to the same bit.
    """
    three_quarters = np.float32(0.75)
    np.copyto(values, values + three_quarters - three_quarters, where=np.abs(values) < HALF_NORMAL)
    return values.astype(np.float16)


def origins(shape: Sequence[int], window: Sequence[int], step: float) -> Iterator[Origin]:
    """Yield the first voxel of every window of a volume, in order of k, j, i."""
    k, j, i = (starts(size, side, step) for size, side in zip(shape, window, strict=True))
    yield from product(k, j, i)


def placed(shape: Sequence[int], window: Sequence[int], step: float) -> tuple[Origin, ...]:
    """Return where windows lie in a volume of such a shape: negative where they reach out before it."""
    sides = [max(n, side) for n, side in zip(shape, window, strict=True)]
    before = [(side - n) // 2 for side, n in zip(sides, shape, strict=True)]
    k, j, i = before
    return tuple((a - k, b - j, c - i) for a, b, c in origins(sides, window, step))


def _answered(window: NDArray[np.float32], network: Logits, mirrored: Sequence[int]) -> WindowLogits:
    """Return a window's logits, mean of those of its mirror images."""
    logits = network(window[None, None])
    if not mirrored:
        return logits
    mean = np.array(logits)
    for axes in chain.from_iterable(combinations(mirrored, n + 1) for n in range(len(mirrored))):
        image = np.ascontiguousarray(np.flip(window, axes))
        for logit, other in zip(mean, network(image[None, None]), strict=True):  # no copy of all of them
            logit += np.flip(other, axes)
    mean /= np.float32(2 ** len(mirrored))
    return mean
