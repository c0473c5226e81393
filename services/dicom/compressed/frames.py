"""Compressed frames out of their items: as many as the header says, where the offset tables say."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydicom import Dataset

from services.dicom.compressed.damage import DamagedFrame

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
"""Tags of an item and of the end of the items (PS3.5 A.4)."""

_END, _PADDED_END_BYTES = b"\xff\xd9", 10
"""End marker of every codestream but RLE, and among how many last bytes of a fragment it is looked for."""

_HEAD_BYTES = 8
"""Tag and length of an item."""


@dataclass(frozen=True)
class _Item:
    """Where an item begins, and how many bytes it holds."""

    offset: int
    length: int

    def within(self, pixels: bytes, length: int | None = None) -> bytes:
        """Return what it holds, or so much of it."""
        start = self.offset + _HEAD_BYTES
        return pixels[start : start + (self.length if length is None else length)]


def frames_of(dataset: Dataset, count: int) -> Iterator[bytes]:
    """Return the compressed frames of an image.

    Parameters
    ----------
    dataset
        With PixelData and, where there are, the extended offset tables.
    count
        How many frames the header says there are.

    Returns
    -------
    Iterator of bytes
        The codestreams, in order; copied one at a time.

    Raises
    ------
    DamagedFrame
        If items are cut, frames are missing or too many, or an offset table does not lead to them.

    Notes
    -----
    Source: PS3.5 A.4 (items and basic offset table), PS3.3 C.7.6.3.1.8 (extended offset table).
    """
    pixels = bytes(dataset.PixelData)
    basic, fragments = _items_in(pixels)
    table, extended = basic.within(pixels), dataset.get("ExtendedOffsetTable")
    if extended:
        sizes = _sizes(fragments, extended, dataset.get("ExtendedOffsetTableLengths") or b"")
        _require_count(len(sizes), count)
        return (item.within(pixels, size) for item, size in zip(fragments, sizes, strict=True))
    if table:
        frames = _by_basic_table(fragments, table)
    elif count == 1 and fragments:
        frames = [list(fragments)]
    else:
        frames = [[item] for item in fragments]
    if len(frames) > count and not table:
        frames = _by_end_markers(fragments, pixels)
    _require_count(len(frames), count)
    return (b"".join(item.within(pixels) for item in frame) for frame in frames)


def _require_count(found: int, count: int) -> None:
    if found != count:
        raise DamagedFrame(f"{found} compressed frame(s) are there, {count} should be")


def _items_in(pixels: bytes) -> tuple[_Item, list[_Item]]:
    """Return the item of the basic offset table, and those of the fragments."""
    items: list[_Item] = []
    at = 0
    while at < len(pixels) and pixels[at : at + 4] != _DELIMITER:
        if pixels[at : at + 4] != _ITEM or at + _HEAD_BYTES > len(pixels):
            raise DamagedFrame("the items of the compressed pixels do not follow each other")
        (length,) = struct.unpack_from("<I", pixels, at + 4)
        items.append(_Item(at, length))
        at += _HEAD_BYTES + length
    if at > len(pixels):
        raise DamagedFrame("an item of the compressed pixels ends too early")
    if not items:
        raise DamagedFrame("the compressed pixels have no items")
    return items[0], items[1:]


def _numbers(table: bytes, kind: str) -> tuple[int, ...]:
    size = struct.calcsize(f"<{kind}")
    if len(table) % size:
        raise DamagedFrame("an offset table of the compressed pixels is cut")
    return struct.unpack(f"<{len(table) // size}{kind}", table)


def _offsets(fragments: Sequence[_Item]) -> list[int]:
    """Return where fragments begin, as the tables count: from the first of them on."""
    return [item.offset - fragments[0].offset for item in fragments]


def _by_basic_table(fragments: Sequence[_Item], table: bytes) -> list[list[_Item]]:
    """Put fragments together into frames, each from one offset to the next."""
    told = _numbers(table, "I")
    starts, offsets = set(told), _offsets(fragments)
    if told[0] != 0 or list(told) != sorted(starts) or not starts.issubset(offsets):
        raise DamagedFrame("the offset table of the compressed pixels does not lead to frames")
    frames: list[list[_Item]] = []
    for item, offset in zip(fragments, offsets, strict=True):
        if offset in starts:
            frames.append([])
        frames[-1].append(item)
    return frames


def _by_end_markers(fragments: Sequence[_Item], pixels: bytes) -> list[list[_Item]]:
    """Put fragments together into frames, each to the one that ends with an end marker, padded or not."""
    frames: list[list[_Item]] = [[]]
    for item in fragments:
        if frames[-1] and _END in frames[-1][-1].within(pixels)[-_PADDED_END_BYTES:]:
            frames.append([])
        frames[-1].append(item)
    return frames


def _sizes(fragments: Sequence[_Item], table: bytes, lengths: bytes) -> tuple[int, ...]:
    """Return the length of each frame, one fragment each; an item may be longer by its padding."""
    sizes = _numbers(lengths, "Q")
    if list(_numbers(table, "Q")) != _offsets(fragments) or len(sizes) != len(fragments):
        raise DamagedFrame("the extended offset table of the compressed pixels does not lead to frames")
    if any(item.length not in (size, size + size % 2) for item, size in zip(fragments, sizes, strict=True)):
        raise DamagedFrame("a compressed frame is of another length than the extended offset table says")
    return sizes
