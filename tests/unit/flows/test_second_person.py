"""Who corrected does not promote what was learnt from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from flows.arrivals.savers import note_saver
from flows.gate.last_report import last_report
from flows.promotion.obstacles import obstacles
from flows.promotion.second_person import require_second_person
from models.corrections.ledger import OrganLedger, OrganState
from models.errors import Refused
from models.people import Person
from models.release import Release
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.corrections import Answer, Correction
from services.records.events.gate import GateDecided
from services.records.store import SqlRecords, open_records
from services.releases.store import ReleaseStore
from services.settings import Settings
from tests.support.tiny_networks import tiny_contract


def correction(uid: str, reader: str, *answered: str) -> Correction:
    return Correction(
        sop_instance_uid=SopUid(uid),
        sent_uid=SopUid("1.2.8"),
        study_uid=StudyUid("1.2"),
        series_uid=SeriesUid("1.2.1"),
        release=1,
        status="correction",
        reader=reader,
        viewer="a viewer",
        organs=(OrganLedger("liver", OrganState.EDITED, 7, 0, 0, 0.2, 0.0, 0.5),),
        content="c" * 64,
        answers=tuple(Answer("4=liver", name) for name in answered),
    )


@pytest.fixture
def records(tmp_path: Path) -> SqlRecords:
    """Return records of five corrections; release 1 serves."""
    opened = open_records(f"sqlite:///{tmp_path / 'records.sqlite'}")
    said = [("1.2.9", "Dr. Weber"), ("1.2.10", "Dr. Lang"), ("1.2.11", ""), ("1.2.12", "", "Dr. Ito")]
    for uid, *names in (*said, ("1.2.13", "Dr. Roth")):
        opened.record_correction(correction(uid, *names))
    opened.set_incumbent(1, approver="Dr. Roth", reason="first")
    return opened


@pytest.fixture
def store(tmp_path: Path) -> ReleaseStore:
    """Return four releases, each tuned from the one before: what each has learnt from is its own."""
    kept = ReleaseStore(tmp_path / "releases")
    learnt = {1: ("1.2.13",), 2: ("1.2.9", "1.2.11"), 3: ("1.2.10",), 4: ("1.2.12",)}
    for number, names in learnt.items():
        trunk, head = kept.add_trunk(b"trunk"), kept.add_head(b"liver %d" % number)
        kept.publish(
            Release(
                number=number,
                parent=number - 1 or None,
                trunk=trunk,
                heads={"liver": head},
                contract=tiny_contract(("liver",)),
                corrections=names,
            )
        )
    return kept


def refusal(release: Release, name: str, records: SqlRecords, store: ReleaseStore) -> Refused | None:
    try:
        require_second_person(release, name, records, store)
    except Refused as refused:
        return refused
    return None


@pytest.mark.parametrize(
    ("number", "may", "may_not"),
    [
        (2, ["Dr. Lang", "Dr. Ito", "Dr. Roth", "Dr. Webe", ""], ["Dr. Weber", " dr.  WEBER"]),
        (3, ["Dr. Ito", "Dr. Roth"], ["Dr. Weber", "Dr. Lang"]),
        (4, ["Dr. Roth"], ["Dr. Weber", "Dr. Lang", "Dr. Ito"]),
    ],
)
def test_who_corrected_or_answered_since_a_release_served_does_not_promote(
    records, store, number, may, may_not
) -> None:
    release = store.release(number)
    for name in may:
        assert refusal(release, name, records, store) is None, name
    for name in may_not:
        refused = refusal(release, name, records, store)
        assert refused is not None, name
        assert (refused.code, refused.measured["own"]) == ("own-corrections", 1)


def test_once_a_release_has_served_it_counts_no_more(records, store) -> None:
    records.set_incumbent(2, approver="Dr. Roth", reason="better")
    assert refusal(store.release(3), "Dr. Weber", records, store) is None
    assert refusal(store.release(3), "Dr. Lang", records, store) is not None


def test_who_corrected_is_told_before_the_click(records, store) -> None:
    weber, ito = (Person(name, "https://id", name) for name in ("Dr. Weber", "Dr. Ito"))
    decided = GateDecided(release=2, against=1, decision="promote")
    records.record(decided, who="gate_candidate")
    last = last_report(store.release(2), records, store, Settings())

    def told(who: Person, own_corrections: str = "refused") -> list[str]:
        found = obstacles(store.release(2), last, who, records, store, own_corrections)
        return [one.code for one in found]

    assert told(weber) == ["own-corrections"]
    assert told(ito) == told(weber, "allowed") == []


PROVEN = Person("w-1", "https://id", "Dr. Weber")


def saved(records: SqlRecords, uid: str, person: Person) -> None:
    note_saver(SopUid(uid), None, person, records)


@pytest.mark.parametrize(
    ("approver", "refused"),
    [
        (PROVEN, True),
        (Person("w-1", "https://id", "Dr. Weber-Lang"), True),  # married since
        (Person("w-2", "https://id", "Dr. Weber"), False),  # another of that name
        (Person("w-9", "https://other", "Dr. Weber"), True),  # nobody can tell: by the name
        (Person("r-1", "https://id", "Dr. Roth"), False),
    ],
)
def test_two_proven_by_one_issuer_are_told_apart_by_what_it_knows_them_by(
    records, store, approver, refused
) -> None:
    saved(records, "1.2.9", PROVEN)
    told = refusal(store.release(2), approver.name, records.signed(approver), store)
    assert (told is not None) == refused


def test_a_typed_name_is_compared_with_the_proven_one_and_a_proven_one_with_what_was_typed(
    records, store
) -> None:
    saved(records, "1.2.9", PROVEN)
    assert refusal(store.release(2), "dr. weber", records, store) is not None
    other = Person("l-1", "https://id", "Dr. Lang")
    assert refusal(store.release(3), other.name, records.signed(other), store) is not None
    signed = records.signed(Person("w-2", "https://id", "Dr. Weber"))
    assert refusal(store.release(2), "Dr. Lang", signed, store) is None, "the proof is of another name"


def test_who_saved_it_beside_another_counts_too(records, store) -> None:
    for person in (PROVEN, Person("r-1", "https://id", "Dr. Roth")):
        saved(records, "1.2.11", person)
    for name in ("Dr. Weber", "Dr. Roth"):
        assert refusal(store.release(2), name, records, store) is not None
