"""The patient on record beside a study: another patient is told, another site key is not taken for one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from flows.arrivals.archived_study import note_segmented, patient_fault
from services.pacs.port import ArchivedSeries, ArchivedStudy
from services.settings import Settings
from services.wiring import connect_in_process

STUDY = ArchivedStudy("1.9", ("P1",), True, False, (ArchivedSeries("1.9.1", "CT", ("1.9.1.1",)),))
MERGED = replace(STUDY, patients=("P2",))


def test_a_lost_site_key_is_said_once_and_turns_no_segmented_study_into_another_patients(
    tmp_path: Path,
) -> None:
    services = connect_in_process(Settings(home=tmp_path, orthanc_url="http://127.0.0.1:1"))
    note_segmented(STUDY, services)
    arrival = services.records.arrival("1.9")
    assert arrival is not None
    assert len(arrival.patient) == 64
    assert patient_fault(STUDY, arrival, services) is None
    fault = patient_fault(MERGED, arrival, services)
    assert fault is not None
    assert fault.code == "patient-changed"
    earlier = replace(arrival, patient=services.cases.pseudonym("P1"))  # before keys were told apart
    assert patient_fault(STUDY, earlier, services) is None
    assert patient_fault(MERGED, earlier, services) is not None
    (services.settings.case_store / "site.key").unlink()
    assert [patient_fault(STUDY, arrival, services) for _ in range(2)] == [None, None]
    assert len(services.records.events("site-key-changed")) == 1
