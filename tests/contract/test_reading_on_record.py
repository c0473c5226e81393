"""What waits for a reader and what readers said, on SQLite and on a real PostgreSQL, also as its writer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from models.corrections.ledger import OrganLedger, OrganState
from models.corrections.opinions import Opinion, Seen
from models.errors import Refused
from models.findings import Figure
from models.uids import SeriesUid, SopUid, StudyUid
from services.records.entries.corrections import Correction
from services.records.entries.reading import Narrowed, ReadingState
from services.records.events.corrections import OrgansAccepted
from services.records.events.reading import OpinionGiven, ReadingForgotten, StudyListed
from services.records.guarded import row_digest
from services.records.store import SqlRecords, open_records
from services.records.tables import FindingRow
from tests.support.listed import LANG, WEBER, Clock, listed, put_on_list, said

AS_WRITER = True
"""On PostgreSQL the writer's rights are enough."""

PIECES = (Figure("fragmented", "pieces", 3, (1,)), Figure("fragmented", "largest_share", 0.84))
STOMACH = (
    said("liver"),
    said("stomach", "review", "fragmented", figures=PIECES),
    said("aorta", None, segment=None),
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(url: str, clock: Clock) -> Iterator[SqlRecords]:
    opened = open_records(url, clock=clock)
    yield opened
    opened.close()


def pages(records: SqlRecords, *args: object, **kw: object) -> list[int]:
    return [int(one.page, 16) for one in records.worklist(*args, **kw)]  # type: ignore[arg-type]


def answer(records: SqlRecords, study: int, *organs: str, opinion: Opinion = Opinion.ACCEPT, **kw) -> None:
    given = {"reader": WEBER, "seen": Seen.PICTURES} | kw
    records.give_opinion(f"result-{study}", organs, opinion, **given)


def test_studies_come_worst_first_then_by_doubt_then_by_age_and_page_by_page(records, clock) -> None:
    for number, rank, doubt in ((1, 12, 1.0), (2, 12, 5.0), (3, 10, 0.5), (4, 12, 5.0), (5, 2, 0.0)):
        put_on_list(records, listed(number, rank=rank, doubt_ml=doubt), STOMACH)
        clock.later(seconds=1)
    assert pages(records) == [5, 3, 2, 4, 1]
    first = records.worklist(at_most=3)
    assert pages(records, behind=first[-1].place) == [4, 1]
    assert records.waiting() == 5
    assert records.waiting(at_most=2) == 2


def test_the_list_reads_no_further_than_its_page(records) -> None:
    order = "rank, minus_doubt_ml, came_ms, study_uid"
    asked = f"SELECT * FROM worklist WHERE state = 'waiting' ORDER BY {order} LIMIT 50"
    with records._engine.connect() as connection:
        sqlite = connection.dialect.name == "sqlite"
        if not sqlite:  # of a small table every row is read
            connection.exec_driver_sql("SET enable_seqscan = off")
        plan = str(connection.exec_driver_sql(f"EXPLAIN {'QUERY PLAN ' if sqlite else ''}{asked}").all())
    assert "ix_worklist_place" in plan
    assert "sort" not in plan.lower()
    assert "temp b-tree" not in plan.lower()


def test_what_is_told_twice_is_listed_once(records) -> None:
    for _ in range(2):
        put_on_list(records, listed(1), STOMACH)
    assert len(records.all(StudyListed)) == 1
    assert records.findings(["result-1"])["result-1"] == STOMACH


def test_a_finding_that_an_earlier_version_wrote_has_no_numbers_and_is_sealed_as_it_was(records) -> None:
    put_on_list(records, listed(1), STOMACH)
    columns = [one.name for one in FindingRow.__table__.columns if one.name != "figures"]
    copied = ", ".join("'pancreas'" if one == "organ" else one for one in columns)
    names, found = ", ".join(columns), "FROM findings WHERE organ = 'stomach'"
    with records._engine.begin() as connection:
        connection.exec_driver_sql(f"INSERT INTO findings ({names}) SELECT {copied} {found}")
    figures = {one.organ: one.figures for one in records.findings(["result-1"])["result-1"]}
    assert (figures["stomach"], figures["pancreas"]) == (PIECES, ())
    [older] = [row for row in records.guarded_rows() if row.name == 'findings:["result-1", "pancreas"]']
    assert older.digest == row_digest({name: older.values[name] for name in columns})


@pytest.mark.parametrize(
    ("organs", "audited", "state"),
    [
        ((said("liver"),), False, ReadingState.CLEAR),
        (STOMACH, False, ReadingState.WAITING),
        ((said("liver"), said("aorta", None)), True, ReadingState.WAITING),
        ((said("lesion", "not-judged", "no-target"),), False, ReadingState.CLEAR),
    ],
)
def test_a_study_waits_while_something_is_flagged_or_it_was_drawn(records, organs, audited, state) -> None:
    put_on_list(records, listed(1, audited=audited), organs)
    assert records.listed(f"{1:016x}").state is state


@pytest.mark.parametrize("opinion", [Opinion.ACCEPT, Opinion.WRONG, Opinion.CANNOT_SAY])
def test_a_study_is_read_once_every_flagged_organ_has_a_word_and_waits_when_that_is_taken_back(
    records, opinion
) -> None:
    organs = (said("liver", "reject", "wrong-side"), said("stomach", "review", "fragmented"), said("aorta"))
    put_on_list(records, listed(1), organs)
    answer(records, 1, "liver", opinion=opinion, why="too-small")
    assert pages(records) == [1]
    answer(records, 1, "stomach", "aorta")
    assert pages(records) == []
    assert pages(records, ReadingState.READ) == [1]
    answer(records, 1, "liver", opinion=Opinion.TAKEN_BACK, reader=LANG)
    assert pages(records) == [], "what another says is not taken back"
    answer(records, 1, "liver", opinion=Opinion.TAKEN_BACK)
    assert pages(records) == [1]
    assert records.answered_organs(StudyUid("1.2.1")) == {"stomach", "aorta"}


def test_every_word_is_kept_with_who_proved_the_name_and_how_many_organs_it_was_for(records) -> None:
    put_on_list(records, listed(1), STOMACH)
    answer(records, 1, "liver", "stomach")
    records.signed(WEBER).give_opinion(
        "result-1", ["stomach"], Opinion.WRONG, reader=WEBER, why="too-small", seen=Seen.VIEWER
    )
    given = records.opinions(StudyUid("1.2.1"))
    assert [(one.organ, one.opinion, one.why, one.seen, one.together) for one in given] == [
        ("liver", "accept", "", "pictures", 2),
        ("stomach", "accept", "", "pictures", 2),
        ("stomach", "wrong", "too-small", "viewer", 1),
    ]
    assert {(one.reader, one.subject, one.issuer) for one in given} == {
        ("Dr. Weber", "w1", "https://id.example")
    }
    act = records.last(OpinionGiven)
    assert (act.who, act.proof.subject, act.said.organs) == ("Dr. Weber", "w1", ("stomach",))


def test_an_opinion_accepts_nothing(records) -> None:
    put_on_list(records, listed(1), STOMACH)
    answer(records, 1, "stomach")
    assert records.accepted_organs("1.3.1", 1) == frozenset()


def test_an_acceptance_and_a_correction_are_words_too_until_they_are_withdrawn(records) -> None:
    organs = (said("liver", "review", "fragmented"), said("stomach", "review", "fragmented"))
    put_on_list(records, listed(1), organs)
    records.record_acceptance("1.2.1", "1.3.1", 1, ["liver"], "Dr. Weber")
    assert pages(records) == [1]
    [word] = records.opinions(StudyUid("1.2.1"))
    assert (word.organ, word.opinion, word.seen, word.reader) == ("liver", "accept", "viewer", "Dr. Weber")
    drawn = OrganLedger("stomach", OrganState.EDITED, 10, 5, 1, 0.1, 0.05, 1.5)
    left = OrganLedger("liver", OrganState.NOT_REVIEWED, 0, 0, 0, 0.0, 0.0, None)
    assert records.answered_organs(StudyUid("1.2.1")) == {"liver"}
    correction = Correction(
        SopUid("1.5"),
        SopUid("1.4.1.1.8"),
        StudyUid("1.2.1"),
        "1.3.1",
        1,
        "correction",
        "Dr A",
        "",
        (drawn, left),
    )
    records.record_correction(correction)
    assert pages(records) == []
    records.withdraw(SopUid("1.5"), reader="Dr A", reason="wrong patient")
    assert pages(records) == [1]


def test_a_later_result_takes_the_place_and_answers_to_the_earlier_one_count_for_it_alone(
    records, clock
) -> None:
    put_on_list(records, listed(1), STOMACH)
    came = records.listed(f"{1:016x}").came_ms
    answer(records, 1, "stomach")
    records.hold(StudyUid("1.2.1"), WEBER)
    clock.later(minutes=1)
    put_on_list(records, replace(listed(1), result="later"), STOMACH)
    assert pages(records) == [1]
    now = records.listed(f"{1:016x}")
    assert (now.result, now.came_ms, now.holder) == ("later", came, "")
    with pytest.raises(Refused) as refused:
        answer(records, 1, "stomach")
    assert refused.value.code == "drawn-anew"
    assert len(records.opinions(StudyUid("1.2.1"))) == 1


def test_what_was_accepted_of_an_earlier_result_is_accepted_anew_and_not_by_a_ledger(records) -> None:
    organs = (said("liver", "review", "fragmented"), said("stomach", "review", "fragmented"))
    put_on_list(records, listed(1), organs)
    records.record_acceptance("1.2.1", "1.3.1", 1, ["liver", "stomach"], "Dr. Weber")
    put_on_list(records, replace(listed(1), result="later"), organs)
    assert records.answered_organs(StudyUid("1.2.1")) == frozenset()
    by_ledger = OrganLedger("liver", OrganState.ACCEPTED, 0, 0, 0, 0.0, 0.0, None)
    uids = SopUid("1.5"), SopUid("1.4.1.1.5"), StudyUid("1.2.1"), SeriesUid("1.3.1")
    records.record_correction(Correction(*uids, 1, "correction", "Dr A", "", (by_ledger,)))
    assert records.answered_organs(StudyUid("1.2.1")) == frozenset(), "that was said of another outline"
    for _ in range(2):
        records.record_acceptance("1.2.1", "1.3.1", 1, ["stomach"], "Dr. Weber")
    assert records.answered_organs(StudyUid("1.2.1")) == {"stomach"}
    assert [one.said.organs for one in records.all(OrgansAccepted)] == [("liver", "stomach"), ("stomach",)]


def test_nothing_is_said_of_an_organ_of_which_nothing_was_said(records) -> None:
    put_on_list(records, listed(1), STOMACH)
    with pytest.raises(Refused) as refused:
        answer(records, 1, "stomach", "tail")
    assert refused.value.code == "unknown-organ"
    assert records.opinions(StudyUid("1.2.1")) == ()
    answer(records, 1, "stomach", "stomach")
    assert [one.together for one in records.opinions(StudyUid("1.2.1"))] == [1]


def test_of_a_patient_who_was_taken_out_nothing_is_listed(records) -> None:
    records.erase_patient(f"{1:064x}", who="IT", reason="asked for it")
    put_on_list(records, listed(1), STOMACH)
    assert pages(records) == []
    assert records.findings(["result-1"]) == {"result-1": ()}


def test_a_study_is_narrowed_by_flag_organ_reason_and_site_and_the_audit_tells_nothing(records) -> None:
    put_on_list(records, listed(1, site="North"), (said("liver", "reject", "wrong-side"), said("stomach")))
    put_on_list(records, listed(2, site="South"), (said("liver"), said("stomach", "review", "fragmented")))
    put_on_list(records, listed(3, audited=True), (said("liver", "reject", "wrong-side", "random-audit"),))
    for narrowed, found in (
        (Narrowed(), [1, 2, 3]),
        (Narrowed(flag="reject"), [1]),
        (Narrowed(organ="stomach"), [2]),
        (Narrowed(organ="stomach", flag="reject"), []),
        (Narrowed(reason="fragmented"), [2]),
        (Narrowed(reason="frag_ented"), []),
        (Narrowed(reason="side"), []),
        (Narrowed(site="North"), [1]),
    ):
        assert sorted(pages(records, narrowed=narrowed)) == found, narrowed


def test_what_is_called_wrong_waits_to_be_drawn_until_it_is_or_the_word_is_taken_back(records) -> None:
    for number in (1, 2, 3):
        put_on_list(records, listed(number, doubt_ml=float(number)), STOMACH)
        answer(records, number, "stomach", opinion=Opinion.WRONG, why="missed")
    answer(records, 1, "stomach", opinion=Opinion.ACCEPT, reader=LANG)
    answer(records, 2, "stomach", opinion=Opinion.ACCEPT)
    wrong = Narrowed(called_wrong=True)
    assert pages(records, ReadingState.READ, narrowed=wrong) == [3, 1]
    drawn = OrganLedger("stomach", OrganState.EDITED, 10, 5, 1, 0.1, 0.05, 1.5)
    uids = SopUid("1.5"), SopUid("1.4.3.1.8"), StudyUid("1.2.3"), SeriesUid("1.3.3")
    records.record_correction(Correction(*uids, 1, "correction", "Dr A", "", (drawn,)))
    assert pages(records, ReadingState.READ, narrowed=wrong) == [1]
    records.withdraw(SopUid("1.5"), reader="Dr A", reason="wrong patient")
    assert pages(records, ReadingState.READ, narrowed=wrong) == [3, 1]


def test_a_patient_is_taken_out_of_list_findings_opinions_and_times_and_nobody_else_is(
    records, clock
) -> None:
    for number in (1, 2):
        put_on_list(records, listed(number), STOMACH)
        answer(records, number, "stomach")
        records.hold(StudyUid(f"1.2.{number}"), WEBER)
        clock.later(seconds=10)
        records.hold(StudyUid(f"1.2.{number}"), WEBER)
    patient = f"{1:064x}"
    assert [one.page for one in records.listed_of_patient(patient)] == [f"{1:016x}"]
    assert records.forget_reading(patient, who="IT") == 4
    assert records.forget_reading(patient, who="IT") == 0
    assert records.listed(f"{1:016x}") is None
    assert records.findings(["result-1"]) == {"result-1": ()}
    assert records.opinions(StudyUid("1.2.1")) == ()
    assert records.seconds_read("result-1", WEBER) == 0.0
    (told,) = records.all(ReadingForgotten)
    assert (told.who, told.said.findings, told.said.opinions) == ("IT", 3, 1)
    assert records.findings(["result-2"]) == {"result-2": STOMACH}
    assert len(records.opinions(StudyUid("1.2.2"))) == 1
    assert records.seconds_read("result-2", WEBER) == 10.0
