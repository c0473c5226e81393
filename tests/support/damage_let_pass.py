"""Damage that a verdict may let pass: bytes changed in codestreams, pictures that are not of their place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from pydicom import dcmread
from pydicom.encaps import get_frame

from models.errors import Refused
from models.phantom.case import PhantomCase, make_case
from tests.support.changed_bytes import Generator, overwritten
from tests.support.damaged_frames import read, with_frames
from tests.support.encodings import LOSSLESS, LOSSY, Encoder
from tests.support.slices_out_of_place import Stack, ordered, put, told_of

ENCODERS: dict[str, Encoder] = {
    name: LOSSLESS[name][1]
    for name in ("RLE", "JPEG 2000", "HTJ2K", "JPEG lossless, process 14", "JPEG lossless, first order")
} | {name: LOSSY[name][1] for name in ("JPEG, 8 bits", "JPEG, 12 bits")}
"""Those that let changed bytes pass most often."""

ANYWHERE = ("RLE", "JPEG 2000", "HTJ2K")
"""Of which nearly all slices of a series may be damaged unseen; the others refuse one of so many."""

CHANGES: tuple[tuple[str, int, int], ...] = tuple(
    (name, count, slices)
    for slices in (1, 5, 10_000)
    for count in (1, 8, 64)
    for name in (ANYWHERE if slices > 5 else ENCODERS)
)
"""Encoding, bytes changed in each frame, and of how many neighbouring slices at most."""

TRIES = 20
"""So often a frame is changed until it is read; where it never is, it stays whole."""

WHOLE: dict[str, Callable[[Stack], Stack]] = {
    "all mirrored": lambda s: s[:, :, ::-1],
    "all upside down": lambda s: s[:, ::-1],
    "all from head to feet": lambda s: s[::-1],
}
"""Series whose pictures follow each other and lie against their headers."""


def change_frames(paths: list[Path], encode: Encoder, count: int, rng: Generator) -> int:
    """Encode slices and change bytes of each until it is read all the same; return how many were refused."""
    refused = 0
    for path in paths:
        encode(path)
        whole, dataset = path.read_bytes(), dcmread(path)
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        for _ in range(TRIES):
            with_frames(dataset, [overwritten(count)(frame, rng)], path)
            try:
                read(path)
                break
            except Refused:
                refused += 1
        else:
            path.write_bytes(whole)
    return refused


def missed(case: PhantomCase, rng: Generator, places: int) -> Iterator[tuple[str, Stack]]:
    """Yield of each kind the worst that no picture gives away, of so many places in the middle half.

    A picture of another patient is one of the same site and grid, at the same height.
    """
    stack = case.volume.hu
    other = make_case(case.site, case.seed + 1_000_000, spacing_mm=case.volume.geometry.spacing_mm).volume.hu
    kinds: dict[str, Callable[[int], Stack]] = {
        "neighbours swapped": lambda k: ordered(stack, k, k + 1, k),
        "mirrored": lambda k: put(stack, k, stack[k][:, ::-1]),
        "from two slices on": lambda k: put(stack, k, stack[k + 2] + 1),
        "moved by a pixel": lambda k: put(stack, k, np.roll(stack[k], 1, axis=1)),
        "moved by three pixels": lambda k: put(stack, k, np.roll(stack[k], 3, axis=1)),
        "inverted below 0 HU": lambda k: put(stack, k, np.where(stack[k] < 0, -1000 - stack[k], stack[k])),
    }
    if other.shape[1:] == stack.shape[1:]:
        kinds["of another patient"] = lambda k: put(stack, k, other[min(k, len(other) - 1)])
    at = rng.choice(np.arange(len(stack) // 4, 3 * len(stack) // 4), places, replace=False).tolist()
    for kind, make in kinds.items():
        unseen = [made for made in map(make, at) if told_of(made) == "missed"]
        if unseen:
            yield kind, max(unseen, key=lambda made: int(np.abs(made - stack).sum(dtype=np.int64)))
