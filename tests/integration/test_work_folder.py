"""The folder of what is fetched: what is left over goes, what another works in stays."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.settings import Settings
from services.work_folder import ABANDONED_SECONDS, remove_abandoned, work_folder
from tests.support.waiting import GUARD_SECONDS

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import sys
from pathlib import Path
from services.work_folder import work_folder
with work_folder(Path(sys.argv[1])) as folder:
    (folder / "ct.dcm").write_bytes(b"pixels")
    print(folder.name, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_worker(root: Path) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Let another process work in a folder of its own; its name, and the process."""
    command = [sys.executable, "-c", WORKER, str(root)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield process.stdout.readline().strip(), process
    finally:
        process.stdin.close()
        process.wait(GUARD_SECONDS)
        process.stdout.close()


def test_what_a_killed_run_left_is_removed_and_what_another_works_in_is_not(tmp_path: Path) -> None:
    root = tmp_path / "work"
    (root / "left").mkdir(parents=True)
    (root / "left" / "ct.dcm").write_bytes(b"pixels")
    with another_worker(root) as (theirs, _), work_folder(root) as one, work_folder(root) as other:
        assert {path for path in root.iterdir() if path.is_dir()} == {one, other, root / theirs}
        assert (root / theirs / "ct.dcm").read_bytes() == b"pixels"
    assert list(root.iterdir()) == []


def test_what_a_process_left_that_was_killed_at_work_is_removed(tmp_path: Path) -> None:
    with another_worker(tmp_path) as (theirs, process):
        process.send_signal(signal.SIGKILL)
        process.wait(GUARD_SECONDS)
        assert (tmp_path / theirs / "ct.dcm").exists()
        with work_folder(tmp_path):
            assert not (tmp_path / theirs).exists()
    assert list(tmp_path.iterdir()) == []


def test_a_leftover_that_another_process_removes_meanwhile_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leftover = tmp_path / "left"
    leftover.mkdir()
    monkeypatch.setattr(Path, "iterdir", lambda _: iter([leftover, tmp_path / "gone"]))
    with work_folder(tmp_path) as folder:
        assert folder.is_dir()
    assert not leftover.exists()


@contextmanager
def nodes(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """Mount one folder twice, as two nodes mount a share: locks of files are shared, of directories not."""
    if shutil.which("bindfs") is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("two nodes need bindfs (apt-get install bindfs) and /dev/fuse")
    (tmp_path / "share").mkdir()
    mounts = (tmp_path / "node-1", tmp_path / "node-2")
    try:
        for mount in mounts:
            mount.mkdir()
            options = ["--multithreaded", "--enable-lock-forwarding", "-o", "attr_timeout=0,entry_timeout=0"]
            done = subprocess.run(
                ["bindfs", *options, tmp_path / "share", mount], capture_output=True, text=True, check=False
            )
            if done.returncode:
                pytest.skip(f"nothing can be mounted here: {done.stderr.strip()}")
        yield mounts
    finally:
        for mount in mounts:
            if mount.is_mount():
                subprocess.run(["fusermount", "-u", mount], check=True)


def test_a_worker_that_starts_on_one_node_leaves_the_study_alone_that_is_read_on_another(
    tmp_path: Path,
) -> None:
    with nodes(tmp_path) as (here, there):
        (here / "work" / "left").mkdir(parents=True)
        with another_worker(here / "work") as (theirs, process):
            with work_folder(there / "work") as ours:
                assert (there / "work" / theirs / "ct.dcm").read_bytes() == b"pixels"
                assert not (there / "work" / "left").exists()
                assert ours.name != theirs
            process.send_signal(signal.SIGKILL)
            process.wait(GUARD_SECONDS)
            with work_folder(there / "work"):
                assert not (there / "work" / theirs).exists()
        left = [one.name for one in (tmp_path / "share" / "work").iterdir()]
        assert [
            name for name in left if not name.startswith(".fuse_hidden")
        ] == []  # bindfs removes them late


def test_only_what_was_not_touched_for_long_is_removed_where_nobody_works_any_more(tmp_path: Path) -> None:
    """Workers of an earlier version may go on while the first of this one starts."""
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "ct.dcm").write_bytes(b"pixels")
        long_ago = time.time() - 2 * ABANDONED_SECONDS
        os.utime(folder, (long_ago, long_ago))
    os.utime(old / "ct.dcm", (long_ago, long_ago))
    assert remove_abandoned(tmp_path) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert remove_abandoned(tmp_path / "nowhere") == 0


def test_studies_are_worked_on_in_the_home_unless_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path))
    monkeypatch.delenv("ORGANLOOP_WORK", raising=False)
    assert Settings().work_folder == tmp_path / "work"
    monkeypatch.setenv("ORGANLOOP_WORK", str(tmp_path / "own disk"))
    assert Settings().work_folder == tmp_path / "own disk"
