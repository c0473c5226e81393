"""JPEG and JPEG-LS codestreams from their start to their end marker, segment by segment."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from services.dicom.compressed.damage import DamagedFrame, require_only_padding

BASELINE, EXTENDED, LOSSLESS, JPEG_LS = 0xC0, 0xC1, 0xC3, 0xF7
"""Start-of-frame markers of the processes that DICOM knows, Huffman coded or JPEG-LS (PS3.5 A.4)."""

_PROCESSES = frozenset((BASELINE, EXTENDED, LOSSLESS, JPEG_LS))
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start-of-frame markers of JPEG (ISO 10918-1 B.1.1.3) and of JPEG-LS (ISO 14495-1 C.1.1)."""

_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD8)))
"""Markers without a length, other than start and end (ISO 10918-1 B.1.1.3)."""

_DHT, _SOI, _EOI, _SOS, _DRI, _LSE = 0xC4, 0xD8, 0xD9, 0xDA, 0xDD, 0xF8

_PRESETS, _PRESETS_BYTES = 1, 11
"""Of JPEG-LS parameters: the kind that says how pixels are coded, and its length (ISO 14495-1 C.2.4.1.1)."""

_MARKER, _LS_MARKER = re.compile(rb"\xff[^\x00\xff]"), re.compile(rb"\xff[\x80-\xfe]")
"""A marker behind coded data: of JPEG-LS bytes up to 7F after FF are data (ISO 14495-1 A.1)."""

_RESTARTS = range(0xD0, 0xD8)

_CUT = "the compressed frame ends before its end marker"


@dataclass(frozen=True)
class HuffmanTable:
    """A Huffman table as it is sent (ISO 10918-1 B.2.4.2).

    Parameters
    ----------
    counts
        Of codes of 1 to 16 bits.
    symbols
        What the codes stand for, in order of the codes.
    """

    counts: tuple[int, ...]
    symbols: bytes

    def codes(self) -> Iterator[tuple[int, int, int]]:
        """Yield length in bits, code and symbol of each code (ISO 10918-1 annex C)."""
        code, symbols = 0, iter(self.symbols)
        for length, count in enumerate(self.counts, 1):
            for _ in range(count):
                if code >= 1 << length:
                    raise DamagedFrame("a Huffman table of the compressed frame is damaged")
                yield length, code, next(symbols)
                code += 1
            code <<= 1


