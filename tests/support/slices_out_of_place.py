"""Series with pictures that are not of their place, made of phantoms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from models.errors import Refused
from models.series.slice_contents import Doubts, SliceContents
from models.series.verdict import Code
from tests.support.slices import regular

Stack = NDArray[np.int16]
"""Axes (k, row, column), HU."""


def judged(stack: Stack) -> Doubts:
    contents = SliceContents()
    for s, hu in zip(regular(len(stack)), stack, strict=True):
        contents.add(s, hu)
    return contents.judge()


def told_of(stack: Stack) -> str:
    """Return what becomes of a series: `refused`, `noted`, or `missed`."""
    try:
        return "noted" if judged(stack).slices else "missed"
    except Refused as refused:
        return "refused" if refused.code in (Code.SLICE_OUT_OF_PLACE, Code.MULTI_PHASE) else "missed"


def put(stack: Stack, k: int, picture: NDArray[np.generic]) -> Stack:
    """Return a stack with another picture in one slice."""
    changed = stack.copy()
    changed[k] = picture
    return changed


def ordered(stack: Stack, first: int, *others: int) -> Stack:
    """Return a stack with other slices in the place of some."""
    return np.concatenate((stack[:first], stack[list(others)], stack[first + len(others) :]))


def torn(picture: NDArray[np.int16]) -> NDArray[np.int16]:
    half = len(picture) // 2
    return np.concatenate((picture[:half], np.roll(picture[half:], picture.shape[1] // 8, axis=1)))


def half_blank(picture: NDArray[np.int16]) -> NDArray[np.int16]:
    half = len(picture) // 2
    return np.concatenate((picture[:half], np.full_like(picture[half:], -1024)))


OUT_OF_PLACE: dict[str, Callable[[Stack, int], Stack]] = {
    "blank": lambda s, k: put(s, k, np.full_like(s[k], -1024)),
    "ten blank": lambda s, k: np.concatenate((s[: k - 5], np.full_like(s[:10], -1024), s[k + 5 :])),
    "stuck": lambda s, k: ordered(s, k, k, k, k),
    "there twice": lambda s, k: put(s, k, s[k // 2]),
    "eight reversed": lambda s, k: ordered(s, k - 4, *range(k + 3, k - 5, -1)),
}
"""Pictures in the middle, round slice k, that cannot be there."""

STRANGE: dict[str, Callable[[Stack, int], Stack]] = {
    "swapped": lambda s, k: ordered(s, k, k + 1, k),
    "mirrored": lambda s, k: put(s, k, s[k][:, ::-1]),
    "from elsewhere": lambda s, k: put(s, k, s[k // 2] + 1),
    "shifted": lambda s, k: put(s, k, np.roll(s[k], s.shape[2] // 10, axis=1)),
    "five shifted": lambda s, k: np.concatenate(
        (s[:k], np.roll(s[k : k + 5], s.shape[2] // 10, 2), s[k + 5 :])
    ),
    "torn": lambda s, k: put(s, k, torn(s[k])),
    "upside down": lambda s, k: put(s, k, s[k][::-1]),
    "half blank": lambda s, k: put(s, k, half_blank(s[k])),
    "noise": lambda s, k: put(s, k, np.random.default_rng(k).integers(-1000, 1000, s[k].shape)),
    "inverted": lambda s, k: put(s, k, -s[k]),
    "three moved": lambda s, k: ordered(s, k - 6, *range(k - 3, k + 6), k - 6, k - 5, k - 4),
    "second half mirrored": lambda s, k: np.concatenate((s[:k], s[k:, :, ::-1])),
    "second half reversed": lambda s, k: np.concatenate((s[:k], s[k:][::-1])),
    "last four from the other end": lambda s, k: np.concatenate((s[:-4], s[8:4:-1] + 1)),
    "last upside down": lambda s, k: put(s, last_of(s), s[last_of(s)][::-1]),
    "last mirrored": lambda s, k: put(s, last_of(s), s[last_of(s)][:, ::-1]),
    "last two swapped": lambda s, k: ordered(s, last_of(s) - 1, last_of(s), last_of(s) - 1),
    "last three reversed": lambda s, k: ordered(s, last_of(s) - 2, *range(last_of(s), last_of(s) - 3, -1)),
    "first upside down": lambda s, k: put(s, first_of(s), s[first_of(s)][::-1]),
    "first from the middle": lambda s, k: put(s, first_of(s), s[k] + 1),
}
"""Pictures that are told, and may differ too little from those that belong there to be impossible."""


def first_of(stack: Stack) -> int:
    """Return the first slice that holds something."""
    return int(_holding(stack)[0])


def last_of(stack: Stack) -> int:
    """Return the last slice that holds something."""
    return int(_holding(stack)[-1])


def _holding(stack: Stack) -> NDArray[np.intp]:
    return np.flatnonzero(np.ptp(stack, axis=(1, 2)) > 400)


def two_passes(stack: Stack) -> Stack:
    """Return a stack of which every second slice is of another pass: contrast has come."""
    later = stack.copy()
    soft = (later > -100) & (later < 300)
    soft[::2] = False
    later[soft] += 80
    return later
