"""What every test may ask for."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.memory_folder import use_memory
from tests.support.neighbours import left_running, silence_prefect, threads_of_ours

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

    from tests.support.archive import Archive
    from tests.support.serving import Serving

ROOT = Path(__file__).resolve().parent.parent
TOGETHER = {
    "browser": ("test_reader_corrects.py", "test_reader_reads.py", "test_reader_sees.py"),
    "stack": tuple(
        f"integration/test_{name}.py"
        for name in (
            "arrival_loop",
            "deployments",
            "doors",
            "doctor",
            "learning_verbs",
            "local_stack",
            "nights_at_prefect",
            "segment_choices",
            "segment_command",
            "segment_flow",
        )
    ),
    "tuning": tuple(
        f"integration/test_{name}.py"
        for name in ("gpu_proof", "kept_features", "train_release", "tune_heads", "tuning_lessons")
    ),
    "imported": ("integration/test_import_checkpoint.py", "integration/test_imported_organs.py"),
}
"""Files that share a fixture that takes long, or wants fixed ports: they run in one process."""
MOST_LEFT_OUT = 15
"""Tests that want data which do not come with the repository: a user's run leaves out no more than these."""
LEFT_OUT = "Skipped: test data <"
pytest.register_assert_rewrite("tests.support.walked_home")
os.environ.setdefault("ORGANLOOP_AUDIT_SHARE", "0")  # a draw would flag one study in twenty
os.environ.setdefault("TCP_NODELAY", "1")  # DCMTK's senders: else an image sent waits 40 ms
# Threads that spin while they wait take the cores from the servers and from the other worker.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # torch
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy and scipy, on matrices that are small
use_memory()


@pytest.fixture(scope="session")
def test_data() -> Callable[[str, str], Path]:
    """Return a folder of real data, for what a phantom cannot say; skip where it is not on this machine.

    Whoever asks says what only these data say.
    """
    base = Path(os.environ.get("ORGANLOOP_TEST_DATA", ROOT.parent / "shared" / "data"))

    def find(name: str, says: str) -> Path:
        folder = base / name
        if not folder.exists():
            pytest.skip(f"test data <{name}>: {says}")
        return folder

    return find


@pytest.fixture(scope="session")
def ohif() -> Path:
    """Return the phantom that was corrected in OHIF: ``ct/``, ``sent.dcm``, ``saved-by-ohif.dcm``, more."""
    from tests.corrections import PHANTOM

    return PHANTOM


@pytest.fixture(scope="session")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """Serve two tiny releases from a real embedded Triton, once for all tests."""
    from tests.support.serving import serving_at  # the unit tests need none of what this imports

    with serving_at(tmp_path_factory.mktemp("serving")) as serving:
        yield serving


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """Run a real PostgreSQL, once for all tests; its address, ``%s`` in place of a database."""
    from tests.support.postgresql import postgresql_at_work

    with postgresql_at_work() as server:
        yield server


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    """Run a real Orthanc with DICOMweb, once for all tests; what they store stays in it."""
    from tests.support.archive import archive_at

    with archive_at(tmp_path_factory.mktemp("archive")) as archive:
        yield archive


@pytest.fixture(autouse=True, scope="module")
def _no_thread_is_left() -> Iterator[None]:
    """See that no file leaves a thread behind that runs our code beside the tests of another."""
    before = set(threads_of_ours())
    yield
    left = left_running(before, patience_seconds=60)
    assert not left, f"left running: {'; '.join(left)}"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let Hypothesis be the only one that draws from the global `random`."""
    if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
        silence_prefect()


@pytest.fixture
def clean_archive(archive: Archive) -> Archive:
    """Return the archive with nothing in it; its change feed goes on from where it was."""
    archive.empty()
    return archive


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Import without the garbage collector, which finds no garbage there, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadFileScheduling:
    """Give files to the workers of `pytest -n 2` as they lie; one worker has all that share much."""
    from xdist.scheduler import LoadFileScheduling

    class Sharing(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return next((group for group, parts in TOGETHER.items() if file.endswith(parts)), file)

    config.option.loadscopereorder = False  # the long files come first as they lie
    return Sharing(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let no test of the stack run beside the others', and few want what the repository does not hold."""
    stack = {item.path.name for item in items if "organloop" in getattr(item, "fixturenames", ())}
    strangers = sorted(name for name in stack if not f"integration/{name}".endswith(TOGETHER["stack"]))
    if strangers:  # they would start a second one on the same ports
        raise pytest.UsageError(f"add to TOGETHER in tests/conftest.py: {', '.join(strangers)}")
    wanting = [item.nodeid for item in items if "test_data" in getattr(item, "fixturenames", ())]
    if len(wanting) > MOST_LEFT_OUT:
        raise pytest.UsageError(
            f"{len(wanting)} tests want data that no user has, {MOST_LEFT_OUT} may: let a phantom say it. "
            + " ".join(wanting)
        )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name each test that was left out for want of data, and what only those data would have shown."""
    skipped = terminalreporter.stats.get("skipped", [])  # whichever process skipped them
    reasons = {one.nodeid: str(one.longrepr[2]) for one in skipped if isinstance(one.longrepr, tuple | list)}
    missing = {name: reason for name, reason in reasons.items() if reason.startswith(LEFT_OUT)}
    if missing:
        terminalreporter.section(
            f"{len(missing)} tests left out: data that are not here (ORGANLOOP_TEST_DATA)"
        )
        for name, reason in sorted(missing.items()):
            terminalreporter.write_line(f"{name}  {reason.removeprefix('Skipped: ')}")
