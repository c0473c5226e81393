"""One correction's whole life, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from flows.corrections.ingest import Said, ingest
from flows.corrections.returned_seg import Memory
from flows.corrections.sums import sums
from services.cases.disagreements import Policy
from services.cases.store import CaseStore
from services.records.entries.cases import Purpose
from services.records.store import open_records
from tests.corrections import PATIENT
from tests.support.paper_releases import paper_contract
from tests.support.returned_segs import altered, put_on_record, without_spleen

AS_WRITER = True
"""On PostgreSQL the writer's rights are enough."""


def test_a_correction_is_kept_answered_compared_withdrawn_and_its_patient_erased(url, tmp_path, ohif):
    records = open_records(url)
    memory = Memory(records, CaseStore(tmp_path / "cases"), paper_contract(("liver",), 6.0))
    put_on_record(records, ohif / "sent.dcm", ohif / "ct")

    def take_in(seg, *answers):
        said = Said(answers, "Dr A")
        return ingest(seg, ohif / "ct", ohif / "sent.dcm", memory, said=said)

    first = altered(ohif / "saved-by-ohif.dcm", tmp_path / "first.dcm", SOPInstanceUID="1.2.3")
    saved = without_spleen(ohif / "saved-by-ohif.dcm", tmp_path / "saved.dcm")
    second = altered(saved, tmp_path / "second.dcm", SOPInstanceUID="1.2.4", ContentCreatorName="Roe^Ray")
    take_in(first)
    asked = take_in(second)
    answered = take_in(second, "spleen=not-reviewed")
    assert [len(one.questions) for one in (asked, answered)] == [1, 0]
    assert [one.name for one in records.corrections()] == ["1.2.3", "1.2.4", "1.2.4/2"]
    assert [(one.first, one.second, one.dsc) for one in records.agreements()] == [
        ("1.2.3", "1.2.4", 1.0), ("1.2.3", "1.2.4/2", 1.0),
    ]  # fmt: skip
    assert answered.teaches == ("liver",)
    records.withdraw("1.2.4", reader="Dr A", reason="wrong phase")
    document = sums(records, Policy())
    assert [(one.reader, one.corrections) for one in document.readers] == [("Dr A", 1)]
    erasure = records.erase_patient(memory.cases.pseudonym(PATIENT), who="Dr A", reason="consent withdrawn")
    assert len(erasure.cases) == 3
    assert records.cases(Purpose.TUNING) == ()
    assert take_in(first).why.split(":")[0] == "patient-erased"
    records.close()
