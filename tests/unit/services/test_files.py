"""Files and folders that are written whole, or not at all."""

import os

import pytest

from models.errors import InvalidRelease, StorageFailed
from services.files import (
    appear,
    folder_aside,
    put,
    replace,
    replacing,
    storage_errors,
    write_first,
    write_once,
)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_that_is_written_once_is_never_changed(tmp_path):
    path = tmp_path / "deep" / "one"
    write_once(path, b"a")
    write_once(path, b"a")
    with pytest.raises(InvalidRelease, match="other bytes"):
        write_once(path, b"b")
    write_first(path, b"c")
    assert (path.read_bytes(), names(path.parent)) == (b"a", ["one"])


def test_of_two_who_write_first_one_counts(tmp_path, monkeypatch):
    path, link = tmp_path / "key", os.link

    def another_is_quicker(aside, target):
        target.write_bytes(b"theirs")
        link(aside, target)

    monkeypatch.setattr(os, "link", another_is_quicker)
    write_first(path, b"ours")
    assert (path.read_bytes(), names(tmp_path)) == (b"theirs", ["key"])


def test_a_secret_is_readable_by_its_owner_only(tmp_path):
    write_first(tmp_path / "key", b"secret", mode=0o600)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_aside(tmp_path, monkeypatch):
    path = tmp_path / "one"
    replace(path, b"old")
    with pytest.raises(TypeError), replacing(path) as file:
        file.writelines([b"half", "of it"])

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFailed, match="one cannot be written: No space left"):
        replace(path, b"new")
    with pytest.raises(OSError, match="No space left"):
        write_first(tmp_path / "other", b"new")
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["one"])


def test_a_folder_appears_whole_and_only_where_none_is(tmp_path):
    there = tmp_path / "there"
    for text, came in (("first", True), ("second", False)):
        with folder_aside(tmp_path / ".aside") as aside:
            (aside / "file").write_text(text)
            assert appear(aside, there) is came
    assert ((there / "file").read_text(), names(tmp_path)) == ("first", ["there"])


def test_a_folder_may_take_the_place_of_another_and_what_a_killed_writer_left_goes(tmp_path):
    there, left = tmp_path / "there", tmp_path / ".aside"
    for folder in (there, left):
        folder.mkdir()
        (folder / "old").touch()
    with folder_aside(left) as aside:
        (aside / "new").touch()
        put(aside, there)
    assert (names(there), names(tmp_path)) == (["new"], ["there"])


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(FileNotFoundError), folder_aside(tmp_path / "deep" / ".aside") as aside:
        (aside / "none" / "file").touch()
    assert names(tmp_path / "deep") == []


def test_an_error_of_the_disk_is_a_sentence(tmp_path):
    said = pytest.raises(StorageFailed, match="the list cannot be read: No such file")
    with said, storage_errors("the list", "cannot be read"):
        (tmp_path / "none").read_bytes()
