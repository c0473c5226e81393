"""Kept pictures are whole, found by their result, and go with their patient or their time."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import StorageFailed
from services.pictures.kept import StudyPictures
from services.pictures.picture import Drawn
from tests.support.drawn_organs import drawn

ONE, OTHER = "1" * 64, "2" * 64
PATIENT, ANOTHER = "a" * 64, "b" * 64


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "pictures"


def files(folder: Path) -> list[str]:
    return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())


def test_what_is_kept_of_a_result_is_found_by_its_key(folder: Path) -> None:
    pictures = StudyPictures(folder)
    pictures.keep(PATIENT, ONE, drawn())
    pictures.keep(PATIENT, OTHER, drawn("left_kidney"))
    assert pictures.of(ONE) == tuple(one.picture for one in drawn())
    assert [pictures.png(ONE, one.name) for one in pictures.of(ONE)] == [b"png1", b"png2"]
    assert [one.organ for one in pictures.of(OTHER)] == ["left_kidney"] * 2
    assert pictures.of("3" * 64) == ()


def test_the_same_again_draws_nothing_and_begins_its_time_anew(folder: Path) -> None:
    pictures = StudyPictures(folder)
    pictures.keep(PATIENT, ONE, drawn())
    [kept] = folder.glob("patients/*/*")
    os.utime(kept, (0, 0))

    def never() -> Iterator[Drawn]:
        raise AssertionError("drawn again")
        yield

    pictures.keep(PATIENT, ONE, never())
    assert pictures.forget(1) == 0
    assert pictures.png(ONE, "liver-coronal") == b"png2"


@pytest.mark.parametrize(
    ("key", "name"),
    [
        (ONE, "liver-axial-2"), (ONE, "../../../results/" + ONE), (ONE, "pictures"), (ONE, ""),
        ("../patients", "liver-coronal"), ("", "liver-coronal"), ("3" * 64, "liver-coronal"),
    ],
)  # fmt: skip
def test_no_other_name_leads_to_a_file(folder: Path, key: str, name: str) -> None:
    pictures = StudyPictures(folder)
    pictures.keep(PATIENT, ONE, drawn())
    with pytest.raises(KeyError):
        pictures.png(key, name)
    assert pictures.of(key) == (pictures.of(ONE) if key == ONE else ())


def test_a_patient_goes_with_all_and_nobody_else(folder: Path) -> None:
    pictures = StudyPictures(folder)
    third = "3" * 64
    for patient, key in ((PATIENT, ONE), (PATIENT, OTHER), (ANOTHER, third)):
        pictures.keep(patient, key, drawn())
    killed_amid_writing = folder / "patients" / PATIENT[:24] / ".0123" / "liver-axial-1.png"
    killed_amid_writing.parent.mkdir()
    killed_amid_writing.write_bytes(b"half of it")
    assert pictures.erase(PATIENT) == 2
    assert pictures.erase(PATIENT) == 0
    assert PATIENT[:24] not in " ".join(map(str, folder.rglob("*")))
    assert (pictures.of(ONE), pictures.of(OTHER)) == ((), ())
    assert [one.parent.name for one in folder.glob("*/*/*/*")] == [third] * 3
    assert files(folder / "results") == [third]
    assert len(pictures.of(third)) == 2


def test_images_that_name_another_patient_now_lead_to_that_one(folder: Path) -> None:
    pictures = StudyPictures(folder)
    pictures.keep(PATIENT, ONE, drawn())
    pictures.keep(ANOTHER, ONE, drawn(png=b"new"))
    assert pictures.erase(PATIENT) == 1
    assert pictures.png(ONE, "liver-coronal") == b"new2"


def test_old_ones_go_and_what_was_written_by_half(folder: Path) -> None:
    pictures = StudyPictures(folder)
    pictures.keep(PATIENT, ONE, drawn())
    pictures.keep(PATIENT, OTHER, drawn())
    killed_amid_writing = folder / "patients" / PATIENT[:24] / ".0123"
    killed_amid_writing.mkdir()
    old = time.time() - 31 * 86400
    for one in (folder / "patients" / PATIENT[:24] / ONE, killed_amid_writing):
        os.utime(one, (old, old))
    assert pictures.forget(32) == 0
    assert pictures.forget(30) == 1
    assert (pictures.of(ONE), len(pictures.of(OTHER))) == ((), 2)
    assert [one.name for one in folder.glob("*/*") if one.parent.name == "results"] == [OTHER]
    assert not killed_amid_writing.exists()
    assert pictures.forget(0) == 1
    assert files(folder) == []
    assert list((folder / "patients").iterdir()) == []


def test_no_name_of_a_file_tells_a_patient_or_a_uid_and_nobody_else_may_read(folder: Path) -> None:
    StudyPictures(folder).keep(PATIENT, ONE, drawn())
    assert files(folder) == [
        f"patients/{PATIENT[:24]}/{ONE}/liver-axial-1.png",
        f"patients/{PATIENT[:24]}/{ONE}/liver-coronal.png",
        f"patients/{PATIENT[:24]}/{ONE}/pictures.json",
        f"results/{ONE}",
    ]
    modes = {one.stat().st_mode & 0o777 for one in (folder, *folder.rglob("*")) if one.is_dir()}
    assert modes == {0o700}
    assert {one.stat().st_mode & 0o777 for one in folder.rglob("*") if one.is_file()} == {0o600}


def test_what_finds_no_room_is_told_and_leaves_nothing(folder: Path) -> None:
    pictures = StudyPictures(folder)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(StorageFailed, match="pictures of organs cannot be written: File too large"):
            pictures.keep(PATIENT, ONE, (*drawn(), *drawn("spleen", b"x" * 2000)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert files(folder) == []
    assert pictures.of(ONE) == ()
    pictures.keep(PATIENT, ONE, drawn())
    assert len(pictures.of(ONE)) == 2


def test_a_document_that_is_damaged_is_told(folder: Path) -> None:
    pictures = StudyPictures(folder)
    pictures.keep(PATIENT, ONE, drawn())
    [document] = folder.rglob("pictures.json")
    for content in ("{", '{"pictures": [{"name": 3}]}'):
        document.write_text(content)
        with pytest.raises(StorageFailed, match="segment the study again"):
            pictures.of(ONE)
