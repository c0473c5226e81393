"""Bytes changed inside a compressed frame: some of it gives another picture that is as sound a codestream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Generator = np.random.Generator

Change = Callable[[bytes, Generator], bytes]
"""From a whole frame to a damaged one."""


def bit_flipped(frame: bytes, rng: Generator) -> bytes:
    """Return the frame with one bit the other way."""
    at, changed = int(rng.integers(2, len(frame) - 2)), bytearray(frame)
    changed[at] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def overwritten(count: int) -> Change:
    """Return what writes so many random bytes over as many of a frame."""

    def change(frame: bytes, rng: Generator) -> bytes:
        at = int(rng.integers(2, len(frame) - count - 2))
        return frame[:at] + rng.bytes(count) + frame[at + count :]

    return change


def taken_out(frame: bytes, rng: Generator) -> bytes:
    """Return the frame without up to 63 bytes."""
    at = int(rng.integers(2, len(frame) - 66))
    return frame[:at] + frame[at + int(rng.integers(1, 64)) :]


CHANGES: dict[str, Change] = {
    "one bit": bit_flipped,
    "1 byte": overwritten(1),
    "8 bytes": overwritten(8),
    "64 bytes": overwritten(64),
    "up to 63 bytes taken out": taken_out,
}
