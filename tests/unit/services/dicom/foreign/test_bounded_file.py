"""Files within bounds give what files give, up to their limits."""

from __future__ import annotations

import zlib
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.dicom.foreign.bounded_file import BoundedBytes, Bounds, InflatedFile, TooLargeFile
from services.dicom.foreign.limits import IMAGE, Limits
from tests.support.hostile_objects import ITEM

WIDE = replace(IMAGE, header_bytes=2**30)


def packed(content: bytes) -> BytesIO:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return BytesIO(packer.compress(content) + packer.flush())


@given(
    content=st.binary(min_size=1, max_size=64).map(lambda piece: piece * 5000),
    steps=st.lists(
        st.tuples(st.sampled_from(["read", "ahead", "back"]), st.integers(0, 100_000)), max_size=12
    ),
)
def test_what_is_inflated_piece_by_piece_is_what_a_file_would_give(content, steps):
    plain, inflated = BytesIO(content), InflatedFile(packed(content), WIDE)
    for step, size in steps:
        if step == "read":
            assert inflated.read(size) == plain.read(size)
        elif step == "ahead":
            assert inflated.seek(size, 1) == plain.seek(size, 1)
        else:
            back = min(size, 8192, plain.tell())
            assert inflated.seek(plain.tell() - back) == plain.seek(plain.tell() - back)
        assert inflated.tell() == plain.tell()
    assert inflated.read() == plain.read()


def test_it_inflates_no_more_than_it_may() -> None:
    limits = replace(WIDE, inflated_bytes=1_000_000)
    assert len(InflatedFile(packed(bytes(1_000_000)), limits).read()) == 1_000_000
    with pytest.raises(TooLargeFile):
        InflatedFile(packed(bytes(1_100_000)), limits).read()


def test_what_ends_too_early_is_an_error_even_where_pydicom_makes_a_warning_of_it() -> None:
    content = packed(bytes(range(256)) * 4000).getvalue()
    cut = InflatedFile(BytesIO(content[: len(content) // 2]), WIDE)
    with pytest.raises(EOFError):
        cut.read()
    with pytest.raises(EOFError), cut.bounds.reading():
        pass


@pytest.mark.parametrize("what", ["items", "reads", "header_bytes"])
def test_items_reads_and_bytes_are_counted_each_by_itself(what: str) -> None:
    limits: Limits = replace(IMAGE, **{what: 80 if what == "header_bytes" else 10})

    def read(count: int) -> None:
        file = BoundedBytes(ITEM * 1000, Bounds(limits, limits.header_bytes))
        with file.bounds.reading():
            for _ in range(count):
                file.read(8)

    read(10)
    with pytest.raises(TooLargeFile):
        read(11)
