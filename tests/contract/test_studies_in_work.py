"""Who has a study open, and for how long, on SQLite and on a real PostgreSQL, also as its writer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from flows.reading.times import reading_sums
from models.errors import Refused
from models.people import Person
from models.uids import StudyUid
from services.records.store import SqlRecords, open_records
from tests.support.listed import LANG, WEBER, Clock, listed, put_on_list, said

AS_WRITER = True
"""On PostgreSQL the writer's rights are enough."""

STOMACH = (
    said("liver"),
    said("stomach", "review", "fragmented"),
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


def test_who_opens_a_study_holds_it_until_ten_minutes_of_silence_or_it_is_taken_over(records, clock) -> None:
    study = StudyUid("1.2.1")
    put_on_list(records, listed(1), STOMACH)
    assert records.hold(study, WEBER).holder_name == "Dr. Weber"
    assert records.hold(study, LANG).holder_name == "Dr. Weber"
    records.let_go(study, LANG)
    assert records.listed(f"{1:016x}").holder_name == "Dr. Weber"
    clock.later(minutes=10, seconds=1)
    assert records.hold(study, LANG).holder_name == "Dr. Lang"
    assert records.hold(study, WEBER, take_over=True).holder_name == "Dr. Weber"
    records.let_go(study, WEBER)
    assert records.listed(f"{1:016x}").holder == ""
    with pytest.raises(Refused) as refused:
        records.hold(StudyUid("1.2.9"), WEBER)
    assert refused.value.code == "not-listed"


def test_who_opens_the_viewer_is_known_to_have_for_that_result_alone(records) -> None:
    study = StudyUid("1.2.1")
    put_on_list(records, listed(1), STOMACH)
    records.note_viewer(study, WEBER)
    assert records.opened_viewer("result-1", WEBER)
    assert not records.opened_viewer("result-1", LANG)
    put_on_list(records, replace(listed(1), result="later"), STOMACH)
    assert not records.opened_viewer("later", WEBER)
    with pytest.raises(Refused) as refused:
        records.note_viewer(StudyUid("1.2.9"), WEBER)
    assert refused.value.code == "not-listed"


def test_reading_time_is_what_lies_between_signs_of_life_less_the_idle_time(records, clock) -> None:
    study = StudyUid("1.2.1")
    put_on_list(records, listed(1), STOMACH)
    for wait in (0, 15, 30, 300, 20):
        clock.later(seconds=wait)
        records.hold(study, WEBER)
    assert records.seconds_read("result-1", WEBER) == 65.0
    assert records.seconds_read("result-1", LANG) == 0.0


def test_a_window_in_which_nothing_happens_keeps_the_study_and_is_no_reading_time(records, clock) -> None:
    study = StudyUid("1.2.1")
    put_on_list(records, listed(1), STOMACH)
    records.hold(study, WEBER)
    for _ in range(3):
        clock.later(minutes=8)
        records.hold(study, WEBER, reading=False)
    assert records.hold(study, LANG).holder_name == "Dr. Weber"
    clock.later(seconds=20)
    records.hold(study, WEBER)
    assert records.seconds_read("result-1", WEBER) == 0.0, "idle for 24 minutes"


def test_a_save_is_a_sign_of_life_of_who_has_the_study_and_reserves_none(records, clock) -> None:
    study = StudyUid("1.2.1")
    put_on_list(records, listed(1), STOMACH)
    records.still_held(study, WEBER)
    assert records.listed(f"{1:016x}").holder == ""
    records.hold(study, WEBER)
    clock.later(minutes=9)
    records.still_held(study, LANG)
    records.still_held(StudyUid("1.2.9"), WEBER)
    records.still_held(study, WEBER)
    clock.later(minutes=9)
    assert records.hold(study, LANG).holder_name == "Dr. Weber"
    clock.later(minutes=2)
    assert records.hold(study, LANG).holder_name == "Dr. Lang"


def test_times_are_told_by_site_and_worst_flag_and_never_by_name(records, clock) -> None:
    kinds = {
        1: STOMACH,
        2: (said("spleen", "reject"), said("liver", "review")),
        3: (said("liver"),),
        4: STOMACH,
    }
    for number, organs in kinds.items():
        put_on_list(records, listed(number, site="North", audited=number == 4), organs)
        for reader, seconds in ((WEBER, 10 * number), (LANG, 5)):
            records.hold(StudyUid(f"1.2.{number}"), reader, take_over=True)
            clock.later(seconds=seconds)
            records.hold(StudyUid(f"1.2.{number}"), reader)
    records.hold(StudyUid("1.2.1"), Person("n1", "https://id.example", "Dr. New"), take_over=True)
    found = records.reading_times(0)
    times = sorted((one.flag, one.seconds) for one in found)
    assert times == [
        ("clear", 5.0), ("clear", 30.0), ("random-check", 5.0), ("random-check", 40.0),
        ("reject", 5.0), ("reject", 20.0), ("review", 5.0), ("review", 10.0),
    ]  # fmt: skip
    assert {one.site for one in found} == {"North"}
    assert records.reading_times(max(one.last_ms for one in found)) == ()
    put_on_list(records, replace(listed(1, site="North"), result="later"), STOMACH)
    assert len(records.reading_times(0)) == 8, "of an earlier outline too"
    [review, *_] = [one for one in reading_sums(records) if one.flag == "review"]
    assert (review.week, review.site, review.readings) == ("2026-W09", "North", 2)
    assert (review.median_seconds, review.seconds) == (7.5, 15.0)
    assert not re.search("Weber|Lang|w1|l1", repr((found, reading_sums(records))))
    records.forget_reading(f"{2:064x}", who="IT")
    assert "reject" not in {one.flag for one in records.reading_times(0)}
