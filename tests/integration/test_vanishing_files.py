"""Files that vanish or change at each step of a read: the whole series or an error, never fewer slices."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless

from models.errors import ReadFailed, Refused
from models.series.slice_contents import NOT_JUDGED
from services.dicom.ct.check import check_folder
from services.dicom.ct.loaded import load
from services.dicom.ct.phantom_series import read_truth, write_truth
from services.dicom.ct.series import read_series
from services.dicom.foreign import bounded_file, reader
from services.dicom.seg.files import find_seg, members_of
from tests.support.ct_files import case, written

SLICES = 6
Act = Callable[[], None]


class _Steps:
    """Acts before one step of what touches a folder: each look into it, each opening of a file in it.

    Python's audit hooks cannot be taken away again, so there is one, and it is idle unless it is armed.
    """

    def __init__(self) -> None:
        self.folder, self.act, self.at, self.seen = "", None, -1, 0
        sys.addaudithook(self._hook)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.folder or event not in ("open", "os.scandir", "os.listdir"):
            return
        where = arguments[0]
        if not isinstance(where, str | bytes | os.PathLike) or not os.fsdecode(where).startswith(self.folder):
            return
        if self.seen == self.at and self.act is not None:
            self.seen += 1
            self.act()
        else:
            self.seen += 1

    @contextmanager
    def before(self, step: int, folder: Path, act: Act | None) -> Iterator[None]:
        self.folder, self.act, self.at, self.seen = str(folder), act, step, 0
        try:
            yield
        finally:
            self.folder = ""


@pytest.fixture(scope="session")
def steps() -> _Steps:
    return _Steps()


def read_whole(source: Path | list[Path]) -> np.ndarray:
    (reading,) = read_series(source)
    return load(reading).volume.hu


def remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def cut_in_the_header(path: Path) -> None:
    os.truncate(path, 300)


def cut_in_the_pixels(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 20)


def exchange(path: Path) -> None:
    """Put another image under the name, as a second writer would."""
    other = dcmread(path)
    if other.file_meta.TransferSyntaxUID.is_compressed:
        other.decompress()
    other.PixelData = bytes(len(other.PixelData))
    aside = path.parent.parent / "aside"
    other.save_as(aside)
    aside.rename(path)


def make(folder: Path, compressed: bool) -> list[Path]:
    paths = written(folder)
    for path in paths if compressed else ():
        image = dcmread(path)
        image.compress(RLELossless, generate_instance_uid=False)
        image.save_as(path)
    return paths


@pytest.mark.parametrize("act", [remove, cut_in_the_header, cut_in_the_pixels, exchange])
@pytest.mark.parametrize("named", [False, True], ids=["folder", "named"])
@pytest.mark.parametrize("compressed", [False, True], ids=["native", "compressed"])
def test_a_file_lost_at_any_step_leaves_the_whole_series_or_an_error(
    steps: _Steps, tmp_path: Path, act: Callable[[Path], None], named: bool, compressed: bool
) -> None:
    """The last slice, which no gap betrays. What a folder lost before it is looked into was never listed."""
    folder = tmp_path / "ct"
    last = make(folder, compressed)[-1]
    content, state = last.read_bytes(), last.stat()
    before = read_whole(folder)
    source: Path | list[Path] = sorted(folder.iterdir()) if named else folder
    with steps.before(-1, folder, None):
        read_whole(source)
    count = steps.seen
    assert count >= 2 * SLICES
    outcomes: set[str] = set()
    for step in range(0 if named else 1, count):
        if not last.exists() or last.read_bytes() != content:
            last.write_bytes(content)
        os.utime(last, ns=(state.st_atime_ns, state.st_mtime_ns))
        with steps.before(step, folder, lambda: act(last)):
            try:
                np.testing.assert_array_equal(read_whole(source), before)
            except ReadFailed as failed:
                outcomes.add("changed" if "changed" in str(failed) else "vanished")
            else:
                outcomes.add("whole")
    assert outcomes - {"whole"} == {"vanished" if act is remove else "changed"}


def test_a_named_file_that_is_not_there_is_an_error_and_no_verdict(tmp_path: Path) -> None:
    paths = written(tmp_path)
    paths[-1].unlink()
    paths[-2].unlink()
    with pytest.raises(ReadFailed, match="vanished"):
        read_series(paths)
    os.mkfifo(paths[-1])
    paths[-2].symlink_to(tmp_path / "nowhere")
    for several in (paths[:-2] + paths[-1:], paths[:-1]):
        with pytest.raises(ReadFailed):
            read_series(several)
    assert read_whole(paths[:-2]).shape[0] == SLICES - 2


@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_vanishes_between_the_look_into_a_folder_and_the_first_question_about_it_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    last = written(tmp_path / "ct" / "deep")[-1]
    scandir = os.scandir

    class Looked:
        def __init__(self, folder: Path) -> None:
            with scandir(folder) as found:
                self.entries = list(found)
            if what == "file" and folder == last.parent:
                last.unlink()
            elif what == "folder" and folder != last.parent:
                last.parent.rename(tmp_path / "elsewhere")

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self.entries

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Looked)
    with pytest.raises(ReadFailed, match="vanished"):
        read_series(tmp_path / "ct")


@pytest.mark.parametrize("compressed", [False, True], ids=["native", "compressed"])
def test_a_file_cut_while_it_is_open_is_an_error_and_no_broken_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool
) -> None:
    """Between every question about an open file's state and what is read next."""
    folder = tmp_path / "ct"
    last = make(folder, compressed)[-1]
    content, state, fstat = last.read_bytes(), last.stat(), os.fstat
    asked = {"until": -1}

    def cutting(descriptor: int) -> os.stat_result:
        found = fstat(descriptor)
        if found.st_ino == state.st_ino:
            asked["until"] -= 1
            if asked["until"] == 0:
                os.truncate(last, 200)
        return found

    whole = read_whole(folder)
    monkeypatch.setattr(os, "fstat", cutting)
    read_whole(folder)
    questions = -1 - asked["until"]
    assert questions >= 4
    outcomes = []
    for number in range(1, questions + 1):
        with last.open("r+b") as file:
            file.write(content)
        os.utime(last, ns=(state.st_atime_ns, state.st_mtime_ns))
        asked["until"] = number
        try:
            np.testing.assert_array_equal(read_whole(folder), whole)
            outcomes.append("whole")
        except ReadFailed as failed:
            outcomes.append(str(failed).partition(" while ")[0])
    # Behind the last question everything was read.
    assert outcomes == ["A file was changed"] * (questions - 1) + ["whole"]


