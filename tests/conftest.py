"""What every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.archive import Archive
    from tests.serving import Serving

ROOT = Path(__file__).resolve().parent.parent
_missing: set[str] = set()
os.environ.setdefault("ORGANLOOP_AUDIT_SHARE", "0")  # a draw would flag one study in twenty


@pytest.fixture(scope="session")
def test_data() -> Callable[[str], Path]:
    """Return a folder of the test data, or skip with the reason when it is not on this machine."""
    base = Path(os.environ.get("ORGANLOOP_TEST_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str) -> Path:
        folder = base / name
        if not folder.exists():
            _missing.add(name)
            pytest.skip(f"test data {name!r} is not under {base} (ORGANLOOP_TEST_DATA)")
        return folder

    return find


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Serve two tiny releases from a real embedded Triton, once for all tests."""
    from tests.serving import serving_at  # the unit tests need none of what this imports

    with serving_at(tmp_path_factory.mktemp("serving")) as serving:
        yield serving


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Run a real Orthanc with DICOMweb, once for all tests; what they store stays in it."""
    from tests.archive import archive_at

    with archive_at(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


@pytest.fixture
def clean_archive(archive: Archive) -> Archive:
    """Return the archive with nothing in it; its change feed goes on from where it was."""
    archive.empty()
    return archive


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _missing:
        terminalreporter.section("test data that was missing")
        for name in sorted(_missing):
            terminalreporter.write_line(name)
