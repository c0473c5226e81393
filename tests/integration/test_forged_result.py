"""An object that lies in the archive under the UID of ours: nothing is called segmented, and it is told."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread

from flows.segmentation.segment import segment
from models.errors import StoredDiffers
from services.metrics.tally import Tally
from services.records.entries.arrivals import ArrivalState
from tests.support.archive import Archive
from tests.support.arrivals import Hospital, open_hospital, write_short_phantom
from tests.support.learning import ORGANS, open_site
from tests.support.log import lines


@pytest.fixture
def hospital(clean_archive: Archive, tmp_path: Path) -> Hospital:
    ct = write_short_phantom(tmp_path / "ct")
    return open_hospital(open_site(tmp_path / "site"), clean_archive, ct, tmp_path / "copy", waits=False)


def test_a_forged_object_first_under_a_results_uid_is_an_event_and_an_alarm(
    hospital: Hospital, tmp_path: Path
) -> None:
    """UIDs can be computed by whoever has one result; a study waits before ours comes."""
    services, archive = hospital.services, hospital.archive
    hospital.push()
    ours = segment(hospital.study_uid, tmp_path / "out", services, organs=ORGANS).objects[0]
    forgery = dcmread(BytesIO(ours.content))
    forgery.SeriesDescription = "No flag on 9 organs; r1"
    content = BytesIO()
    forgery.save_as(content)
    archive.put(content.getvalue())
    hospital.settle()
    hospital.worker.work()
    hospital.watch()
    assert hospital.arrival.state is not ArrivalState.SEGMENTED
    with pytest.raises(StoredDiffers, match=ours.sop_instance_uid):
        segment(hospital.study_uid, None, services, organs=ORGANS)
    told = lines(services.records, "result-differs")
    assert {one.payload["sop_instance_uid"] for one in told} == {ours.sop_instance_uid}
    tally = Tally()
    tally.add(services.records.lines())
    assert tally.results_differ == len(told) >= 1
    assert hospital.results() == [ours.sop_instance_uid], "the forgery alone: nothing went after it"

    [found] = archive.ask("/tools/lookup", ours.sop_instance_uid.encode())
    archive.ask(found["Path"], method="DELETE")
    segment(hospital.study_uid, None, services, organs=ORGANS)
    assert hospital.arrival.state is ArrivalState.SEGMENTED
    assert archive.bytes_of(ours.sop_instance_uid) == ours.content
