"""How many tests may want data that do not come with the repository, and how those are named."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests import conftest


def wanting(count: int) -> list[SimpleNamespace]:
    one = SimpleNamespace(path=Path("test_x.py"), fixturenames=["tmp_path", "test_data"])
    return [SimpleNamespace(**vars(one), nodeid=f"test_x.py::test_{n}") for n in range(count)]


def test_fifteen_may_want_such_data_and_sixteen_are_an_error() -> None:
    others = [SimpleNamespace(path=Path("test_y.py"), fixturenames=["ohif"], nodeid="test_y.py::test")] * 99
    conftest.pytest_collection_modifyitems([*wanting(15), *others])
    with pytest.raises(pytest.UsageError, match=r"^16 tests want data that no user has, 15 may.*::test_15$"):
        conftest.pytest_collection_modifyitems([*wanting(16), *others])


def test_each_that_was_left_out_is_named_with_what_only_its_data_say() -> None:
    lines: list[str] = []
    reasons = {
        "test_x.py::test_b": "Skipped: test data <ct-b>: a scanner's tilt",
        "test_x.py::test_a": "Skipped: test data <ct-a>: an implant",
        "test_x.py::test_c": "Skipped: Chromium is not installed: apt-get install chromium",
    }
    reporter = SimpleNamespace(
        stats={
            "skipped": [
                SimpleNamespace(nodeid=name, longrepr=("conftest.py", 1, reason))
                for name, reason in reasons.items()
            ]
        },
        section=lines.append,
        write_line=lines.append,
    )
    conftest.pytest_terminal_summary(reporter)
    assert lines == [
        "2 tests left out: data that are not here (ORGANLOOP_TEST_DATA)",
        "test_x.py::test_a  test data <ct-a>: an implant",
        "test_x.py::test_b  test data <ct-b>: a scanner's tilt",
    ]
