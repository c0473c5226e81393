"""Acts under a proven name bear subject and issuer; those under a typed one, and flows', do not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.errors import LeaseLost
from models.people import Person, Role
from models.uids import SeriesUid, StudyUid
from services.records.chain import chain_faults
from services.records.entries.releases import ReleaseState
from services.records.events.corrections import OrgansAccepted
from services.records.events.event import PROOF, Event, Proof, kinds
from services.records.events.operations import RunFreed
from services.records.events.serving import IncumbentChanged, ReleaseStateChanged
from services.records.store import SqlRecords, open_records

AS_WRITER = True
WEBER = Person("w-17", "https://id.hospital", "Dr. Wéber", frozenset({Role.READER}))
STUDY, SERIES = StudyUid("1.2.3"), SeriesUid("1.2.3.4")


@pytest.fixture
def records(url) -> Iterator[SqlRecords]:
    opened = open_records(url)
    yield opened
    opened.close()


def test_an_act_of_a_proven_person_says_by_whom_it_was_proven(records) -> None:
    signed = records.signed(WEBER)
    signed.record_acceptance(STUDY, SERIES, 1, ["liver"], WEBER.name)
    act = records.last(OrgansAccepted)
    assert (act.who, act.proof) == ("Dr. Wéber", Proof("w-17", "https://id.hospital"))
    signed.record_release(1, "d" * 64, ReleaseState.CANDIDATE)
    signed.set_incumbent(1, approver=WEBER.name, reason="first")
    assert records.last(IncumbentChanged).proof == act.proof
    assert records.last(ReleaseStateChanged).proof is None, "the records' own word"
    assert chain_faults(records.lines()) == []


def test_a_typed_name_is_unproven_even_if_it_is_a_proven_persons(records) -> None:
    records.record_acceptance(STUDY, SERIES, 1, ["liver"], WEBER.name)
    assert records.last(OrgansAccepted).proof is None
    records.signed(WEBER).record_acceptance(STUDY, SERIES, 1, ["spleen"], "Dr. Lang")
    assert records.last(OrgansAccepted).proof is None, "the proof is of one name only"


def test_a_leases_holder_keeps_the_proof_and_a_person_the_lease(records) -> None:
    lease = records.acquire("night", "one", 60)
    records.fenced(lease).signed(WEBER).record_acceptance(STUDY, SERIES, 1, ["liver"], WEBER.name)
    assert records.last(OrgansAccepted).proof is not None
    records.signed(WEBER).fenced(lease).record_acceptance(STUDY, SERIES, 1, ["spleen"], WEBER.name)
    assert records.last(OrgansAccepted).proof is not None
    records.take_over("night", "two", 60)
    for held in (records.fenced(lease).signed(WEBER), records.signed(WEBER).fenced(lease)):
        with pytest.raises(LeaseLost):
            held.record_acceptance(STUDY, SERIES, 1, ["aorta"], WEBER.name)


def test_no_kind_of_event_has_a_field_where_the_proof_stands() -> None:
    for kind in (*kinds().values(), Event, RunFreed):
        assert PROOF not in kind.__dataclass_fields__
