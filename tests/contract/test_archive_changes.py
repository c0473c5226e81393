"""The feed of a real Orthanc: nothing that came is overlooked, whatever is restarted, deleted or replaced."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.pacs import orthanc, reception
from services.pacs.dicomweb import DicomwebArchive
from services.pacs.orthanc import OrthancArchive
from tests.support.archive import Archive, archive_at
from tests.support.instances import ct_slice, ct_study
from tests.support.waiting import until


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("feed")


@pytest.fixture(scope="module")
def own(home: Path) -> Iterator[Archive]:
    """An archive that may be stopped and emptied."""
    with archive_at(home) as archive:
        yield archive


def client(archive: Archive) -> OrthancArchive:
    return Archive(archive.server, archive.server.process or archive.process).client()


def put(archive: Archive, *objects: object) -> None:
    Archive(archive.server, archive.server.start()).put(*(one.content for one in objects))  # type: ignore[attr-defined]


def kill(archive: Archive) -> None:
    """End it as a power cut does."""
    process = archive.server.process
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not process.alive, "it has ended")


def test_the_feed_of_an_empty_archive_is_empty(own: Archive) -> None:
    changes = client(own).changes(0)
    assert (changes.study_uids, changes.cursor, changes.more) == ((), 0, False)


def test_the_feed_tells_each_study_once_and_goes_on_where_it_was_read_to(own: Archive) -> None:
    feed = client(own)
    start = feed.changes(0).cursor
    first, second = ct_study(3, 2), ct_study(1)
    put(own, *first, *second)
    changes = feed.changes(start)
    assert sorted(changes.study_uids) == sorted({first[0].study_uid, second[0].study_uid})
    assert changes.cursor > start
    put(own, ct_slice(first[0].study_uid, first[0].series_uid, 9))
    assert feed.changes(changes.cursor).study_uids == (first[0].study_uid,)


def test_a_study_that_has_become_stable_is_told_again(own: Archive) -> None:
    feed = client(own)
    objects = ct_study(2)
    more = iter(range(3, 1000))

    def seen_before_it_is_stable() -> bool:
        """An image makes it unstable again; whoever looks too late sends another."""
        put(own, *objects)
        objects.append(ct_slice(objects[0].study_uid, objects[0].series_uid, next(more)))
        study = feed.study(objects[0].study_uid)
        assert study is not None
        return not study.stable

    until(seen_before_it_is_stable, "a study that is not stable")
    cursor = feed.changes(0).cursor
    until(lambda: objects[0].study_uid in feed.changes(cursor).study_uids, "it is told again")
    study = feed.study(objects[0].study_uid)
    assert study is not None
    assert study.stable


def test_a_long_feed_comes_in_stretches(own: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = client(own)
    cursor = feed.changes(0).cursor
    objects = [*ct_study(4), *ct_study(4)]
    put(own, *objects)
    monkeypatch.setattr(orthanc, "STRETCH", 3)
    told: set[str] = set()
    stretches, more = 0, True
    while more:
        changes = feed.changes(cursor)
        told |= set(changes.study_uids)
        cursor, more = changes.cursor, changes.more
        stretches += 1
    assert told >= {one.study_uid for one in objects}
    assert stretches >= 4  # 8 instances, 2 series, 2 studies


def test_objects_stand_as_the_archive_took_them_in_and_not_by_what_they_say(
    own: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = client(own)
    study = ct_study(1)[0]
    came = [
        ct_slice(study.study_uid, study.series_uid, number, ContentDate=f"{2030 - number}0101")
        for number in range(6)
    ]
    put(own, *came, *ct_study(4), came[0])
    uids = [one.sop_instance_uid for one in came]
    assert archive.as_they_came(sorted(uids)) == tuple((uid,) for uid in uids)
    monkeypatch.setattr(reception, "STRETCH", 2)
    assert archive.as_they_came(uids[::-2]) == tuple((uid,) for uid in uids[1::2])


def test_where_a_feed_does_not_tell_of_all_nobody_knows_the_order(own: Archive) -> None:
    archive = client(own)
    objects = ct_study(3)
    put(own, *objects)
    uids = tuple(one.sop_instance_uid for one in objects)
    assert archive.as_they_came((*uids, "1.2.3")) == ((*uids, "1.2.3"),), "one was deleted"
    assert DicomwebArchive(own.http("/dicom-web")).as_they_came(uids) == (uids,), "DICOMweb has no order"
    own.ask("/changes", method="DELETE")
    assert archive.as_they_came(uids) == (uids,)
    late = ct_slice(objects[0].study_uid, objects[0].series_uid, 9)
    put(own, late)
    assert archive.as_they_came((*uids, late.sop_instance_uid)) == ((*uids, late.sop_instance_uid),)


def test_what_was_deleted_since_is_left_out(own: Archive) -> None:
    feed = client(own)
    cursor = feed.changes(0).cursor
    gone, kept = ct_study(2), ct_study(1)
    put(own, *gone, *kept)
    [found] = own.ask("/tools/lookup", gone[0].study_uid.encode())
    own.ask(found["Path"], method="DELETE")
    assert feed.changes(cursor).study_uids == (kept[0].study_uid,)
    assert feed.study(gone[0].study_uid) is None


def test_a_cursor_outlives_a_crash_and_a_late_slice_is_told(own: Archive) -> None:
    objects = ct_study(2)
    put(own, *objects)
    cursor = client(own).changes(0).cursor
    kill(own)
    own.server.start()
    again = client(own).changes(cursor)
    assert again.cursor >= cursor
    put(own, ct_slice(objects[0].study_uid, objects[0].series_uid, 3))
    late = client(own).changes(again.cursor)
    assert objects[0].study_uid in late.study_uids
    assert late.cursor > again.cursor


def test_the_feed_of_a_replaced_database_is_read_from_its_start(
    own: Archive, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    put(own, *ct_study(3))
    cursor = client(own).changes(0).cursor
    kill(own)
    shutil.rmtree(home / "studies")
    own.server.start()
    empty = client(own).changes(cursor)
    assert (empty.study_uids, empty.cursor) == ((), 0)
    objects = ct_study(1)
    put(own, *objects)
    changes = client(own).changes(cursor)
    assert changes.study_uids == (objects[0].study_uid,)
    assert changes.cursor < cursor
    assert f"before {cursor}: it is read from its start" in caplog.text
