"""JPEG 2000 codestreams, high-throughput or not, from tile-part to tile-part to their end."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from services.dicom.compressed.damage import DamagedFrame, require_only_padding

_SIZE = b"\xff\x4f\xff\x51"
"""Start of a codestream and its size marker (ISO 15444-1 A.4.1, A.5.1)."""

_SOT, _SOD, _EOC = 0xFF90, 0xFF93, 0xFFD9
_TLM, _PLT, _PPM, _PPT = 0xFF55, 0xFF58, 0xFF60, 0xFF61

_MOST_TILES = 65535

_CUT = "the compressed frame ends before its end marker"


@dataclass
class Jpeg2000Frame:
    """What a codestream says of itself.

    Parameters
    ----------
    rows, columns, components, precision
        Of the image; the precision is the first component's.
    tiles
        How many there are.
    told_lengths
        Lengths of the tile-parts in bytes, as a table in the main header says; empty where there is none.
    lengths
        Lengths of the tile-parts in bytes, as they are.
    parts
        Of each tile met, how many tile-parts there are, and how many it says there are (0: it does not).
    packed_headers
        Whether packet headers lie elsewhere, so that lengths of packets are not those of the data.
    """

    rows: int
    columns: int
    components: int
    precision: int
    tiles: int
    told_lengths: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    parts: dict[int, tuple[int, int]] = field(default_factory=dict)
    packed_headers: bool = False


def walk_jpeg_2000(frame: bytes) -> Jpeg2000Frame:
    """Walk a codestream from start to end; a file wrapper (JP2 boxes) is passed over.

    Parameters
    ----------
    frame
        One frame, out of its fragments.

    Raises
    ------
    DamagedFrame
        If it is none, is cut, contradicts its tables, or more than padding follows its end.
    """
    start = frame.find(_SIZE)
    if start < 0:
        raise DamagedFrame("the compressed frame does not begin as JPEG 2000 does")
    try:
        said = _size(frame, start + 2)
        at = _main_header(said, frame, start + 2)
        while _u16(frame, at) == _SOT:
            at = _tile_part(said, frame, at)
        if _u16(frame, at) != _EOC:
            raise DamagedFrame("the tile-parts of the compressed frame do not follow each other to its end")
    except (struct.error, IndexError):
        raise DamagedFrame(_CUT) from None
    _require_all_tiles(said)
    require_only_padding(frame[at + 2 :])
    return said


def _u16(frame: bytes, at: int) -> int:
    value: int = struct.unpack_from(">H", frame, at)[0]
    return value


def _size(frame: bytes, at: int) -> Jpeg2000Frame:
    """Read the size marker (ISO 15444-1 A.5.1)."""
    width, height, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(
        ">8I", frame, at + 6
    )
    components, depth, step_x, step_y = struct.unpack_from(">H3B", frame, at + 38)
    if not tile_width or not tile_height or (step_x, step_y) != (1, 1):
        raise DamagedFrame("the compressed frame has no usable size")
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if not 0 < tiles <= _MOST_TILES:
        raise DamagedFrame(f"the compressed frame says that it has {tiles} tiles")
    return Jpeg2000Frame(height - top, width - left, components, (depth & 0x7F) + 1, tiles)


def _segment(frame: bytes, at: int) -> bytes:
    """Return what a marker segment holds behind its length."""
    length = _u16(frame, at + 2)
    content = frame[at + 4 : at + 2 + length]
    if length < 2 or len(content) != length - 2:
        raise DamagedFrame(_CUT)
    return content


def _main_header(said: Jpeg2000Frame, frame: bytes, at: int) -> int:
    """Walk to the first tile-part."""
    tables: dict[int, bytes] = {}
    while (marker := _u16(frame, at)) != _SOT:
        if not 0xFF50 <= marker <= 0xFF7F:
            raise DamagedFrame("the segments of the compressed frame do not follow each other")
        content = _segment(frame, at)
        if marker == _TLM:
            tables[content[0]] = content[1:]
        said.packed_headers |= marker == _PPM
        at += 4 + len(content)
    for _, table in sorted(tables.items()):
        said.told_lengths += _told_lengths(table)
    return at


def _told_lengths(table: bytes) -> list[int]:
    """Return the lengths that a table of tile-parts names (ISO 15444-1 A.7.1)."""
    index_bytes, wide = table[0] >> 4 & 3, table[0] >> 6 & 1
    entry = index_bytes + (4 if wide else 2)
    if index_bytes == 3 or (len(table) - 1) % entry:
        raise DamagedFrame("the table of tile-parts of the compressed frame is damaged")
    return [int.from_bytes(table[at + index_bytes : at + entry]) for at in range(1, len(table), entry)]


def _tile_part(said: Jpeg2000Frame, frame: bytes, start: int) -> int:
    """Walk one tile-part (ISO 15444-1 A.4.2); return where the next begins, or the end marker."""
    size, tile, length, part, parts = struct.unpack_from(">HHIBB", frame, start + 2)
    met, told = said.parts.get(tile, (0, 0))
    if size != 10 or tile >= said.tiles or part != met or (told and parts not in (0, told)):
        raise DamagedFrame("a tile-part of the compressed frame is missing or damaged")
    said.parts[tile] = met + 1, parts or told
    if length == 0:  # the last one, up to the end marker
        length = frame.rstrip(b"\0").rfind(b"\xff\xd9") - start
    if not 14 <= length <= len(frame) - start:
        raise DamagedFrame(_CUT)
    said.lengths.append(length)
    at, packets, counted, packed = start + 12, 0, False, said.packed_headers
    while (marker := _u16(frame, at)) != _SOD:
        if not 0xFF50 <= marker <= 0xFF7F or at > start + length:
            raise DamagedFrame("the segments of the compressed frame do not follow each other")
        content = _segment(frame, at)
        if marker == _PLT:
            packets, counted = packets + _packet_lengths(content), True
        packed |= marker == _PPT
        at += 4 + len(content)
    if counted and not packed and packets != start + length - (at + 2):
        raise DamagedFrame("the packets of the compressed frame are not as long as it says")
    return start + length


def _packet_lengths(content: bytes) -> int:
    """Return the sum of the lengths of packets, seven bits a byte (ISO 15444-1 A.7.3)."""
    total = value = 0
    for byte in content[1:]:
        value = value << 7 | byte & 0x7F
        if not byte & 0x80:
            total, value = total + value, 0
    return total


def _require_all_tiles(said: Jpeg2000Frame) -> None:
    """Raise `DamagedFrame` where a tile or tile-part is missing, or the table of them says otherwise."""
    if len(said.parts) != said.tiles or any(told and met != told for met, told in said.parts.values()):
        raise DamagedFrame("a tile-part of the compressed frame is missing")
    if said.told_lengths and said.told_lengths != said.lengths:
        raise DamagedFrame("the tile-parts of the compressed frame are not as long as its table says")
