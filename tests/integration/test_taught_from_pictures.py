"""What is accepted from pictures teaches heads where the site lets it, told apart, and proves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from sqlalchemy import select
from sqlalchemy.orm import Session

from flows.corrections.ingest import Said, ingest, memory_of
from flows.corrections.report import Ingested
from flows.corrections.returned_seg import Memory
from flows.corrections.sums import sums
from flows.tuning.lessons import taught_from_pictures
from flows.tuning.plan import refuse_taken_back
from models.corrections.ledger import OrganState, Provenance
from models.corrections.opinions import Opinion, Seen
from models.errors import Refused
from services.cases.disagreements import ASK
from services.cases.training_evidence import accumulated
from services.cases.tuning_evidence import LabelledCase, gather
from services.records.entries.cases import Purpose
from services.records.store import open_records
from services.records.tables import OrganLedgerRow
from services.releases.store import ReleaseStore
from services.settings import Settings
from tests.support.listed import LANG, WEBER, listed, said
from tests.support.returned_segs import changes, erase_rows, put_on_record, repainted
from tests.support.tiny_networks import publish_tiny

ASKED = ("liver", "left_kidney", "spleen", "stomach")
LETS = replace(ASK, from_pictures=True)


@pytest.fixture
def study(ohif: Path, memory: Memory) -> str:
    """Have what release 1 sent on the worklist; return the key of the result."""
    put_on_record(memory.records, ohif / "sent.dcm", ohif / "ct")
    result = memory.records.find_result(dcmread(ohif / "sent.dcm").SOPInstanceUID)
    uids = {"study_uid": result.study_uid, "series_uid": result.series_uid}
    memory.records.list_study(listed(1, result=result.key, **uids), [said(one, "review") for one in ASKED])
    return str(result.key)


@pytest.fixture
def answer(memory: Memory, study: str) -> Callable[..., None]:
    def given(*organs: str, opinion: Opinion = Opinion.ACCEPT, seen: Seen = Seen.PICTURES, **who) -> None:
        memory.records.give_opinion(study, organs, opinion, seen=seen, **{"reader": WEBER} | who)

    return given


def take_in(memory: Memory, ohif: Path, seg: Path | None = None, reader: str = "Dr A") -> Ingested:
    saved = seg or ohif / "saved-by-ohif.dcm"
    told = ingest(saved, ohif / "ct", ohif / "sent.dcm", memory, said=Said(reader=reader))
    assert isinstance(told, Ingested)
    return told


def taught(memory: Memory) -> tuple[LabelledCase, ...]:
    """Return what would be learnt, were one study of one patient enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("services.cases.tuning_evidence.FEWEST_EDITED_STUDIES", 1)
        patch.setattr("services.cases.tuning_evidence.FEWEST_EDITED_PATIENTS", 1)
        patch.setattr("services.cases.tuning_evidence._too_little_of", lambda edited, tiny=0: None)
        return gather(memory.records, memory.cases, (), ASKED, memory.policy).corrected


def test_where_the_site_does_not_let_it_nothing_is_taken(ohif, memory, answer) -> None:
    answer("spleen", "left_kidney")
    document = take_in(memory, ohif)
    assert changes(document)["spleen"] == ("not-reviewed", 0, 0, 0)
    [learnt] = taught(memory)
    assert (learnt.organs, learnt.from_pictures) == (("liver",), ())
    assert taught_from_pictures([learnt]) is None


