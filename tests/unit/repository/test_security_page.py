"""The page on security claims what tests show: each test that it names is there."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "deploy" / "SECURITY.md").read_text()
TESTS = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`(test_\w+)`", PAGE))))
def test_every_test_that_the_page_names_is_there(name: str) -> None:
    assert f"def {name}(" in TESTS


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(tests/[\w/.]+)`", PAGE))))
def test_every_file_of_tests_that_the_page_names_is_there(path: str) -> None:
    assert (ROOT / path).is_file()


def test_every_finding_has_a_line_of_its_own() -> None:
    found = re.findall(r"^\| (\d+) .*\| (`test_\w+`)? ?\|$", PAGE, flags=re.M)
    assert [int(number) for number, _ in found] == list(range(1, 19))
    assert [int(number) for number, test in found if not test] == [16, 17, 18], "what is open says so"
