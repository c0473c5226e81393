"""Files of which no more is read than their limits, whatever lengths they claim."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, BytesIO, FileIO
from os import SEEK_SET, fstat
from pathlib import Path
from typing import BinaryIO

from pydicom.errors import InvalidDicomError

from services.dicom.foreign.limits import Limits

SMALL_READ_BYTES = 4096
"""A read of so much is done without asking how much is left of the file."""

_ITEM_HEAD_BYTES = 8
_ITEMS = frozenset((b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00"))
"""How an item begins (PS3.5 7.5), little and big endian."""

_CUT = "the deflated data set ends too early"

_CHUNK_BYTES = 64 * 1024
_BEHIND_BYTES = 64 * 1024
"""So far pydicom goes back in what it has read: 12 bytes, or a stretch of 8 KiB."""


class TooLargeFile(InvalidDicomError):
    """The file is larger than what it says it is can be, or says or inflates to more."""


class Bounds:
    """What may still be read of a file.

    Parameters
    ----------
    limits
        Of its kind.
    size
        Bytes there are; what is wanted beyond is not there.
    pixels
        Whether the pixels are read too, and then bytes are bounded by the size alone.
    file_bytes
        Size of the file, deflated or not.
    """

    def __init__(self, limits: Limits, size: int, *, pixels: bool = False, file_bytes: int = 0) -> None:
        self.size, self.reads, self.items = size, limits.reads_in(file_bytes), limits.items_in(file_bytes)
        self.cut, self.pixels = False, pixels
        self.left = 2 * size + 1024 if pixels else limits.header_bytes  # pydicom reads some bytes again
        self.what = f"its header is larger than that of {limits.what}"

    def allowed(self, wanted: int | None, at: int) -> int:
        """Return how much of a read is done; raise once there was too much."""
        length = self.size - at if wanted is None or wanted < 0 else min(wanted, max(self.size - at, 0))
        self.left -= length
        self.reads -= 1
        if self.exceeded:
            raise TooLargeFile(self.what)
        return length

    def allows_small(self, wanted: int) -> bool:
        """Tell whether a read that cannot hurt by itself is within the limits; most are such."""
        self.left -= wanted
        self.reads -= 1
        return self.left >= 0 and self.reads >= 0 and self.items >= 0

    def counted(self, content: bytes) -> bytes:
        """Count what was read if it begins an item, and return it."""
        if len(content) == _ITEM_HEAD_BYTES and content[:4] in _ITEMS:
            self.items -= 1
        return content

    @property
    def exceeded(self) -> bool:
        """Whether there was too much; pydicom may have made another error of it."""
        return self.left < 0 or self.reads < 0 or self.items < 0

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Tell apart what was too large, what is damaged, and what the disk would not give."""
        try:
            yield
        except MemoryError as error:
            if self.pixels:  # the header was known to be small: the machine is short, and the image sound
                raise
            raise TooLargeFile("it takes more memory than there is") from error
        except Exception as error:
            if self.exceeded and not isinstance(error, TooLargeFile):
                raise TooLargeFile(self.what) from error
            if isinstance(error, OSError) and error.errno is None:  # pydicom's word for damage
                raise InvalidDicomError("it is damaged") from error
            raise
        if self.exceeded:  # pydicom makes a warning of some errors
            raise TooLargeFile(self.what)
        if self.cut:
            raise EOFError(_CUT)


class BoundedFile(BufferedReader):
    """A file on disk; without bounds a length of 4 GB in a file of 4 KB takes 4 GB."""

    def __init__(self, path: Path, limits: Limits, *, pixels: bool = False) -> None:
        super().__init__(FileIO(str(path)))
        size = fstat(self.fileno()).st_size
        self.bounds = Bounds(limits, size, pixels=pixels, file_bytes=size)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read within the bounds."""
        if size is not None and 0 <= size <= SMALL_READ_BYTES and self.bounds.allows_small(size):
            return self.bounds.counted(super().read(size))
        return super().read(self.bounds.allowed(size, self.tell()))


class BoundedBytes(BytesIO):
    """A data set, or a sequence, in memory.

    Parameters
    ----------
    content
        Its bytes.
    bounds
        Of the file that it is from.
    """

    def __init__(self, content: bytes, bounds: Bounds) -> None:
        super().__init__(content)
        self.bounds = bounds

    def read(self, size: int | None = -1, /) -> bytes:
        """Read within the bounds."""
        if size is not None and 0 <= size <= SMALL_READ_BYTES and self.bounds.allows_small(size):
            return self.bounds.counted(super().read(size))
        self.bounds.allowed(0, 0)
        return super().read(size)


class InflatedFile:
    """A deflated data set, inflated as it is read: never in memory as a whole.

    Parameters
    ----------
    file
        Where the deflated bytes begin.
    limits
        Of its kind.
    pixels, file_bytes
        As of `Bounds`.

    Raises
    ------
    TooLargeFile
        On reading, if it inflates to more than it may.
    zlib.error
        On reading, if it is no deflated data set.
    EOFError
        On reading, if it ends too early.
    """

    def __init__(self, file: BinaryIO, limits: Limits, *, pixels: bool = False, file_bytes: int = 0) -> None:
        self._file, self._inflater = file, zlib.decompressobj(-zlib.MAX_WBITS)
        self._held, self._start, self._at = bytearray(), 0, 0
        self._limits = limits
        self.bounds = Bounds(limits, limits.inflated_bytes, pixels=pixels, file_bytes=file_bytes)

    def read(self, size: int | None = -1, /) -> bytes:
        """Read so many bytes, or all that is left."""
        everything = size is None or size < 0
        wanted = self._limits.inflated_bytes if size is None or size < 0 else size
        if not self.bounds.allows_small(0 if everything else min(wanted, SMALL_READ_BYTES)):
            raise TooLargeFile(self.bounds.what)
        end = self._at + wanted
        self._drop()
        while self._start + len(self._held) < end and self._inflate():
            pass
        first = self._at - self._start
        content = bytes(self._held[first : first + wanted]) if first >= 0 else b""
        self.bounds.left -= max(len(content) - SMALL_READ_BYTES, 0)
        self._at += len(content)
        return self.bounds.counted(content)

    def tell(self) -> int:
        """Return where it is read, bytes of the inflated data set."""
        return self._at

    def seek(self, offset: int, whence: int = SEEK_SET, /) -> int:
        """Go ahead, or back a little."""
        at = offset if whence == SEEK_SET else self._at + offset
        if at < self._start:
            raise EOFError("a deflated data set is read once, from its beginning")
        self._at = at
        return at

    def _drop(self) -> None:
        """Let go of what lies behind, and of what is skipped."""
        while self._start + len(self._held) < self._at - _BEHIND_BYTES:
            self._start += len(self._held)
            self._held.clear()
            if not self._inflate():
                return
        behind = self._at - self._start - _BEHIND_BYTES
        if behind > _CHUNK_BYTES:
            del self._held[:behind]
            self._start += behind

    def _inflate(self) -> bool:
        """Hold some more; False at the end."""
        if self._inflater.eof:
            return False
        packed = self._inflater.unconsumed_tail or self._file.read(_CHUNK_BYTES)
        if not packed:
            self.bounds.cut = True
            raise EOFError(_CUT)
        self._held += self._inflater.decompress(packed, _CHUNK_BYTES)
        if self._start + len(self._held) > self._limits.inflated_bytes:
            self.bounds.left = -1
            raise TooLargeFile(f"it inflates to over {self._limits.inflated_bytes >> 20} MiB")
        return True
