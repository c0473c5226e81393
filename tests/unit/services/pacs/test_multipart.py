"""Messages of several parts: what goes in comes out, wherever the network cuts it."""

from __future__ import annotations

import itertools
import tracemalloc
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.pacs.http import Unfinished
from services.pacs.multipart import BOUNDARY, CONTENT_TYPE, boundary_in, encode, read_parts

# bytes that a careless reader would take for the end of a part
TRICKY = st.sampled_from(
    [b"\r\n", b"--", b"\r\n--", BOUNDARY.encode(), b"\r\n\r\n", b"--" + BOUNDARY.encode()[:-1]]
)
PARTS = st.lists(st.lists(TRICKY | st.binary(max_size=30), max_size=6).map(b"".join), max_size=4)


def cut(body: bytes, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


def parts_of(chunks: Iterator[bytes], boundary: str = BOUNDARY) -> list[bytes]:
    parts: list[bytes] = []
    assert read_parts(chunks, boundary, lambda _, pieces: parts.append(b"".join(pieces))) == len(parts)
    return parts


@given(
    PARTS.filter(lambda parts: not any(f"\r\n--{BOUNDARY}".encode() in b"\r\n" + part for part in parts)),
    st.integers(1, 90),
)
@settings(max_examples=200, deadline=None)
def test_parts_come_out_as_they_went_in(parts: list[bytes], size: int) -> None:
    assert parts_of(cut(encode(parts), size)) == parts


@given(st.integers(0, 140))
def test_a_message_cut_short_is_no_message(end: int) -> None:
    body = encode([b"a" * 50, b"b" * 20]).removesuffix(b"--\r\n")
    with pytest.raises(Unfinished):
        parts_of(cut(body[:end], 7))


def test_a_large_part_is_never_held_whole() -> None:
    piece = bytes(1 << 20)
    received = 0

    def take(_: int, pieces: Iterator[bytes]) -> None:
        nonlocal received
        received += sum(map(len, pieces))

    start, end = encode([b""]).split(b"\r\n\r\n")
    body = itertools.chain([start + b"\r\n\r\n"], itertools.repeat(piece, 200), [end])
    tracemalloc.start()
    try:
        read_parts(body, BOUNDARY, take)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert received == 200 << 20
    assert peak < 6 << 20


def test_headers_preamble_and_epilogue_are_left_out() -> None:
    headers = b"Content-Type: application/dicom\r\nMIME-Version: 1.0"
    body = b"hello\r\n--x\r\n" + headers + b"\r\n\r\n1\r\n--x\r\n\r\n2\r\n--x--\r\nbye"
    assert parts_of(cut(body, 3), "x") == [b"1", b"2"]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (CONTENT_TYPE, BOUNDARY),
        ('multipart/related; boundary="a b"; type="application/dicom"', "a b"),
        ("application/dicom", None),
        ("application/dicom; boundary=x", None),
        ("multipart/related", None),
    ],
)
def test_the_boundary_is_found_in_the_header(content_type: str, boundary: str | None) -> None:
    assert boundary_in(content_type) == boundary
