"""What the child is ended by is the file's fault, and never the worker's."""

from __future__ import annotations

import os
import struct
import threading
from pathlib import Path

import pytest

from models.errors import ReadFailed, Refused
from services.dicom.ct import series
from services.dicom.ct.series import read_series
from services.dicom.foreign import rehearsal
from services.dicom.foreign.bounded_file import TooLargeFile
from services.dicom.foreign.job import Job, Kind
from services.dicom.foreign.kept import weight_of
from services.dicom.foreign.limits import DEEPEST, MIB, SEG
from services.dicom.foreign.listing import FileState, ListedFile
from services.dicom.foreign.objects import opened_object
from services.dicom.foreign.reader import opened
from services.dicom.foreign.rehearsal import rehearse_images, rehearse_seg
from tests.support.ct_files import written
from tests.support.dicom_trees import UNDEFINED, Node, Tree, tree_of
from tests.support.hostile_objects import SEQUENCES, deflated, nested, of_items, plain
from tests.support.waiting import GUARD_SECONDS


def job(path: Path, memory_bytes: int = 384 * MIB, seconds: int = 30) -> Job:
    return Job.of(Kind.SEG, [ListedFile(path, None)], memory_bytes, seconds)


@pytest.fixture
def costly(tmp_path: Path) -> Path:
    """As many items as are allowed: seconds of processor time, 70 MB."""
    path = written(tmp_path / "costly")[0]
    deflated(path, of_items(SEQUENCES["one of a SEG"], SEG.items - 10))
    return path


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    return written(tmp_path / "sound")[0]


def test_a_child_that_runs_out_of_time_is_the_files_fault_and_the_next_one_is_read(
    costly: Path, sound: Path
) -> None:
    with pytest.raises(TooLargeFile, match="processor time"):
        rehearsal._rehearse(job(costly, seconds=0))
    assert rehearsal._rehearse(job(sound)).too_large == ()


def test_a_child_that_runs_out_of_memory_is_the_files_fault_and_the_next_one_is_read(
    costly: Path, sound: Path
) -> None:
    assert rehearsal._rehearse(job(costly, memory_bytes=16 * MIB)).too_large == (0,)
    assert rehearsal._rehearse(job(sound)).too_large == ()
    assert rehearsal._rehearse(job(costly)).too_large == (), "it was within the limits"


def test_a_child_that_somebody_ends_is_nobodys_fault(tmp_path: Path, sound: Path) -> None:
    """It waits for a pipe that nobody writes to, and is ended meanwhile."""
    os.mkfifo(tmp_path / "pipe")
    child = rehearsal._Child()
    ending = threading.Timer(0.5, child._process.kill)
    ending.start()
    with pytest.raises(ReadFailed, match="try again"):
        child.do(job(tmp_path / "pipe"))
    ending.join(GUARD_SECONDS)
    assert rehearsal._rehearse(job(sound)).too_large == ()


def test_what_a_child_complained_of_is_said(tmp_path: Path) -> None:
    child = rehearsal._Child()
    broken = Job(Kind.SEG, ("a", "b"), (None,), 384 * MIB, 30)
    with pytest.raises(ReadFailed, match=r"status 1 \(ValueError: .*\): try again"):
        child.do(broken)


def test_more_files_than_a_child_may_hold_the_names_of_are_read_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rehearsal, "IMAGES_BYTES", 8 * MIB)
    rehearsal.end_children()
    many = [ListedFile(tmp_path / f"{n:0200d}", None) for n in range(50_000)]
    deep = written(tmp_path / "ct")[0]
    plain(deep, nested(SEQUENCES["OtherPatientIDsSequence"], DEEPEST + 2))
    assert rehearse_images([ListedFile.of(deep)]) == {deep}, "from now on the child is bounded"
    assert rehearse_images([*many, ListedFile.of(deep)]) == {deep}
    rehearsal.end_children()


def test_a_large_file_is_allowed_more_items_than_a_small_one_that_inflates_to_them(tmp_path: Path) -> None:
    """Of nine organs on 1,500 slices, every slice of every organ: eight items for each frame."""
    items = 9 * 1500 * 8
    small, large = written(tmp_path)[:2]
    deflated(small, of_items(SEQUENCES["one of a SEG"], items))
    plain(large, of_items(SEQUENCES["one of a SEG"], items))
    rehearse_seg(large, FileState.of(large.stat()))
    with pytest.raises(TooLargeFile):
        rehearse_seg(small, FileState.of(small.stat()))
    assert SEG.items_in(SEG.file_bytes) == SEG.most_items


def test_a_child_has_no_secret_of_its_parents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORGANLOOP_ARCHIVE_PASSWORD", "secret")
    child = rehearsal._Child()
    environment = Path(f"/proc/{child._process.pid}/environ")
    try:
        assert b"secret" not in environment.read_bytes()
    finally:
        child.end()