def test_a_disk_that_fails_while_the_header_or_the_pixels_are_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The careful way; the cheap one leaves to it what it cannot read."""
    folder = tmp_path / "ct"
    make(folder, compressed=True)
    (reading,) = read_series(folder)

    class Failing(bounded_file.FileIO):  # type: ignore[misc]
        def readinto(self, _: Any) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(reader, "header_in_head", lambda *_: None)
    monkeypatch.setattr(bounded_file, "FileIO", Failing)
    with pytest.raises(ReadFailed, match="Input/output error"):
        load(reading)
    with pytest.raises(ReadFailed, match="Input/output error"):
        read_series(folder)


def test_a_folder_that_may_not_be_looked_into_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "open")
    written(tmp_path / "closed")
    scandir = os.scandir

    def looked(folder: Path) -> Iterator[os.DirEntry[str]]:
        if folder.name == "closed":  # the tests may run as root, who may look everywhere
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", looked)
    with pytest.raises(ReadFailed, match="Permission denied"):
        read_series(tmp_path)


def test_a_link_that_leads_nowhere_is_told(tmp_path: Path) -> None:
    written(tmp_path)
    (tmp_path / "gone.dcm").symlink_to(tmp_path / "nowhere")
    (row,) = check_folder(tmp_path)
    assert row["notes"] == ["1 file(s) of 7 are links that lead nowhere and belong to no series.", NOT_JUDGED]


@pytest.mark.parametrize("read", [find_seg, members_of])
def test_a_study_s_folder_of_which_a_file_vanishes_names_no_seg_and_no_members(
    steps: _Steps, tmp_path: Path, read: Callable[[Path], object]
) -> None:
    folder = tmp_path / "ct"
    last = written(folder)[-1]
    content = last.read_bytes()
    with steps.before(-1, folder, None):
        try:
            whole = read(folder)
        except Refused:
            whole = "refused"
    outcomes = set()
    for step in range(1, steps.seen):
        last.write_bytes(content)
        with steps.before(step, folder, lambda: remove(last)):
            try:
                assert read(folder) == whole
            except ReadFailed:
                outcomes.add("error")
            except Refused:
                assert whole == "refused"
    assert outcomes == {"error"}


def test_a_truth_that_is_cut_is_damaged_and_never_fewer_organs(tmp_path: Path) -> None:
    from flows.cases.keep import _written_truth

    path, phantom = tmp_path / "truth.npz", case()
    write_truth(phantom, path)
    whole = path.read_bytes()
    (reading,) = read_series(written(tmp_path / "ct")[0].parent)
    ct = load(reading)
    assert set(_written_truth(path, ct)) == set(read_truth(path)[0]) == set(phantom.truth)
    for length in range(0, len(whole), len(whole) // 20):
        path.write_bytes(whole[:length])
        with pytest.raises(Refused, match="truth-unreadable"):
            _written_truth(path, ct)
