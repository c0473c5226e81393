"""What the folder keeps of `Pacs`; test_archive.py shows it of archives."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.errors import Refused, StorageFailed
from services.pacs.folder import FolderPacs
from services.pacs.port import Pacs
from tests.support.killed import Killed


@dataclass(frozen=True)
class Object:
    sop_instance_uid: str
    content: bytes
    file_name: str


RESULT = (Object("1.2.1", b"organ" * 100, "organ-seg.dcm"), Object("1.2.2", b"report" * 50, "report-sr.dcm"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results" / "study"


@pytest.fixture
def pacs(out: Path) -> Pacs:
    return FolderPacs(out)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


COMPLETE = {item.file_name: item.content for item in RESULT}


def test_a_study_is_found_where_it_lies(pacs: Pacs, tmp_path: Path) -> None:
    assert pacs.fetch_study(str(tmp_path), tmp_path / "into") == tmp_path
    assert not (tmp_path / "into").exists()


def test_a_study_that_is_not_there_is_refused(pacs: Pacs, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not-dicom"):
        pacs.fetch_study(str(tmp_path / "nowhere"), tmp_path / "into")


def test_all_objects_are_stored_and_nothing_else(pacs: Pacs, out: Path) -> None:
    places = pacs.store(RESULT)
    assert places == (str(out / "organ-seg.dcm"), str(out / "report-sr.dcm"))
    assert contents(out) == COMPLETE
    assert [path.name for path in out.parent.iterdir()] == ["study"]


def test_storing_the_same_again_changes_nothing(pacs: Pacs, out: Path) -> None:
    pacs.store(RESULT)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert pacs.store(RESULT) == (str(out / "organ-seg.dcm"), str(out / "report-sr.dcm"))
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


def test_an_interrupted_store_is_completed(pacs: Pacs, out: Path) -> None:
    pacs.store(RESULT[:1])
    pacs.store(RESULT)
    assert contents(out) == COMPLETE


@pytest.mark.parametrize("there", [False, True])
def test_what_another_process_is_writing_is_left_alone(pacs: Pacs, out: Path, there: bool) -> None:
    folder = out if there else out.parent
    (folder / ".organloop-storing-another").mkdir(parents=True)
    (folder / ".organloop-storing-another" / "report-sr.dcm").write_bytes(b"half")
    pacs.store(RESULT)
    assert (folder / ".organloop-storing-another" / "report-sr.dcm").read_bytes() == b"half"
    assert {n: (out / n).read_bytes() for n in COMPLETE} == COMPLETE


@pytest.mark.parametrize("theirs", [RESULT, (RESULT[0],), (Object("1.9", b"other", "report-sr.dcm"),)])
def test_two_processes_may_make_the_folder_at_once(
    pacs: Pacs, out: Path, theirs: tuple[Object, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        monkeypatch.undo()
        FolderPacs(out).store(theirs)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    if theirs[0].content == b"other":
        with pytest.raises(StorageFailed, match="already there"):
            pacs.store(RESULT)
        assert contents(out) == {"report-sr.dcm": b"other"}
    else:
        pacs.store(RESULT)
        assert contents(out) == COMPLETE
    assert [path.name for path in out.parent.iterdir()] == ["study"]


def test_a_process_killed_between_two_files_leaves_no_report(
    pacs: Pacs, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    rename = Path.rename

    def last(self: Path, target: Path) -> Path:
        if self.name == "report-sr.dcm":
            raise Killed
        return rename(self, target)

    out.mkdir(parents=True)
    monkeypatch.setattr(Path, "rename", last)
    with pytest.raises(Killed):
        pacs.store(RESULT)
    monkeypatch.undo()
    assert contents(out) == {"organ-seg.dcm": RESULT[0].content}
    pacs.store(RESULT)
    assert contents(out) == COMPLETE


def test_files_of_others_are_left_alone(pacs: Pacs, out: Path) -> None:
    out.mkdir(parents=True)
    (out / "notes.txt").write_text("mine")
    pacs.store(RESULT)
    assert contents(out) == COMPLETE | {"notes.txt": b"mine"}


def test_another_result_is_not_overwritten(pacs: Pacs, out: Path) -> None:
    pacs.store(RESULT)
    other = (Object("1.2.3", b"other", "review-seg.dcm"), Object("1.2.4", b"other", "report-sr.dcm"))
    with pytest.raises(StorageFailed, match=r"report-sr\.dcm is already there"):
        pacs.store(other)
    assert contents(out) == COMPLETE


def test_a_file_name_cannot_leave_the_folder(pacs: Pacs, out: Path) -> None:
    pacs.store((Object("1.2.1", b"x", "../../escaped.dcm"),))
    assert contents(out) == {"escaped.dcm": b"x"}


def test_a_folder_in_place_of_a_file_is_a_failure_that_leaves_nothing(pacs: Pacs, out: Path) -> None:
    (out / "organ-seg.dcm").mkdir(parents=True)
    with pytest.raises(StorageFailed):
        pacs.store(RESULT)
    assert [path.name for path in out.iterdir()] == ["organ-seg.dcm"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("sub", [".", "new"])
def test_a_full_disk_is_said_and_leaves_nothing(small_disk: Path, sub: str) -> None:
    large = (RESULT[0], Object("1.2.2", bytes(200_000), "report-sr.dcm"))
    with pytest.raises(StorageFailed, match="No space left on device"):
        FolderPacs(small_disk / sub).store(large)
    assert list(small_disk.iterdir()) == []