@pytest.mark.parametrize("defined", [False, True], ids=["undefined length", "defined length"])
def test_sequences_lie_only_so_deep_in_each_other(tmp_path: Path, defined: bool) -> None:
    paths = written(tmp_path)
    plain(paths[0], nested(SEQUENCES["OtherPatientIDsSequence"], DEEPEST - 2, defined=defined))
    plain(paths[1], nested(SEQUENCES["OtherPatientIDsSequence"], DEEPEST + 2, defined=defined))
    rehearse_seg(paths[0], FileState.of(paths[0].stat()))
    with pytest.raises(TooLargeFile):
        rehearse_seg(paths[1], FileState.of(paths[1].stat()))
    assert rehearse_images([ListedFile.of(path) for path in paths[:2]]) == {paths[1]}


def test_a_file_is_found_wherever_it_is_named_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "ct")[0]
    plain(path, nested(SEQUENCES["OtherPatientIDsSequence"], DEEPEST + 2))
    monkeypatch.chdir(tmp_path)
    relative = path.relative_to(tmp_path)
    assert rehearse_images([ListedFile.of(relative)]) == {relative}


@pytest.mark.parametrize("defined", [False, True], ids=["undefined length", "defined length"])
def test_items_are_counted_where_they_are_parsed_late_too(tmp_path: Path, defined: bool) -> None:
    path = written(tmp_path)[0]
    deflated(path, of_items(SEQUENCES["one of a SEG"], SEG.items + 10_000, defined=defined))
    with pytest.raises(TooLargeFile):
        rehearse_seg(path, FileState.of(path.stat()))
    if defined:
        opened_object(path, SEG)  # here they are bytes, and would become items when they are asked for


def test_of_a_header_nothing_private_is_kept(tmp_path: Path) -> None:
    path = written(tmp_path)[0]
    before = opened(path, pixels=False)
    plain(path, of_items(SEQUENCES["a private one"], 5000))
    after = opened(path, pixels=False)
    assert before is not None
    assert after is not None
    assert weight_of(after) == weight_of(before)
    assert after.to_json() == before.to_json()


def test_items_may_hold_what_no_dictionary_knows(tmp_path: Path) -> None:
    """In implicit VR nothing says what a private element is."""
    path = written(tmp_path)[0]
    inner = Node(0x00211010, b"LO", b"private ")
    tree = tree_of(path.read_bytes())
    sequence = Node(0x00081110, b"SQ", ((inner,),), UNDEFINED)
    nodes = tuple(sorted([*tree.nodes, sequence], key=lambda node: node.tag))
    path.write_bytes(Tree(nodes, "implicit", "implicit").content())
    header = opened(path, pixels=False)
    assert header is not None
    assert weight_of(header).objects > len(header)


@pytest.mark.parametrize("defined", [False, True], ids=["undefined length", "defined length"])
def test_more_than_a_little_of_one_header_is_not_kept(tmp_path: Path, defined: bool) -> None:
    """Parsed or not: what lies there as bytes becomes objects when a rule asks for it."""
    paths = written(tmp_path)
    plain(paths[0], of_items(SEQUENCES["OtherPatientIDsSequence"], 1800, defined=defined))
    plain(paths[1], of_items(SEQUENCES["OtherPatientIDsSequence"], 2100, defined=defined))
    assert opened(paths[0], pixels=False) is not None
    with pytest.raises(TooLargeFile):
        opened(paths[1], pixels=False)


@pytest.mark.parametrize("defined", [False, True], ids=["undefined length", "defined length"])
def test_how_long_the_values_in_a_sequence_are_does_not_make_objects_of_them(
    tmp_path: Path, defined: bool
) -> None:
    """Of 20 kB in one value a header has one object more, however the length of its sequence is written."""
    path = written(tmp_path)[0]
    value = struct.pack("<HH2sH", 0x0010, 0x0020, b"LO", 20_000) + b"x" * 20_000
    inside = struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value
    plain(path, of_items(SEQUENCES["OtherPatientIDsSequence"], 1, defined=defined, inside=inside))
    assert opened(path, pixels=False) is not None


def test_the_headers_of_a_source_are_bounded_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = written(tmp_path)
    for path in paths:
        plain(path, of_items(SEQUENCES["OtherPatientIDsSequence"], 100))
    whole = sum(weight_of(image).objects for reading in read_series(tmp_path) for image in reading.images)
    monkeypatch.setattr(series, "SOURCE_OBJECTS", whole)
    read_series(tmp_path)
    monkeypatch.setattr(series, "SOURCE_OBJECTS", whole - 1)
    with pytest.raises(Refused, match="too-large"):
        read_series(tmp_path)
