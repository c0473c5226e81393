"""How much is read of one file, and kept of all files of one source, whatever they claim.

What pydicom makes of a header is some hundred times as large as the header: an empty item of 8 bytes takes
700 bytes and 40 microseconds, and deflate makes a thousand such of 8 bytes in the file. So items and reads
are counted, not bytes alone; and a small file is allowed fewer of them than a large one.
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
    most_reads, most_items
        So many of a file that is large enough to hold them without being deflated; 0 for no more.
    """

    what: str
    file_bytes: int
    inflated_bytes: int
    header_bytes: int
    reads: int
    items: int
    most_reads: int = 0
    most_items: int = 0

    def reads_in(self, file_bytes: int) -> int:
        """Return how many reads a file of a size is allowed: one more for two bytes of it."""
        return max(self.reads, min(self.most_reads, self.reads + file_bytes // 2))

    def items_in(self, file_bytes: int) -> int:
        """Return how many items a file of a size is allowed: one more for 8 bytes, the least it takes."""
        return max(self.items, min(self.most_items, self.items + file_bytes // 8))


IMAGE = Limits("any CT image", 512 * MIB, 64 * MIB, 16 * MIB, 30_000, 10_000)
"""A CT image of 4096 x 4096 pixels takes 32 MiB, its header some kilobytes in some hundred elements."""

SEG = Limits("any SEG", 1024 * MIB, 1024 * MIB, 64 * MIB, 1_000_000, 100_000, 4_000_000, 400_000)
"""Nine fractional organs on 300 slices of 512 x 512 take 0.7 GB. A frame takes eight items and some
eighty reads: so 50,000 frames are read of a file of 6 MB or more, 12,500 of one that is next to nothing."""

HEAD_BYTES = 64 * 1024
"""So much is read of a file, or inflated of it, to tell which object it is."""

DEEPEST = 32
"""The deepest that sequences lie in each other; a SEG's lie five deep."""

KEPT_BYTES, KEPT_OBJECTS = 64 * 1024, 2_000
"""The most that is kept of one header: bytes of its values; elements and items at any depth."""

SOURCE_BYTES, SOURCE_OBJECTS = 256 * MIB, 2_000_000
"""The most that is kept of the headers of one source together: hundred elements each of 20,000 images."""