@dataclass
class JpegFrame:
    """What a codestream says of itself, and its coded data.

    Parameters
    ----------
    process
        Its start-of-frame marker.
    precision, rows, columns, components
        Of the image.
    huffman
        Tables by class (0: DC or lossless, 1: AC) and number.
    dc_table, ac_table
        Numbers of the tables that the scan uses.
    selection, point_transform
        Predictor of a lossless scan, or NEAR of JPEG-LS; bits left out (ISO 10918-1 B.2.3).
    restart_interval
        Units (pixels, or blocks of 8 x 8) between restarts; 0: none.
    intervals
        The coded data, cut at their restart markers.
    """

    process: int = 0
    precision: int = 0
    rows: int = 0
    columns: int = 0
    components: int = 0
    huffman: dict[tuple[int, int], HuffmanTable] = field(default_factory=dict)
    dc_table: int = 0
    ac_table: int = 0
    selection: int = 0
    point_transform: int = 0
    restart_interval: int = 0
    intervals: tuple[bytes, ...] = ()

    def table(self, kind: int, number: int) -> HuffmanTable:
        """Return a table that the scan uses; `DamagedFrame` if it was not sent."""
        try:
            return self.huffman[kind, number]
        except KeyError:
            raise DamagedFrame("a Huffman table of the compressed frame is missing") from None

    def require_intervals(self, units: int) -> None:
        """Raise `DamagedFrame` unless there are as many restarts as so many units take."""
        expected = -(-units // self.restart_interval) if self.restart_interval else 1
        if len(self.intervals) != expected:
            found = len(self.intervals)
            raise DamagedFrame(
                f"the compressed frame has {found} restart interval(s) and should have {expected}"
            )


def walk_jpeg(frame: bytes) -> JpegFrame:
    """Walk a codestream from start to end.

    Parameters
    ----------
    frame
        One frame, out of its fragments.

    Raises
    ------
    DamagedFrame
        If it is none, is cut, or more than padding follows its end.
    """
    if frame[:2] != b"\xff\xd8":
        raise DamagedFrame("the compressed frame does not begin as JPEG does")
    said = JpegFrame()
    at = 2
    while True:
        marker, at = _marker(frame, at)
        if marker == _EOI:
            break
        if marker in _BARE_MARKERS:
            continue
        if marker == _SOI or at + 2 > len(frame):
            raise DamagedFrame(_CUT)
        (length,) = struct.unpack_from(">H", frame, at)
        content = frame[at + 2 : at + length]
        if length < 2 or len(content) != length - 2:
            raise DamagedFrame(_CUT)
        at += length
        try:
            _take(said, marker, content)
        except (struct.error, IndexError):
            raise DamagedFrame("a segment of the compressed frame is too short") from None
        if marker == _SOS:
            at = _take_coded(said, frame, at)
    if not said.intervals:
        raise DamagedFrame("the compressed frame has no coded data")
    require_only_padding(frame[at:])
    return said


def _marker(frame: bytes, at: int) -> tuple[int, int]:
    """Return the next marker and where it ends; fill bytes are passed over."""
    if at >= len(frame):
        raise DamagedFrame(_CUT)
    if frame[at] != 0xFF:
        raise DamagedFrame("the segments of the compressed frame do not follow each other")
    while at < len(frame) and frame[at] == 0xFF:
        at += 1
    if at >= len(frame):
        raise DamagedFrame(_CUT)
    return frame[at], at + 1


def _take(said: JpegFrame, marker: int, content: bytes) -> None:
    """Keep what a segment says that is needed."""
    if marker in _FRAME_MARKERS:
        if marker not in _PROCESSES or said.process:
            raise DamagedFrame("the compressed frame is coded in a way that DICOM does not know")
        said.process = marker
        said.precision, said.rows, said.columns, said.components = struct.unpack_from(">BHHB", content)
    elif marker == _DHT:
        _take_tables(said, content)
    elif marker == _DRI:
        (said.restart_interval,) = struct.unpack(">H", content)
    elif marker == _LSE:
        if len(content) != _PRESETS_BYTES or content[0] != _PRESETS:  # tables, and sizes beyond 65535
            raise DamagedFrame("the compressed frame has JPEG-LS parameters that are not read here")
    elif marker == _SOS:
        if not said.process or said.intervals:
            raise DamagedFrame("the compressed frame has not one scan")
        if said.components == 1:
            _, _, tables, said.selection, _, approximation = struct.unpack(">6B", content)
            said.dc_table, said.ac_table = tables >> 4, tables & 15
            said.point_transform = approximation & 15


def _take_tables(said: JpegFrame, content: bytes) -> None:
    """Keep the Huffman tables of a segment."""
    at = 0
    while at < len(content):
        counts = tuple(content[at + 1 : at + 17])
        symbols = content[at + 17 : at + 17 + sum(counts)]
        if len(counts) != 16 or len(symbols) != sum(counts):
            raise DamagedFrame("a Huffman table of the compressed frame is cut")
        said.huffman[content[at] >> 4, content[at] & 15] = HuffmanTable(counts, symbols)
        at += 17 + len(symbols)


def _take_coded(said: JpegFrame, frame: bytes, at: int) -> int:
    """Keep the coded data, and return where the marker behind them is."""
    ends = (_LS_MARKER if said.process == JPEG_LS else _MARKER).search(frame, at)
    parts: list[bytes] = []
    while ends and said.restart_interval and frame[ends.start() + 1] in _RESTARTS:
        if frame[ends.start() + 1] != 0xD0 + len(parts) % 8:
            raise DamagedFrame("a restart marker of the compressed frame is missing")
        parts.append(frame[at : ends.start()])
        at = ends.end()
        ends = ends.re.search(frame, at)
    if ends is None:
        raise DamagedFrame(_CUT)
    said.intervals = (*parts, frame[at : ends.start()])
    return ends.start()
