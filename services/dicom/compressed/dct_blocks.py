"""Baseline and extended JPEG: the blocks are counted, for a decoder fills up those that are missing."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from services.dicom.compressed.damage import DamagedFrame
from services.dicom.compressed.huffman_bits import NO_CODE, require_used_up
from services.dicom.compressed.jpeg import HuffmanTable, JpegFrame

_BLOCK, _COEFFICIENTS = 8, 64

_ENDS, _NONE = 256, 1024
"""What is added to the coefficients of a step where it ends the block, and where there is no such code."""

_WINDOW, _BITS = 16, 6
"""Bits that a table of steps is asked with; of an entry, those that say how many bits to go on by."""

_STEPS = 4
"""So many codes of a window are taken at once."""

_MOST_BLOCK_BYTES = 64 * 31 // 8
"""No block takes more: 64 codes of 16 bits with 15 bits of value each."""


def require_all_blocks(frame: JpegFrame) -> None:
    """Raise `DamagedFrame` unless the coded data are those of all blocks and no more.

    Parameters
    ----------
    frame
        Of baseline or extended JPEG, one component.

    Notes
    -----
    Only lengths are read, no coefficient. Source: ISO 10918-1 F.1.2 (codes), A.2 (blocks of one component).
    """
    blocks = -(-frame.rows // _BLOCK) * -(-frame.columns // _BLOCK)
    frame.require_intervals(blocks)
    first, others = frame.table(0, frame.dc_table), frame.table(1, frame.ac_table)
    for n, coded in enumerate(frame.intervals):
        count = min(frame.restart_interval or blocks, blocks - n * frame.restart_interval)
        unstuffed = coded.replace(b"\xff\x00", b"\xff")
        require_used_up(coded, _bits_of(unstuffed, count, _steps(first), *_ac_steps(others)))


def _bits_of(available: bytes, blocks: int, first: list[int], single: list[int], several: list[int]) -> int:
    """Return how many bits so many blocks take; stop once it is more than there are."""
    padded = np.frombuffer(available + bytes(_MOST_BLOCK_BYTES + 3), np.uint8).astype(np.uint32)
    words = (padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]).tolist()  # 24 bits from each byte on
    at, end, count = 0, 8 * len(available), (1 << _BITS) - 1
    for _ in range(blocks):
        step = first[words[at >> 3] >> (8 - (at & 7)) & 0xFFFF]
        if step >> _BITS >= _NONE:
            raise DamagedFrame(NO_CODE)
        at += step & count
        known = 1
        while True:
            window = words[at >> 3] >> (8 - (at & 7)) & 0xFFFF
            step = several[window]
            reached = known + (step >> _BITS)
            if reached < _COEFFICIENTS:
                at += step & count
                known = reached
                continue
            if not _ENDS < reached < _ENDS + _COEFFICIENTS:
                step = single[window]  # the block may end within the window without saying so
                reached = known + (step >> _BITS)
                if reached >= _NONE:
                    raise DamagedFrame(NO_CODE)
                if _COEFFICIENTS < reached < _ENDS:
                    raise DamagedFrame("a block of the compressed frame has too many coefficients")
            at += step & count
            known = reached
            if known >= _COEFFICIENTS:
                break
        if at > end:
            break
    return at


def _codes(table: HuffmanTable) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return length (0: none) and symbol of the code that each window begins with."""
    lengths, symbols = np.zeros((2, 1 << _WINDOW), np.int32)
    for length, code, symbol in table.codes():
        covered = slice(code << (_WINDOW - length), (code + 1) << (_WINDOW - length))
        lengths[covered], symbols[covered] = length, symbol
    return lengths, symbols


@lru_cache(maxsize=8)
def _steps(table: HuffmanTable) -> list[int]:
    """Return by window what the first code of a block takes."""
    lengths, symbols = _codes(table)
    there = (lengths > 0) & (symbols < 16)
    steps: list[int] = np.where(there, lengths + symbols, _NONE << _BITS).tolist()
    return steps


@lru_cache(maxsize=8)
def _ac_steps(table: HuffmanTable) -> tuple[list[int], list[int]]:
    """Return by window what the first of the other codes takes, and all that lie in the window."""
    lengths, symbols = _codes(table)
    run, size = symbols >> 4, symbols & 15
    bits = lengths + size
    coefficients = np.where(size > 0, run + 1, np.where(run == 15, 16, _NONE)).astype(np.int32)
    coefficients[symbols == 0] = _ENDS
    coefficients[lengths == 0] = _NONE
    single = bits | coefficients << _BITS
    windows = np.arange(1 << _WINDOW, dtype=np.int32)
    total, reached = bits.copy(), coefficients.copy()
    for _ in range(_STEPS - 1):
        behind = windows << np.minimum(total, _WINDOW) & 0xFFFF
        more = (reached < _ENDS) & (lengths[behind] > 0) & (lengths[behind] <= _WINDOW - total)
        more &= coefficients[behind] < _NONE
        total = np.where(more, total + bits[behind], total)
        reached = np.where(more, reached + coefficients[behind], reached)
    several = total | reached << _BITS
    return single.tolist(), several.tolist()
