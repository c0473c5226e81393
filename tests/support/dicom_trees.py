"""DICOM objects as trees that lie: strategies of Hypothesis, and their bytes.

A tree begins as a sound object. Elements are put in, left out, said twice or given other values; lengths are
forged, sequences nested and repeated, the whole cut, deflated or written in another syntax than it says.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from typing import Any

from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

UNDEFINED = 0xFFFFFFFF
MOST_BYTES = 1 << 20
"""Of one sequence, however often its items are said: trees lie in each other."""
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")

SYNTAXES = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "big endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "JPEG 2000": "1.2.840.10008.1.2.4.90",
    "none": "1.2.3",
}


@dataclass(frozen=True)
class Node:
    """An element: its value is bytes, or the items of a sequence, each a tuple of nodes.

    `length` is what is said of it: None says what is true, `UNDEFINED` ends by a delimiter, any other lies.
    `times` is how often its items stand one after the other.
    """

    tag: int
    vr: bytes
    value: bytes | tuple[tuple[Node, ...], ...]
    length: int | None = None
    times: int = 1


@dataclass(frozen=True)
class Tree:
    """A file: the top-level nodes, the syntax it is written in and the one it says, and where it is cut."""

    nodes: tuple[Node, ...]
    written: str = "explicit"
    said: str = "explicit"
    cut: float = 1.0
    trailer: bytes = b""

    def content(self) -> bytes:
        """Return the bytes of the file."""
        body = encoded(self.nodes, self.written)
        if self.written == "deflated":
            packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
            body = packer.compress(body) + packer.flush()
        whole = _meta(SYNTAXES[self.said], self.nodes) + body + self.trailer
        return whole[: int(len(whole) * self.cut)]


def encoded(nodes: tuple[Node, ...], syntax: str) -> bytes:
    """Return elements in a syntax; values are bytes already, whatever it is."""
    return b"".join(_element(node, syntax) for node in nodes)


def _element(node: Node, syntax: str) -> bytes:
    if isinstance(node.value, bytes):
        value = node.value
    else:
        ends = node.length == UNDEFINED
        once = b"".join(_item(item, syntax, ends) for item in node.value)
        value = once * min(node.times, max(1, MOST_BYTES // max(1, len(once))))
        value += _head(SEQUENCE_END, 0, syntax) if ends else b""
    length = len(value) if node.length is None else node.length
    order = ">" if syntax == "big endian" else "<"
    tag = struct.pack(f"{order}HH", node.tag >> 16 & 0xFFFF, node.tag & 0xFFFF)
    if syntax == "implicit":
        return tag + struct.pack(f"{order}I", length & UNDEFINED) + value
    if node.vr in LONG_VRS:
        return tag + node.vr + b"\0\0" + struct.pack(f"{order}I", length & UNDEFINED) + value
    return tag + node.vr + struct.pack(f"{order}H", length & 0xFFFF) + value


def _item(nodes: tuple[Node, ...], syntax: str, ends: bool) -> bytes:
    body = encoded(nodes, syntax)
    if ends:
        return _head(ITEM, UNDEFINED, syntax) + body + _head(ITEM_END, 0, syntax)
    return _head(ITEM, len(body), syntax) + body


def _head(tag: int, length: int, syntax: str) -> bytes:
    order = ">" if syntax == "big endian" else "<"
    return struct.pack(f"{order}HHI", tag >> 16, tag & 0xFFFF, length)


def _meta(syntax: str, nodes: tuple[Node, ...]) -> bytes:
    values = {node.tag: node.value for node in nodes if isinstance(node.value, bytes)}
    elements = b""
    for tag, value in (
        (0x00020002, values.get(0x00080016, b"1.2")),
        (0x00020003, values.get(0x00080018, b"1.2")),
        (0x00020010, syntax.encode()),
    ):
        elements += _element(Node(tag, b"UI", (value + b"\0" * (len(value) % 2))[:1000]), "explicit")
    length = _element(Node(0x00020000, b"UL", struct.pack("<I", len(elements))), "explicit")
    return bytes(128) + b"DICM" + length + elements


def tree_of(content: bytes) -> Tree:
    """Return the tree of a sound file."""
    return Tree(_nodes(dcmread(BytesIO(content))))


def _nodes(dataset: Dataset) -> tuple[Node, ...]:
    return tuple(_node(dataset, tag) for tag in sorted(dataset.keys()))


def _node(dataset: Dataset, tag: Any) -> Node:
    element = dataset[tag]
    if element.VR == "SQ":
        return Node(int(tag), b"SQ", tuple(_nodes(item) for item in element.value))
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, True
    write_data_element(buffer, element)
    return Node(int(tag), str(element.VR).encode()[:2], buffer.getvalue()[8:])


VRS = st.sampled_from((
    b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"OB", b"OW", b"PN",
    b"SH", b"SQ", b"SS", b"ST", b"TM", b"UI", b"UL", b"UN", b"US", b"UT", b"\0\0", b"zz",
))  # fmt: skip
VALUES = st.one_of(
    st.binary(max_size=24),
    st.sampled_from(
        [b"", b"\\" * 400, b"1e400\\nan", b"-1", b"1,5", b"0" * 70, b"=\x1b$B", b"ISO 2022 IR 87\\", b"\0\0",
         b"\xff\xff\xff\xff", b"\xfe\xff\x00\xe0\x08\0\0\0", b"1.2.840.10008.1.2.1", b"9" * 64, b"CT", b"SEG"]
    ),
)  # fmt: skip
LENGTHS = st.sampled_from((None, None, None, UNDEFINED, UNDEFINED, 0, 1, 7, 0xFFFE, 0xFFFFFFFE, 0x7FFFFFFF))
TIMES = st.sampled_from((1, 1, 1, 1, 2, 40, 3000, 60_000))


def nodes(tags: st.SearchStrategy[int]) -> st.SearchStrategy[Node]:
    """Return elements of these tags, at most some deep, whose lengths may lie."""
    leaf = st.builds(Node, tags, VRS, VALUES, LENGTHS)
    return st.recursive(
        leaf,
        lambda inner: st.builds(
            Node,
            tags,
            st.sampled_from((b"SQ", b"SQ", b"UN")),
            st.lists(st.lists(inner, max_size=3).map(tuple), max_size=3).map(tuple),
            LENGTHS,
            TIMES,
        ),
        max_leaves=6,
    )


@st.composite
def trees(draw: st.DrawFn, base: Tree) -> Tree:
    """Return a tree that was one of a sound object, before it was changed in some places."""
    known = [node.tag for node in base.nodes]
    tags = st.one_of(
        st.sampled_from(known),
        st.sampled_from((0x00080005, 0x00080006, 0x00081110, 0x00101002, 0x00211010, 0x52009229, 0x52009230)),
        st.integers(0x00080000, 0x7FE00020),
    )
    changed = list(base.nodes)
    for _ in range(draw(st.integers(1, 4))):
        where = draw(st.integers(0, len(changed) - 1)) if changed else 0
        what = draw(st.sampled_from(("put", "drop", "twice", "value", "length", "times", "inside")))
        if what == "put" or not changed:
            changed.insert(where, draw(nodes(tags)))
        elif what == "drop":
            del changed[where]
        elif what == "twice":
            changed.insert(where, changed[where])
        elif what == "value":
            changed[where] = replace(changed[where], vr=draw(VRS), value=draw(VALUES))
        elif what == "length":
            changed[where] = replace(changed[where], length=draw(LENGTHS))
        elif what == "times":
            changed[where] = replace(changed[where], times=draw(TIMES))
        elif isinstance(changed[where].value, tuple) and changed[where].value:
            items = [*changed[where].value]
            n = draw(st.integers(0, len(items) - 1))
            items[n] = (*items[n], draw(nodes(tags)))
            changed[where] = replace(changed[where], value=tuple(items))
    if draw(st.booleans()):
        changed.sort(key=lambda node: node.tag)
    syntax = draw(st.sampled_from((*SYNTAXES, "explicit", "explicit", "deflated")))
    said = draw(st.sampled_from((syntax, syntax, syntax, *SYNTAXES)))
    cut = draw(st.sampled_from((1.0, 1.0, 1.0, 0.999, 0.9, 0.5, 0.1)))
    return Tree(tuple(changed), syntax, said, cut, draw(st.sampled_from((b"", b"", b"\0", b"\0" * 9))))
