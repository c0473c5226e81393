"""What `ingest` said of a SEG that came is on record with its arrival: nothing that is refused looks kept."""

from __future__ import annotations

import json
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from typer.testing import CliRunner

from deploy.cli.main import app
from deploy.demo.simulated_reader import save_like_ohif
from flows.corrections.flow import ingest_task
from flows.corrections.ingest import ingest, memory_of
from flows.launching import INGEST
from models.errors import Refused
from models.organs import organ
from models.phantom.case import make_case
from services.dicom.ct.loaded import load
from services.dicom.ct.series import read_series
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.cases import Purpose
from services.settings import Settings
from services.wiring import connect_in_process
from tests.support.archive import Archive
from tests.support.arrivals import Hospital, open_hospital, write_short_phantom
from tests.support.learning import SAVED_AT, SPACING, Site, open_site
from tests.support.log import lines

PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return open_site(tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_short_phantom(tmp_path_factory.mktemp("phantom") / "ct")


@pytest.fixture
def hospital(site: Site, phantom: Path, clean_archive: Archive, tmp_path: Path) -> Hospital:
    hospital = open_hospital(site, clean_archive, phantom, tmp_path, waits=False)
    hospital.push()
    hospital.segmented()
    return hospital


def saved(hospital: Hospital, uid: str, *painted: str, **tags: object) -> Dataset:
    """Return our SEG as OHIF saves it under a UID after organs were painted, with other tags."""
    series = load(read_series(hospital.ct)[0])
    truth = make_case("B", 1, spacing_mm=SPACING).truth
    first = [str(image.SOPInstanceUID) for image in series.images]
    there = {key: truth[key][: len(first)] for key in painted}
    sent = hospital.archive.bytes_of(hospital.recorded()[0]["organ-seg"])
    masks = {organ(key).label: np.ascontiguousarray(mask) for key, mask in there.items()}
    seg = dcmread(BytesIO(save_like_ohif(sent, series, masks, written_at=SAVED_AT)))
    seg.SOPInstanceUID = seg.file_meta.MediaStorageSOPInstanceUID = uid
    for keyword, value in tags.items():
        setattr(seg, keyword, value)
    return seg


def put(hospital: Hospital, *segs: Dataset) -> None:
    for seg in segs:
        buffer = BytesIO()
        seg.save_as(buffer)
        hospital.archive.put(buffer.getvalue())


def settle(hospital: Hospital, *uids: str) -> dict[str, Arrival]:
    """Watch and work until nothing of these SEGs is to be done any more."""
    records, end = hospital.services.records, time.monotonic() + PATIENCE_SECONDS
    while True:
        hospital.watch()
        hospital.worker.work()
        found = {uid: records.arrival(uid) for uid in uids}
        known = {uid: one for uid, one in found.items() if one is not None}
        done = len(known) == len(uids) and all(
            one.state not in (ArrivalState.WAITING, ArrivalState.SUBMITTED) for one in known.values()
        )
        if done or time.monotonic() > end:
            return known
        time.sleep(0.2)


def test_each_seg_that_came_bears_what_ingest_said_of_it(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = saved(hospital, "1.2.3", "stomach")
    for segment in asked.SegmentSequence:
        segment.SegmentAlgorithmType = "AUTOMATIC"
    put(
        hospital,
        saved(hospital, "1.2.1", "stomach", "aorta"),
        saved(hospital, "1.2.2"),
        asked,
        saved(hospital, "1.2.4", "stomach", FrameOfReferenceUID="1.9.9"),
    )
    arrivals = settle(hospital, "1.2.1", "1.2.2", "1.2.3", "1.2.4")
    assert {uid: (str(one.state), one.code) for uid, one in arrivals.items()} == {
        "1.2.1": ("ingested", "kept"),
        "1.2.2": ("ingested", "ours-unchanged"),
        "1.2.3": ("ingested", "question-open"),
        "1.2.4": ("refused", "other-frame-of-reference"),
    }
    assert "stomach" in arrivals["1.2.1"].detail
    assert "organloop ingest 1.2.3 --as" in arrivals["1.2.3"].detail
    assert arrivals["1.2.4"].detail == "the SEG is in another frame of reference"
    (event,) = lines(hospital.services.records, "correction-refused")
    assert (event.payload["uid"], event.payload["code"]) == ("1.2.4", "other-frame-of-reference")
    assert hospital.worker.launched(INGEST) == sorted(hospital.worker.launched(INGEST)), "each once"
    monkeypatch.setenv("ORGANLOOP_HOME", str(hospital.services.settings.home))
    listed = json.loads(CliRunner().invoke(app, ["arrivals", "--json"]).stdout)
    assert {one["uid"]: one["code"] for one in listed if one["uid"] in arrivals} == {
        uid: one.code for uid, one in arrivals.items()
    }
    shown = CliRunner().invoke(app, ["arrivals"]).stdout
    assert "the SEG is in another frame of reference" in shown


def test_saves_that_waited_for_a_worker_stand_as_they_came_whichever_run_is_first(hospital: Hospital) -> None:
    named = {"ContentCreatorName": "Dr A"}
    put(hospital, saved(hospital, "1.2.8", "stomach", ContentDate="20991231", **named))
    put(hospital, saved(hospital, "1.2.7", ContentDate="20010101", **named))
    hospital.watch()
    [first, second] = (event.payload["saves"] for event in lines(hospital.services.records, "saves-arrived"))
    assert (first, second) == (["1.2.8"], ["1.2.7"])
    assert set(hospital.worker.launched(INGEST)) == {"1.2.7", "1.2.8"}
    memory = memory_of(hospital.services.settings)
    assert ingest("1.2.7", memory=memory).kept is False
    late = ingest("1.2.8", memory=memory)
    assert (late.kept, late.teaches) == (True, ())


def test_what_a_person_has_to_settle_is_refused_until_it_is_settled(hospital: Hospital) -> None:
    records, sent = hospital.services.records, hospital.recorded()[0]["organ-seg"]
    folder = hospital.services.settings.home.parent
    (folder / "sent.dcm").write_bytes(hospital.archive.bytes_of(sent))
    mine = saved(hospital, "1.2.5", "stomach")
    [found] = hospital.archive.ask("/tools/lookup", sent.encode())
    hospital.archive.ask(found["Path"], method="DELETE")
    put(hospital, mine)
    refused = settle(hospital, "1.2.5")["1.2.5"]
    assert (refused.state, refused.code) == (ArrivalState.REFUSED, "sent-not-archived")
    assert "--sent" in refused.detail
    memory = memory_of(hospital.services.settings)
    document = ingest("1.2.5", sent=folder / "sent.dcm", memory=memory)
    assert document.kept
    kept = records.arrival("1.2.5")
    assert kept is not None
    assert (kept.state, kept.code) == (ArrivalState.INGESTED, "kept")
    with pytest.raises(Refused, match="sent-not-archived"):
        ingest("1.2.5", hospital.ct, None, memory)
    assert records.arrival("1.2.5") == kept, "what is kept stays so, whatever is tried later"
    assert len(records.cases(Purpose.TUNING)) == 1


def test_why_a_run_failed_is_said_with_the_seg(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    settings, records = hospital.services.settings, hospital.services.records
    monkeypatch.setenv("ORGANLOOP_HOME", str(settings.home))
    monkeypatch.setenv("ORGANLOOP_ORTHANC_URL", "http://127.0.0.1:9")
    records.change_arrival(None, Arrival("1.2.7", "1.2", ArrivalState.SUBMITTED, attempts=1, touched=False))
    with pytest.raises(Exception, match=r"127\.0\.0\.1:9"):
        ingest_task.fn("1.2.7", None, None)
    arrival = records.arrival("1.2.7")
    assert arrival is not None
    assert (arrival.state, arrival.code) == (ArrivalState.SUBMITTED, "pacs-unavailable")


def test_a_seg_that_came_before_a_release_served_is_refused_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORGANLOOP_HOME", str(tmp_path))
    records = connect_in_process(Settings()).records
    records.change_arrival(None, Arrival("1.2.8", "1.2", ArrivalState.SUBMITTED, attempts=1, touched=False))
    document = ingest_task.fn("1.2.8", None, None)
    assert (document.status, document.code) == ("refused", "no-result")
    arrival = records.arrival("1.2.8")
    assert arrival is not None
    assert (arrival.state, arrival.code) == (ArrivalState.REFUSED, "no-result")
    assert "no release has served" in arrival.detail