def test_where_it_does_what_stands_is_learnt_at_half_the_weight_and_told_apart(ohif, memory, answer) -> None:
    answer("spleen", "left_kidney", "liver", "stomach")
    answer("left_kidney", opinion=Opinion.WRONG, why="missed", reader=LANG)
    answer("stomach", opinion=Opinion.TAKEN_BACK)
    lets = replace(memory, policy=LETS)
    document = take_in(lets, ohif)
    states = {organ: change[0] for organ, change in changes(document).items()}
    assert {organ for organ, one in states.items() if one == "accepted-from-pictures"} == {"spleen"}
    assert states["liver"] == "edited"
    assert set(document.teaches) == {"liver", "spleen"}
    [learnt] = taught(lets)
    assert (learnt.organs, learnt.from_pictures) == (("liver", "spleen"), ("spleen",))
    assert taught_from_pictures([learnt]) == {learnt.correction: ("spleen",)}
    [case] = memory.records.cases(Purpose.TUNING)
    spleen = memory.cases.read(case).labels["spleen"]
    assert np.unique(spleen.provenance).tolist() == [Provenance.PICTURES]
    assert np.unique(spleen.weight).tolist() == [0.5]
    with Session(memory.records._engine) as session:
        row = session.scalars(select(OrganLedgerRow).filter_by(organ="spleen")).one()
        assert row.origin == "accepted-from-pictures-from-1"


def test_it_is_for_heads_alone_and_for_no_calibration_gate_audit_or_whole_network(
    ohif, memory, answer
) -> None:
    answer("spleen")
    lets = replace(memory, policy=LETS)
    document = take_in(lets, ohif)
    records = memory.records
    assert records.cases(Purpose.CALIBRATION) == records.cases(Purpose.GATE) == ()
    assert records.accepted_organs(document.series_uid, 1) == frozenset(), "as no act of acceptance"
    assert [one.organs for one in accumulated(records, memory.cases, ASKED, LETS)] == [("liver",)]
    assert [one.organ for one in sums(records, LETS).organs] == ["liver"]


def test_what_is_taken_back_later_or_no_longer_let_teaches_no_more(ohif, memory, answer) -> None:
    answer("spleen")
    lets = replace(memory, policy=LETS)
    take_in(lets, ohif)
    learnt = taught(lets)
    assert [one.organs for one in taught(memory)] == [("liver",)], "the setting is off again"
    refuse_taken_back(learnt, memory.records, LETS)
    answer("spleen", opinion=Opinion.TAKEN_BACK)
    assert [one.organs for one in taught(lets)] == [("liver",)]
    with pytest.raises(Refused) as refused:
        refuse_taken_back(learnt, memory.records, LETS)
    assert refused.value.measured["words"] == 1


def test_what_a_reader_drew_stands_before_it_whoever_came_first(ohif, memory, answer, tmp_path) -> None:
    lets = replace(memory, policy=LETS)
    drawn = repainted(ohif / "saved-by-ohif.dcm", tmp_path / "b.dcm", erase_rows("Spleen", 3),
                      SOPInstanceUID="1.2.3")  # fmt: skip
    take_in(lets, ohif, drawn, "Dr B")
    answer("spleen")
    document = take_in(lets, ohif)
    assert changes(document)["spleen"][0] == OrganState.ACCEPTED_FROM_PICTURES
    found = {one.correction: one.organs for one in taught(lets)}
    assert "spleen" in found["1.2.3"]
    assert "spleen" not in found.get(document.sop_instance_uid, ())


def test_answers_to_a_random_check_or_given_in_the_viewer_are_not_of_that_kind(
    ohif, memory, study, answer
) -> None:
    lets = replace(memory, policy=LETS)
    answer("spleen", seen=Seen.VIEWER)
    assert changes(take_in(lets, ohif))["spleen"][0] == "not-reviewed"
    answer("spleen")
    with memory.records._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE worklist SET audited = true")
    assert changes(take_in(lets, ohif))["spleen"][0] == "not-reviewed"


def test_it_is_a_setting_and_off_unless_a_site_says_so(tmp_path) -> None:
    assert Settings().teach_from_pictures is False
    for lets in (False, True):
        settings = Settings(home=tmp_path, teach_from_pictures=lets)
        records = open_records(settings.records_url)
        if records.incumbent() is None:
            publish_tiny(ReleaseStore(settings.release_store), 1, {"liver": 1})
            records.set_incumbent(1, approver="Dr A", reason="first")
        kept = memory_of(settings)
        assert kept is not None
        assert kept.policy.from_pictures is lets
