"""How much is read of one file, and kept of all files of one source, whatever they claim.

What pydicom makes of a header is some hundred times as large as the header: an empty item of 8 bytes takes
700 bytes and 40 microseconds, and deflate makes a thousand such of 8 bytes in the file. So items and reads
are counted, not bytes alone.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024**2


@dataclass(frozen=True)
class Limits:
    """The most that is read of one file.

    Parameters
    ----------
    what
        What is no larger, for messages.
    file_bytes
        Size of the file.
    inflated_bytes
        What a deflated data set may inflate to (PS3.5 A.5).
    header_bytes
        What is read before the pixels, bytes.
    reads
        Reads of pydicom before the pixels: two or three for an element, two for an item.
    items
        Items of sequences before the pixels, at any depth.
    """

    what: str
    file_bytes: int
    inflated_bytes: int
    header_bytes: int
    reads: int
    items: int


IMAGE = Limits("any CT image", 512 * MIB, 64 * MIB, 16 * MIB, 30_000, 10_000)
"""A CT image of 4096 x 4096 pixels takes 32 MiB, its header some kilobytes in some hundred elements."""

SEG = Limits("any SEG", 1024 * MIB, 1024 * MIB, 64 * MIB, 1_000_000, 100_000)
"""Nine fractional organs on 300 slices of 512 x 512 take 0.7 GB; 12,000 frames take eight items and
some eighty reads each."""

HEAD_BYTES = 64 * 1024
"""So much is read of a file, or inflated of it, to tell which object it is."""

DEEPEST = 32
"""The deepest that sequences lie in each other; a SEG's lie five deep."""

KEPT_BYTES, KEPT_OBJECTS = 64 * 1024, 2_000
"""The most that is kept of one header: bytes of its values; elements and items at any depth."""

SOURCE_BYTES, SOURCE_OBJECTS = 256 * MIB, 2_000_000
"""The most that is kept of the headers of one source together: hundred elements each of 20,000 images."""
