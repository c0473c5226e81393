"""The patient on record beside a study: another patient is told, another site key is not taken for one."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from flows.arrivals.archived_study import note_segmented, patient_fault
from services.pacs.port import ArchivedSeries, ArchivedStudy
from services.settings import Settings
from services.wiring import connect_in_process
from tests.support.log import lines

STUDY = ArchivedStudy("1.9", ("P1",), True, False, (ArchivedSeries("1.9.1", "CT", ("1.9.1.1",)),))
MERGED = replace(STUDY, patients=("P2",))


def test_a_lost_site_key_is_said_once_and_turns_no_segmented_study_into_another_patients(
    tmp_path: Path,
) -> None:
    services = connect_in_process(Settings(home=tmp_path, orthanc_url="http://127.0.0.1:1"))
    fault = partial(patient_fault, cases=services.cases, log=services.records)
    note_segmented(STUDY, services.cases, services.records)
    arrival = services.records.arrival("1.9")
    assert arrival is not None
    assert len(arrival.patient) == 64
    assert fault(STUDY, arrival) is None
    changed = fault(MERGED, arrival)
    assert changed is not None
    assert changed.code == "patient-changed"
    earlier = replace(arrival, patient=services.cases.pseudonym("P1"))  # before keys were told apart
    assert fault(STUDY, earlier) is None
    assert fault(MERGED, earlier) is not None
    (services.settings.case_store / "site.key").unlink()
    assert [fault(STUDY, arrival) for _ in range(2)] == [None, None]
    assert len(lines(services.records, "site-key-changed")) == 1
