"""Which of two saves came later, a real Orthanc says: no clock of a viewer, and not who is read first."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread

from flows.corrections.ingest import Said, ingest
from flows.corrections.report import Ingested, NotTaken
from flows.corrections.returned_seg import Memory
from models.errors import PacsFailed
from services.cases.disagreements import Policy, ReadersDisagree
from services.cases.store import CaseStore
from services.pacs.dicomweb import DicomwebArchive
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.store import open_records
from services.settings import Settings
from services.wiring import archive_of
from tests.integration.test_kept_corrections import teaching
from tests.support.archive import Archive
from tests.support.log import lines
from tests.support.paper_releases import paper_contract
from tests.support.returned_segs import (
    altered,
    erase_rows,
    look_at,
    new_uid,
    put_on_record,
    repainted,
    without_spleen,
)

EARLY, LATE = "20010101", "20991231"
TAKEN_BACK, NOTHING = "saved as it was sent after a correction", "no reader changed anything"


@pytest.fixture
def memory(tmp_path: Path, clean_archive: Archive) -> Iterator[Memory]:
    records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    pacs = archive_of(Settings(home=tmp_path, **clean_archive.named))
    yield Memory(
        records, CaseStore(tmp_path / "cases"), paper_contract(("liver",), 5.0), pacs, tmp_path / "work"
    )
    records.close()


@pytest.fixture
def archived(ohif: Path, memory: Memory, clean_archive: Archive) -> Archive:
    """The CT and the result of release 1, in the archive and on record."""
    clean_archive.put(ohif / "ct", ohif / "sent.dcm")
    put_on_record(memory.records, ohif / "sent.dcm", ohif / "ct")
    return clean_archive


@pytest.fixture
def correction(ohif: Path, tmp_path: Path) -> Path:
    """What a reader painted, saved by a clock that is far ahead."""
    tags = {"ContentCreatorName": "Dr A", "ContentDate": LATE}
    return new_uid(altered(ohif / "saved-by-ohif.dcm", tmp_path / "corrected.dcm", **tags), "2.25.3")


@pytest.fixture
def as_sent(ohif: Path, tmp_path: Path) -> Path:
    """What the same reader saved untouched, by a clock that is far behind."""
    tags = {"ContentCreatorName": "Dr A", "ContentDate": EARLY}
    return new_uid(altered(ohif / "untouched-in-ohif.dcm", tmp_path / "as-sent.dcm", **tags), "2.25.2")


def take_in(source: str | Path, memory: Memory, *answers: str) -> Ingested | NotTaken:
    return ingest(str(source), memory=memory, said=Said(answers, "Dr A"))


def test_a_save_that_takes_back_does_so_though_it_is_read_before_what_it_takes_back(
    memory, archived, correction, as_sent
):
    archived.put(correction, as_sent)
    assert NOTHING in take_in("2.25.2", memory).why
    late = take_in("2.25.3", memory)
    assert (late.kept, late.teaches, late.disagreements) == (True, (), ())
    assert teaching(memory) == teaching(memory, Policy(ReadersDisagree.LATEST)) == {}
    assert TAKEN_BACK in take_in("2.25.2", memory).why


def test_a_save_as_it_was_sent_that_came_first_takes_nothing_back_though_it_is_read_last(
    memory, archived, correction, as_sent
):
    archived.put(as_sent, correction)
    assert take_in("2.25.3", memory).teaches == ("liver",)
    assert NOTHING in take_in("2.25.2", memory).why
    assert teaching(memory) == {"2.25.3": ("liver",)}
    told = [event.payload["saves"] for event in lines(memory.records, "saves-arrived")]
    assert told == [["2.25.2"], ["2.25.3"]], "each once"


def test_saves_that_are_read_at_once_stand_as_they_came(memory, archived, correction, as_sent, tmp_path):
    archived.put(correction, as_sent)

    def read(uid: str) -> None:
        records = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
        take_in(uid, replace(memory, records=records, work=tmp_path / uid))
        records.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(read, ("2.25.2", "2.25.3")))
    assert len(memory.records.corrections()) == 2
    assert teaching(memory) == {}


def test_an_answer_to_an_older_save_does_not_make_it_the_latest(memory, archived, correction, tmp_path):
    asked = new_uid(without_spleen(correction, tmp_path / "asked.dcm"), "2.25.4")
    later = repainted(correction, tmp_path / "later.dcm", erase_rows("Liver", 3), ContentDate=EARLY)
    archived.put(asked, new_uid(later, "2.25.5"))
    take_in("2.25.5", memory)
    assert len(take_in("2.25.4", memory).questions) == 1
    answered = take_in("2.25.4", memory, "spleen=not-reviewed")
    assert (answered.version, answered.kept, answered.teaches) == (2, True, ())
    assert teaching(memory) == {"2.25.5": ("liver",)}


def test_a_file_comes_when_it_is_put_on_record_behind_what_waits_in_the_archive(
    memory, archived, correction, as_sent
):
    archived.put(as_sent)
    assert take_in(correction, memory).teaches == ("liver",)
    assert NOTHING in take_in("2.25.2", memory).why
    assert teaching(memory) == {"2.25.3": ("liver",)}


def test_what_the_archive_takes_in_after_a_file_was_put_on_record_is_later(
    memory, archived, correction, as_sent
):
    take_in(correction, memory)
    archived.put(as_sent)
    assert TAKEN_BACK in take_in("2.25.2", memory).why
    assert teaching(memory) == {}


def test_what_an_earlier_version_read_as_it_was_sent_and_did_not_keep_takes_nothing_back(
    memory, archived, correction, as_sent
):
    """It kept such a save only after a correction; whatever the archive holds now, it was read before."""
    archived.put(correction, as_sent)
    take_in("2.25.3", memory)
    study_uid = dcmread(as_sent, stop_before_pixels=True).StudyInstanceUID
    read = Arrival("2.25.2", study_uid, ArrivalState.INGESTED, code="ours-unchanged")
    memory.records.change_arrival(None, read)
    assert NOTHING in take_in("2.25.2", memory).why
    assert teaching(memory) == {"2.25.3": ("liver",)}


def test_nothing_is_put_on_record_while_the_archive_cannot_say_what_came_before(
    ohif, memory, archived, correction, tmp_path
):
    away = archive_of(Settings(home=tmp_path, orthanc_url="http://127.0.0.1:9", archive_deadline_seconds=0.2))
    with pytest.raises(PacsFailed):
        ingest(correction, ohif / "ct", ohif / "sent.dcm", replace(memory, archive=away))
    assert memory.records.corrections() == ()
    first = ingest(correction, ohif / "ct", ohif / "sent.dcm", memory)
    again = ingest(correction, ohif / "ct", ohif / "sent.dcm", replace(memory, archive=away))
    assert again == first, "told again, it has its place"


def test_where_dicomweb_alone_is_asked_saves_first_seen_together_wait_and_one_seen_later_is_later(
    memory, archived, correction, as_sent, tmp_path
):
    web = replace(memory, archive=DicomwebArchive(archived.http("/dicom-web")))
    study_uid = dcmread(correction, stop_before_pixels=True).StudyInstanceUID
    archived.put(correction, as_sent)
    take_in("2.25.2", web)
    document = take_in("2.25.3", web)
    assert (document.kept, document.teaches) == (True, ())
    assert [one.corrections for one in document.disagreements] == [("2.25.3", "2.25.2")]
    assert teaching(memory) == teaching(memory, Policy(ReadersDisagree.LATEST)) == {}
    for source, uid in ((correction, "2.25.7"), (as_sent, "2.25.6")):
        archived.put(new_uid(altered(source, tmp_path / f"{uid}.dcm"), uid))
        look_at(study_uid, web)
    told = [event.payload["saves"] for event in lines(memory.records, "saves-arrived")]
    assert told == [["2.25.2", "2.25.3"], ["2.25.7"], ["2.25.6"]]
    later = take_in("2.25.6", web)
    assert TAKEN_BACK in later.why
    assert later.disagreements == (), "it came after both"
