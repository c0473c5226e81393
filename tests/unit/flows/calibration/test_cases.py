from __future__ import annotations

from flows.calibration.cases import usable
from services.records.entries.cases import Case, Purpose


def case(name: str, patient: str, origin: str = "independent") -> Case:
    return Case(name, Purpose.CALIBRATION, patient, origin, digest=name)


def test_two_studies_of_a_patient_count_once_and_a_readers_edit_not_at_all():
    kept = [case("a", "one"), case("b", "one"), case("c", "two"), case("d", "three", "edited-from-1")]
    found, left_out = usable(kept)
    assert [(one.case_id, one.patient) for one in found] == [("a", "one"), ("c", "two")]
    assert left_out == {"not_independent": 1, "same_patient": 1}
