"""Runs of one study over a real Orthanc: one that is followed commits nothing, nor one that lost a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from flows.arrivals.one_run import one_run
from flows.corrections.ingest import ingest
from flows.segmentation import flow as segmentation
from flows.segmentation.segment import segment
from models.errors import LeaseLost, ReadFailed, ServingUnavailable
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.store import open_records
from services.settings import Settings
from services.wiring import connect_in_process
from tests.support.archive import Archive
from tests.support.arrivals import SLICES, Hospital, open_hospital, write_short_phantom
from tests.support.learning import ORGANS, Site, open_site
from tests.support.log import lines


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return open_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short_phantom(tmp_path_factory.mktemp("phantom") / "ct")


@pytest.fixture
def hospital(site: Site, phantom: Path, clean_archive: Archive, tmp_path: Path) -> Hospital:
    return open_hospital(site, clean_archive, phantom, tmp_path, waits=False)


def at(step: str, act: Callable[[], object]) -> Callable[[str], None]:
    """Return what acts once a run tells of a step."""
    waiting = [act]

    def told(message: str) -> None:
        if message.startswith(step) and waiting:
            waiting.pop()()

    return told


@pytest.mark.parametrize("step", ["reading", "writing", "storing"])
def test_a_run_that_was_believed_dead_commits_nothing_once_another_has_begun(
    hospital: Hospital, step: str
) -> None:
    """The other run sees one image more; the first would put the shorter CT's result beside, or on top."""
    *most, last = sorted(hospital.ct.iterdir())
    hospital.push(*most)

    def again() -> None:
        hospital.push(last)
        segment(hospital.study_uid, None, connect_in_process(hospital.services.settings), organs=ORGANS)

    with pytest.raises(LeaseLost, match=f"segment:{hospital.study_uid}"):
        segment(hospital.study_uid, None, hospital.services, organs=ORGANS, progress=at(step, again))
    assert len(hospital.recorded()) == 1
    assert hospital.results() == hospital.of_record()
    assert hospital.arrival.state is ArrivalState.SEGMENTED
    later = hospital.arrival.version
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert hospital.arrival.version == later
    assert len(hospital.recorded()) == 1, "the result on record was made from all images"


def test_how_a_run_ends_that_was_followed_is_no_news_of_its_study(tmp_path: Path) -> None:
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")

    def cut_off() -> None:
        with one_run("segment:1.2", records):
            with one_run("segment:1.2", records):
                pass
            raise ServingUnavailable("the node is cut off")

    with pytest.raises(LeaseLost):
        cut_off()
    with pytest.raises(ServingUnavailable), one_run("segment:1.2", records):
        raise ServingUnavailable("the server is away")
    records.close()


def test_a_run_that_was_followed_says_nothing_of_its_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = connect_in_process(Settings(home=tmp_path))
    submitted = Arrival("1.9", "1.9", ArrivalState.SUBMITTED, run="the second")
    services.records.change_arrival(None, submitted)

    def followed(*_: object, **__: object) -> None:
        raise LeaseLost("another has taken over")

    monkeypatch.setattr(segmentation, "connect", lambda _: services)
    monkeypatch.setattr(segmentation, "segment", followed)
    with pytest.raises(LeaseLost):
        segmentation.segment_task.fn("1.9", None, None)
    found = services.records.arrival("1.9")
    assert found is not None
    assert (found.state, found.run, found.code) == (ArrivalState.SUBMITTED, "the second", "")


def fetched(hospital: Hospital) -> list[Path]:
    return sorted(hospital.services.settings.work_folder.glob("*/*/*.dcm"))


def last_image(hospital: Hospital) -> str:
    """Return the SOP Instance UID of the last slice, which no gap betrays."""
    return str(dcmread(sorted(hospital.ct.iterdir())[-1], stop_before_pixels=True).SOPInstanceUID)


@pytest.mark.parametrize("lost", ["removed", "cut in the pixels", "emptied"])
def test_a_fetched_image_that_is_lost_before_it_is_read_ends_the_run_and_it_may_be_tried_again(
    hospital: Hospital, lost: str
) -> None:
    hospital.push()
    hospital.services.records.change_arrival(None, Arrival(hospital.study_uid, hospital.study_uid))

    def lose() -> None:
        assert len(fetched(hospital)) == SLICES
        [last] = [path for path in fetched(hospital) if path.stem == last_image(hospital)]
        if lost == "removed":
            last.unlink()
        else:
            os.truncate(last, 0 if lost == "emptied" else last.stat().st_size - 100)

    with pytest.raises(ReadFailed, match="vanished" if lost == "removed" else "was changed"):
        segment(hospital.study_uid, None, hospital.services, organs=ORGANS, progress=at("reading", lose))
    assert hospital.results() == hospital.recorded() == []
    assert hospital.arrival.state is ArrivalState.WAITING
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert hospital.arrival.state is ArrivalState.SEGMENTED


@pytest.mark.parametrize("length", [0, 300])
def test_an_image_that_the_archive_lists_and_nobody_can_read_is_no_verdict_on_the_others(
    hospital: Hospital, length: int
) -> None:
    """The archive says of which series it is; a folder does not, and there it is noted in every verdict."""
    hospital.push()
    archive = hospital.services.archive
    assert archive is not None
    whole = archive.fetch_study

    def broken(source: str, into: Path) -> Path:
        folder = whole(source, into)
        os.truncate(folder / f"{last_image(hospital)}.dcm", length)
        return folder

    archive.fetch_study = broken  # type: ignore[method-assign]
    with pytest.raises(ReadFailed, match=f"1 of the {SLICES} images that the archive lists"):
        segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert hospital.results() == hospital.recorded() == []
    assert lines(hospital.services.records, "study-refused") == ()


def test_a_correction_whose_ct_was_lost_on_the_way_is_no_stranger(hospital: Hospital) -> None:
    """It would be refused for good; the next run reads it."""
    from flows.corrections.ingest import memory_of

    hospital.push()
    hospital.segmented()
    ours = hospital.recorded()[0]["organ-seg"]
    memory = memory_of(hospital.services.settings)
    assert memory is not None
    assert memory.archive is not None
    whole = memory.archive.fetch_study

    def losing(source: str, into: Path) -> Path:
        folder = whole(source, into)
        (folder / f"{hospital.archive.instances()[0]['SOPInstanceUID']}.dcm").unlink()
        return folder

    memory.archive.fetch_study = losing  # type: ignore[method-assign]
    with pytest.raises(ReadFailed, match="vanished"):
        ingest(ours, memory=memory)
    memory.archive.fetch_study = whole  # type: ignore[method-assign]
    assert ingest(ours, memory=memory).status == "ours-unchanged"


def test_a_second_run_of_a_correction_leaves_the_first_without_a_word(hospital: Hospital) -> None:
    from flows.corrections.ingest import memory_of

    hospital.push()
    hospital.segmented()
    ours = hospital.recorded()[0]["organ-seg"]
    memory = memory_of(hospital.services.settings)
    assert memory is not None
    archive = memory.archive
    assert archive is not None
    other = replace(memory, records=open_records(hospital.services.settings.records_url))
    whole = archive.fetch_study

    def late(source: str, into: Path) -> Path:
        archive.fetch_study = whole  # type: ignore[method-assign]
        ingest(ours, memory=other)
        return whole(source, into)

    archive.fetch_study = late  # type: ignore[method-assign]
    with pytest.raises(LeaseLost, match=f"ingest:{ours}"):
        ingest(ours, memory=memory)
