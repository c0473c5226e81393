"""Messages of several parts, as DICOMweb sends and takes them.

A part goes from the network to its file in pieces: a series is never in memory, nor is one large object.
Source: PS3.18 section 8.6.1.2; RFC 2046 section 5.1.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from email.message import Message

from services.pacs.http import Unfinished

BOUNDARY = "organloop-7d1f3a64c0b84b0e"
"""Ends each part of what is sent; too long to be met in a DICOM file by chance."""
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def encode(parts: Sequence[bytes], boundary: str = BOUNDARY) -> bytes:
    """Return the body of a message with DICOM files as its parts."""
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    pieces = [piece for part in parts for piece in (head, part, b"\r\n")]
    return b"".join((*pieces, f"--{boundary}--\r\n".encode()))


def boundary_in(content_type: str) -> str | None:
    """Return what ends each part of a message; None if it has no parts."""
    message = Message()
    message["Content-Type"] = content_type
    found = message.get_param("boundary")
    return str(found) if message.get_content_maintype() == "multipart" and found else None


def read_parts(chunks: Iterable[bytes], boundary: str, take: Callable[[int, Iterator[bytes]], None]) -> int:
    """Read a message piece by piece; return how many parts it had.

    Parameters
    ----------
    chunks
        The body, cut anywhere.
    boundary
        What ends each part, without its dashes.
    take
        Called for each part with its number, from 0, and its pieces, which it uses up.

    Raises
    ------
    Unfinished
        If the body ends before the message does: its last part would be cut short.
    """
    delimiter = b"\r\n--" + boundary.encode()
    body = _Body(chunks)
    _drop(body.until(delimiter))
    count = 0
    while not body.begins_with(b"--"):
        _drop(body.until(b"\r\n\r\n"))
        take(count, body.until(delimiter))
        count += 1
    return count


class _Body:
    """A body of which only what is needed to find the next mark is held."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = bytearray(b"\r\n")  # a message may begin with its first delimiter

    def until(self, mark: bytes) -> Iterator[bytes]:
        """Yield what comes before a mark, and go past it."""
        while (at := self._held.find(mark)) < 0:
            certain = len(self._held) - len(mark) + 1
            if certain > 0:
                yield bytes(self._held[:certain])
                del self._held[:certain]
            self._hold_more()
        yield bytes(self._held[:at])
        del self._held[: at + len(mark)]

    def begins_with(self, mark: bytes) -> bool:
        while len(self._held) < len(mark):
            self._hold_more()
        return self._held.startswith(mark)

    def _hold_more(self) -> None:
        chunk = next(self._chunks, None)
        if chunk is None:
            raise Unfinished
        self._held += chunk


def _drop(pieces: Iterator[bytes]) -> None:
    for _ in pieces:
        pass
