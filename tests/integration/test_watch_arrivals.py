"""The watch over a real Orthanc: what comes is segmented once, whatever is sent twice, late, or killed."""

from __future__ import annotations

import dataclasses
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import MRImageStorage, generate_uid

from flows.arrivals.watch import take_in
from flows.launching import INGEST, SEGMENT, RunState
from flows.segmentation import delivery
from flows.segmentation import segment as segment_study
from flows.segmentation.segment import segment
from models.documents import to_json
from models.errors import PacsFailed, Refused, ServingUnavailable
from services.records.entries.arrivals import ArrivalState
from services.settings import Settings
from services.wiring import Services, connect_in_process
from tests.support.archive import Archive
from tests.support.arrivals import Hospital, open_hospital, watch, write_short_phantom
from tests.support.killed import Killed
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


@pytest.fixture
def waiting_hospital(site: Site, phantom: Path, clean_archive: Archive, tmp_path: Path) -> Hospital:
    """Return a hospital whose studies are quiet when Orthanc says so."""
    return open_hospital(site, clean_archive, phantom, tmp_path)


def test_what_is_pushed_is_segmented_once_though_sent_twice_and_watched_often(
    waiting_hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital = waiting_hospital
    hospital.push()
    with monkeypatch.context() as patched:
        listed = hospital.services.archive.study
        still_arriving = lambda uid: dataclasses.replace(listed(uid), stable=False)  # noqa: E731
        patched.setattr(hospital.services.archive, "study", still_arriving)
        assert hospital.watch()["came"] == 1
    assert (hospital.arrival.state, hospital.arrival.code) == (ArrivalState.WAITING, "arriving")
    told = hospital.settle()
    assert [(one.state, one.attempts) for one in told["arrivals"]][-1] == ("submitted", 0)
    hospital.worker.work()
    first = hospital.results()
    assert first == hospital.of_record()
    assert len(first) >= 2
    hospital.push()
    for _ in range(3):
        hospital.settle()
        hospital.worker.work()
    assert hospital.arrival.state is ArrivalState.SEGMENTED
    assert hospital.results() == first
    assert hospital.worker.launched(SEGMENT) == [hospital.study_uid]
    assert hospital.worker.launched(INGEST) == [], "our own SEGs are no corrections"


def test_the_same_study_segmented_three_times_has_the_same_objects_once(hospital: Hospital) -> None:
    hospital.push()
    documents = [
        to_json(segment(hospital.study_uid, None, hospital.services, organs=ORGANS).document) for _ in "123"
    ]
    assert [one["objects"] for one in documents] == [documents[0]["objects"]] * 3
    assert all(set(item) == {"kind", "uid"} for item in documents[0]["objects"])
    assert hospital.results() == sorted(item["uid"] for item in documents[0]["objects"])
    assert hospital.arrival.state is ArrivalState.SEGMENTED
    assert list((hospital.services.settings.home / "work").iterdir()) == []


def test_a_folder_named_takes_the_results_and_the_archive_gets_none(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.push()
    document = to_json(
        segment(hospital.study_uid, tmp_path / "out", hospital.services, organs=ORGANS).document
    )
    assert all(Path(one["path"]).is_file() for one in document["objects"])
    assert hospital.results() == []
    assert hospital.services.records.arrival(hospital.study_uid) is None


def test_a_late_slice_makes_a_new_version_beside_the_old(waiting_hospital: Hospital) -> None:
    hospital = waiting_hospital
    *most, last = sorted(hospital.ct.iterdir())
    hospital.push(*most)
    hospital.segmented()
    early, version = hospital.results(), hospital.arrival.version
    hospital.push(last)
    hospital.segmented()
    assert hospital.arrival.state is ArrivalState.SEGMENTED
    assert hospital.arrival.version != version
    assert set(early) < set(hospital.results())
    assert hospital.results() == hospital.of_record()
    (event,) = lines(hospital.services.records, "study-renewed")
    assert event.payload["study_uid"] == hospital.study_uid
    report = dcmread(BytesIO(hospital.archive.bytes_of(hospital.recorded()[1]["report-sr"])))
    said = [
        str(item.get("TextValue"))
        for part in report.ContentSequence
        for item in part.get("ContentSequence", ())
    ]
    assert sum(text.startswith("The CT images of the study changed") for text in said) == 1
    again = to_json(segment(hospital.study_uid, None, hospital.services, organs=ORGANS).document)
    assert sorted(one["uid"] for one in again["objects"]) == sorted(hospital.recorded()[1].values())


def steps(services: Services) -> dict[str, tuple[Any, str]]:
    """What a run does after the objects are made, step by step."""
    return {
        "before they are recorded": (type(services.records), "record_result"),
        "before they are stored": (services.archive, "store"),
        "while they are stored": (services.archive, "_store_one"),
        "before the outcome is noted": (delivery, "note_segmented"),
    }


@pytest.mark.parametrize("when", ["before they are recorded", "before they are stored",
                                  "while they are stored", "before the outcome is noted"])  # fmt: skip
def test_a_kill_between_any_two_steps_leaves_nothing_doubled_or_lost(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    owner, name = steps(hospital.services)[when]
    whole, calls = getattr(owner, name), []

    def killed(*given: Any, **named: Any) -> Any:
        calls.append(name)
        if name == "_store_one" and len(calls) == 1:
            return whole(*given, **named)
        raise Killed

    hospital.push()
    hospital.settle()
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, killed)
        with pytest.raises(Killed):
            hospital.worker.work()
    assert set(hospital.results()) <= set(hospital.of_record()), "all of ours in the archive is known as ours"
    (run,) = hospital.worker.runs
    hospital.worker.states[run] = RunState.LOST
    hospital.settle()
    hospital.worker.work()
    assert (hospital.arrival.state, hospital.arrival.attempts) == (ArrivalState.SEGMENTED, 0)
    assert hospital.arrival.interrupted == 1, "a process that ended was no failure of the study's"
    assert hospital.results() == hospital.of_record()
    assert len(hospital.recorded()) == 1
    assert hospital.worker.launched(INGEST) == []


@pytest.mark.parametrize("when", ["feed", "take_in", "launch", "change_arrival"])
def test_a_killed_watch_loses_nothing_and_starts_nothing_twice(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    services, worker = hospital.services, hospital.worker
    hospital.push()
    hospital.quiet()
    owner, name = {
        "feed": (services.feed, "changes"),
        "take_in": (services.records, "take_in"),
        "launch": (worker, "launch"),
        "change_arrival": (services.records, "change_arrival"),
    }[when]
    whole = getattr(owner, name)

    def killed(*given: Any, **named: Any) -> Any:
        if name != "change_arrival" or given[1].state is ArrivalState.SUBMITTED:
            if name == "launch":
                whole(*given, **named)
            raise Killed
        return whole(*given, **named)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, killed)
        with pytest.raises(Killed):
            hospital.watch()
    hospital.settle()
    assert hospital.arrival.state is ArrivalState.SUBMITTED
    assert worker.launched(SEGMENT) == [hospital.study_uid]


def test_refused_data_is_refused_once_with_its_numbers_and_is_left_alone_until_new_images_come(
    hospital: Hospital,
) -> None:
    files = sorted(hospital.ct.iterdir())
    hospital.push(*files[:10], *files[11:])
    hospital.segmented()
    assert (hospital.arrival.state, hospital.arrival.code) == (ArrivalState.REFUSED, "missing-slices")
    hospital.push(*files[:10])
    hospital.segmented()
    assert len(hospital.worker.runs) == 1
    assert hospital.results() == []
    (event,) = lines(hospital.services.records, "study-refused")
    assert event.payload["measured"]["gap_mm"] == pytest.approx(20)
    hospital.push(files[10])
    hospital.segmented()
    assert hospital.arrival.state is ArrivalState.SEGMENTED


def test_a_run_that_fails_again_and_again_is_given_up_and_said(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.push()
    hospital.settle()
    for attempt in (1, 2, 3):
        assert (hospital.arrival.state, hospital.arrival.attempts) == (ArrivalState.SUBMITTED, attempt - 1)
        hospital.worker.states = dict.fromkeys(hospital.worker.runs, RunState.FAILED)
        hospital.watch()
    assert (hospital.arrival.state, hospital.arrival.code) == (ArrivalState.FAILED, "run-failed")
    assert len(lines(hospital.services.records, "arrival-failed")) == 1
    hospital.watch()
    assert len(hospital.worker.runs) == 3
    segment(hospital.study_uid, None, hospital.services, organs=ORGANS)  # a person may try again
    assert hospital.arrival.state is ArrivalState.SEGMENTED


def changed(files: list[Path], folder: Path, **values: str) -> list[Path]:
    """Return copies of images with other values."""
    folder.mkdir()
    for path in files:
        image = dcmread(path)
        for keyword, value in values.items():
            setattr(image, keyword, value)
        image.save_as(folder / path.name)
    return sorted(folder.iterdir())


@pytest.mark.parametrize(("watch_from", "came"), [("now", 0), ("beginning", 1)])
def test_the_first_watch_begins_where_the_site_wants_it_and_then_misses_nothing(
    site: Site, phantom: Path, clean_archive: Archive, tmp_path: Path, watch_from: str, came: int
) -> None:
    site.copy(tmp_path)
    clean_archive.put(phantom)
    settings = Settings(home=tmp_path / "home", **clean_archive.named, watch_from=watch_from)
    services = connect_in_process(settings)
    begun = clean_archive.ask("/changes?last")["Last"] if watch_from == "now" else 0
    assert take_in(services.feed, services.records, date.today(), watch_from) >= came
    assert (services.records.arrival(str(dcmread(next(phantom.iterdir())).StudyInstanceUID)) is None) == (
        came == 0
    )
    assert [one.payload for one in lines(services.records, "feed-begun")] == [{"cursor": begun}]
    new = {"StudyInstanceUID": generate_uid(), "SOPInstanceUID": generate_uid()}
    other = changed(sorted(phantom.iterdir())[:1], tmp_path / "other", **new)
    clean_archive.put(tmp_path / "other")
    assert take_in(services.feed, services.records, date.today(), watch_from) == 1
    assert services.records.arrival(str(dcmread(other[0]).StudyInstanceUID)) is not None


def test_a_patient_merged_after_results_is_said_and_nothing_is_sent_again(
    hospital: Hospital, tmp_path: Path
) -> None:
    records = hospital.services.records
    hospital.push()
    hospital.segmented()
    (old,) = hospital.archive.ask("/patients")
    hospital.push(*changed(sorted(hospital.ct.iterdir()), tmp_path / "merged", PatientID="MERGED-INTO"))
    hospital.segmented()
    assert (hospital.arrival.state, hospital.arrival.code) == (ArrivalState.REFUSED, "several-patients")
    with pytest.raises(Refused, match="several-patients"):
        segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    hospital.archive.ask(f"/patients/{old}", method="DELETE")
    records.take_in([hospital.study_uid], records.feed_cursor() or 0)
    hospital.segmented()
    assert (hospital.arrival.state, hospital.arrival.code) == (ArrivalState.REFUSED, "patient-changed")
    with pytest.raises(Refused, match="patient-changed"):
        segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert hospital.results() == []
    codes = [one.payload["code"] for one in lines(records, "study-refused")]
    assert codes == ["several-patients", "patient-changed"]
    assert "MERGED-INTO" not in str(lines(records))


def test_a_study_deleted_after_results_is_said_and_comes_back_whole(hospital: Hospital) -> None:
    hospital.push()
    hospital.segmented()
    before = hospital.results()
    hospital.archive.empty()
    hospital.watch()
    assert hospital.arrival.state is ArrivalState.SEGMENTED, "nobody tells of a deletion"
    watch(hospital.services, hospital.worker, today=date.today() + timedelta(days=1))
    assert (hospital.arrival.state, hospital.arrival.code) == (ArrivalState.GONE, "study-gone")
    assert [one.payload["study_uid"] for one in lines(hospital.services.records, "study-gone")] == [
        hospital.study_uid
    ]
    hospital.push()
    hospital.segmented()
    assert hospital.arrival.state is ArrivalState.SEGMENTED
    assert hospital.results() == before


def test_a_seg_that_is_not_ours_is_handed_over_once_and_again_if_its_run_is_lost(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.push()
    hospital.segmented()
    seg = hospital.recorded()[0]["organ-seg"]
    (tmp_path / "ours.dcm").write_bytes(hospital.archive.bytes_of(seg))
    saved = dcmread(tmp_path / "ours.dcm")
    saved.SOPInstanceUID = saved.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    saved.SeriesInstanceUID = "1.2.3.4"
    saved.save_as(tmp_path / "saved.dcm")
    hospital.archive.put(tmp_path / "saved.dcm")
    hospital.settle()
    assert hospital.worker.launched(INGEST) == ["1.2.3.4.5"]
    records = hospital.services.records
    hospital.worker.states[records.arrival("1.2.3.4.5").run] = RunState.LOST
    hospital.watch()
    hospital.worker.work()
    hospital.watch()
    hospital.watch()
    assert hospital.worker.launched(INGEST) == ["1.2.3.4.5"] * 2
    assert records.arrival("1.2.3.4.5").state is ArrivalState.INGESTED
    assert hospital.worker.launched(SEGMENT) == [hospital.study_uid]


def test_what_is_urgent_goes_first_and_what_is_no_ct_is_ignored(hospital: Hospital, tmp_path: Path) -> None:
    one = sorted(hospital.ct.iterdir())[:1]
    for name in ("later", "stat", "mr"):
        values = {"StudyInstanceUID": f"1.9.{len(name)}", "SeriesInstanceUID": f"1.9.{len(name)}.1"}
        values |= {"SOPInstanceUID": f"1.9.{len(name)}.1.1"}
        values |= {"RequestedProcedurePriority": "STAT"} if name == "stat" else {}
        values |= {"Modality": "MR", "SOPClassUID": MRImageStorage} if name == "mr" else {}
        hospital.archive.put(*changed(one, tmp_path / name, **values))
    hospital.quiet()
    hospital.watch()
    launches = [(source, urgent) for _, source, urgent in hospital.worker.runs.values()]
    assert launches == [("1.9.4", True), ("1.9.5", False)]
    ignored = hospital.services.records.arrival("1.9.2")
    assert (ignored.state, ignored.code) == (ArrivalState.IGNORED, "not-ct")


def test_nothing_is_started_while_no_triton_serves_and_no_attempt_is_used_up(hospital: Hospital) -> None:
    class Away:
        def ready(self, release: int) -> bool:
            return False

    class Gone:
        def ready(self, release: int) -> bool:
            raise ServingUnavailable("nobody answers")

    class There:
        def ready(self, release: int) -> bool:
            return True

    away = dataclasses.replace(hospital.services, endpoints=(Away(), Gone()))
    one_left = dataclasses.replace(hospital.services, endpoints=(Gone(), Away(), There()))
    hospital.push()
    hospital.settle()
    hospital.worker.runs.clear()
    arrival = hospital.arrival
    hospital.services.records.change_arrival(
        arrival, dataclasses.replace(arrival, state=ArrivalState.WAITING, attempts=0, run="")
    )
    assert watch(away, hospital.worker)["held"] == "nobody answers"
    assert (hospital.arrival.state, hospital.arrival.attempts) == (ArrivalState.WAITING, 0)
    assert watch(one_left, hospital.worker)["held"] is None
    assert hospital.arrival.state is ArrivalState.SUBMITTED


def test_one_study_the_archive_cannot_answer_for_does_not_stop_the_others(
    hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = sorted(hospital.ct.iterdir())[:1]
    odd = {"StudyInstanceUID": "1.1", "SeriesInstanceUID": "1.1.1", "SOPInstanceUID": "1.1.1.1"}
    hospital.archive.put(*changed(first, tmp_path / "odd", **odd))
    hospital.push()
    archive = hospital.services.archive
    whole = archive.study

    def study(uid: str) -> Any:
        if uid == "1.1":
            raise PacsFailed("500")
        return whole(uid)

    monkeypatch.setattr(archive, "study", study)
    hospital.quiet()
    assert hospital.watch()["unanswered"] == ["1.1"]
    assert hospital.arrival.state is ArrivalState.SUBMITTED
    assert hospital.services.records.arrival("1.1").touched


def test_a_failure_leaves_no_work_folder(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital.push()
    monkeypatch.setattr(segment_study, "write_results", lambda *_, **__: (_ for _ in ()).throw(Killed()))
    with pytest.raises(Killed):
        segment(hospital.study_uid, None, hospital.services, organs=ORGANS)
    assert list((hospital.services.settings.home / "work").iterdir()) == []
