"""What is untyped, handed on whole or found by scanning the log grows nowhere; see `tests.shape`."""

from __future__ import annotations

import pytest

from tests.shape import COUNTED

AT_MOST = {
    "documents without a type": 59,
    "functions that take the container": 39,
    "kinds of events named by a string": 0,
    "reads of the whole log": 3,  # the chain is verified twice, counted
}
"""Whoever needs fewer writes the smaller figure here."""


@pytest.mark.parametrize("what", COUNTED)
def test_the_shape_of_the_code_grows_no_worse(what: str) -> None:
    found = COUNTED[what]()
    assert len(found) <= AT_MOST[what], sorted(found)
