"""A save that was read before it was known whose it is comes under its saver's name, without any clock."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flows.arrivals.savers import note_saver, saver_of
from flows.corrections.ingest import ingest, memory_of
from flows.promotion.second_person import require_second_person
from models.errors import Refused
from models.uids import SopUid
from services.cases.disagreements import valid_words
from services.records.chain import chain_faults
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.entries.cases import Purpose
from services.records.events.corrections import CorrectionRecorded, SaverProven
from services.records.store import SqlRecords
from tests.integration.test_correction_outcomes import hospital, phantom, put, saved, settle, site
from tests.support.arrivals import Hospital
from tests.support.listed import LANG, WEBER

__all__ = ["hospital", "phantom", "site"]

SAVED = SopUid("1.2.3")


@pytest.fixture
def records(hospital: Hospital) -> SqlRecords:
    """Records on which a stomach was taken in as nobody's."""
    put(hospital, saved(hospital, SAVED, "stomach"))
    assert settle(hospital, SAVED)[SAVED].code == "kept"
    [first] = hospital.services.records.corrections()
    assert first.reader == ""
    assert isinstance(hospital.services.records, SqlRecords)
    return hospital.services.records


def test_a_saver_who_is_noted_later_is_whose_correction_it_is(
    hospital: Hospital, records: SqlRecords
) -> None:
    note_saver(SAVED, None, WEBER, records)
    proven = records.last(SaverProven)
    assert (proven.who, proven.proof.subject, proven.said.sop_instance_uid) == ("Dr. Weber", "w1", SAVED)
    assert records.arrival(SAVED).state is ArrivalState.WAITING
    arrival = settle(hospital, SAVED)[SAVED]
    assert (arrival.state, arrival.code) == (ArrivalState.INGESTED, "kept")
    first, last = records.corrections(sop_instance_uid=SAVED)
    assert (first.reader, last.reader, last.version) == ("", "Dr. Weber", 2)
    act = records.last(CorrectionRecorded)
    assert (act.who, act.proof.subject) == ("Dr. Weber", "w1")
    words = [word for said in valid_words(records.corrections()).values() for word in said]
    assert {word.correction.name for word in words} == {last.name}
    kept = {case.case_id for case in records.cases(Purpose.TUNING)}
    assert hospital.services.cases.pseudonym(last.name) in kept
    note_saver(SAVED, None, WEBER, records)
    settle(hospital, SAVED)
    assert len(records.all(SaverProven)) == 1, "told again, nothing"
    assert len(records.corrections()) == 2
    assert chain_faults(records.lines()) == []


def test_who_saved_what_was_read_before_promotes_nothing_that_learnt_it(
    hospital: Hospital, records: SqlRecords
) -> None:
    [first] = records.corrections()
    store = hospital.services.releases
    release = replace(store.release(1), number=9, parent=1, corrections=(first.name,))
    require_second_person(release, "Dr. Weber", records, store)
    note_saver(SAVED, None, WEBER, records)
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            require_second_person(release, "Dr. Weber", records.signed(WEBER), store)
        assert refused.value.code == "own-corrections"
        settle(hospital, SAVED)


def test_of_two_savers_it_stays_nobody_s(hospital: Hospital, records: SqlRecords) -> None:
    for person in (WEBER, LANG):
        note_saver(SAVED, None, person, records)
    settle(hospital, SAVED)
    assert saver_of(SAVED, records) is None
    assert [one.reader for one in records.corrections()] == [""]
    assert records.last(CorrectionRecorded).proof is None


def test_a_saver_who_is_noted_while_it_is_read_is_not_missed(hospital: Hospital) -> None:
    put(hospital, saved(hospital, SAVED, "stomach"))
    records = hospital.services.records
    running = Arrival(SAVED, hospital.study_uid, ArrivalState.SUBMITTED, run="a run")
    assert records.change_arrival(None, running)
    memory = memory_of(hospital.services.settings)
    assert memory is not None
    ingest(SAVED, memory=memory, show=lambda *_: note_saver(SAVED, None, WEBER, records))
    assert [one.reader for one in records.corrections()] == [""]
    assert records.arrival(SAVED).state is ArrivalState.WAITING
    ingest(SAVED, memory=memory)
    assert records.corrections()[-1].reader == "Dr. Weber"
    assert records.arrival(SAVED).state is ArrivalState.INGESTED
