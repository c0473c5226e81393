"""How often organs are flagged and edited: counted by week, site and organ, each line once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.pages.model.weekly import is_more, trends_of
from services.metrics.weeks import WEEKS, Counted, Weeks, week_of
from services.records.entries.log import Line
from services.records.events.corrections import CorrectionRecorded
from services.records.events.event import Event
from services.records.events.results import ResultRecorded, StudySegmented

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
FIRST = week_of(MONDAY)
NOW = MONDAY + timedelta(weeks=WEEKS - 1, days=3)


def segmented(study: int, site: str = "A", **flags: str | None) -> tuple[Event, ...]:
    uid = f"1.2.{study}"
    return (
        ResultRecorded(result=f"{study}", study_uid=uid, release=1, objects={}, site=site),
        StudySegmented(study_uid=uid, release=1, seconds={}, flags=flags),
    )


def edited(study: int, *organs: str, version: int = 1) -> Event:
    return CorrectionRecorded(
        sop_instance_uid=f"1.4.{study}",
        version=version,
        study_uid=f"1.2.{study}",
        status="correction",
        edited=organs,
        questions=0,
    )


def log(*said: tuple[int, Event]) -> list[Line]:
    """Return lines, each said in a week."""
    return [
        Line(
            number=number,
            at=MONDAY + timedelta(weeks=week, minutes=number),
            what=event.what,
            who="",
            payload=event.payload(),
            key=None,
            previous="",
            digest="",
        )
        for number, (week, event) in enumerate(said, 1)
    ]


def counted(lines: list[Line]) -> dict[tuple[int, str, str], Counted]:
    weeks = Weeks(lambda: NOW)
    weeks.add(lines)
    return weeks.counted()


def test_a_week_begins_on_monday() -> None:
    days = [week_of(MONDAY + timedelta(days=day)) - FIRST for day in range(-1, 8)]
    assert days == [-1, 0, 0, 0, 0, 0, 0, 0, 1]


def test_results_flags_and_edits_are_counted_where_the_study_was_scanned_and_when() -> None:
    said = [(0, one) for one in segmented(1, "A", liver="review", spleen="clear")]
    said += [(0, one) for one in segmented(2, "B", liver="reject", spleen=None)]
    said += [(1, one) for one in segmented(3, "A", liver="clear")]
    said += [(1, edited(1, "liver", "spleen")), (1, edited(1, "liver", version=2)), (1, edited(3, "stomach"))]
    assert counted(log(*said)) == {
        (FIRST, "A", "liver"): Counted(1, 1, 1),
        (FIRST, "A", "spleen"): Counted(1, 0, 1),
        (FIRST, "B", "liver"): Counted(1, 1, 0),
        (FIRST, "B", "spleen"): Counted(1, 0, 0),
        (FIRST + 1, "A", "liver"): Counted(1, 0, 0),
    }


def test_weeks_long_past_are_let_go_with_their_studies() -> None:
    said = [(0, one) for one in segmented(1, liver="review")]
    said += [(1, one) for one in segmented(2, liver="clear")]
    now = [NOW]
    weeks = Weeks(lambda: now[0])
    weeks.add(log(*said))
    now[0] += timedelta(weeks=1)
    weeks.add(log(*said, (2, edited(1, "liver")))[-1:])
    assert weeks.counted() == {(FIRST + 1, "A", "liver"): Counted(1, 0, 0)}


def test_what_a_clock_that_was_ahead_has_dated_is_counted_nowhere() -> None:
    said = [(0, one) for one in segmented(1, liver="review")]
    said += [(WEEKS + 20, one) for one in segmented(2, liver="clear")]
    said += [(1, one) for one in segmented(3, liver="clear")]
    found = counted(log(*said))
    assert set(found) == {(FIRST, "A", "liver"), (FIRST + 1, "A", "liver")}
    (liver,) = trends_of(found, FIRST + WEEKS - 1)
    assert (liver.results, liver.flagged_before) == (0, 50.0)


@given(st.lists(st.sampled_from(["segmented", "edited", "other site"]), max_size=20), st.integers(1, 7))
def test_in_whatever_stretches_the_log_is_read_the_counts_are_the_same(acts: list[str], stretch: int) -> None:
    said: list[tuple[int, Event]] = []
    for number, act in enumerate(acts):
        week = number // 3
        if act == "edited":
            said.append((week, edited(number - 1, "liver")))
        else:
            said += [(week, one) for one in segmented(number, act[:1], liver="review")]
    lines, weeks = log(*said), Weeks(lambda: NOW)
    for begin in range(0, len(lines), stretch):
        weeks.add(lines[begin : begin + stretch])
    assert weeks.counted() == counted(lines)
    assert weeks.number == len(lines)


def test_the_last_weeks_are_set_against_those_before() -> None:
    early = {(FIRST + week, "A", "liver"): Counted(10, 2, 1) for week in range(8)}
    late = {(FIRST + week, site, "liver"): Counted(10, 5, 0) for week in (8, 11) for site in ("A", "B")}
    late[FIRST + 11, "B", "liver"] = Counted(30, 3, 6)
    (liver,) = trends_of(early | late, FIRST + WEEKS - 1)
    assert (liver.results, liver.flagged, liver.flagged_before) == (60, 30.0, 20.0)
    assert (liver.edited, liver.edited_before) == (10.0, 10.0)
    assert liver.sites == (("A", 50.0), ("B", 20.0))
    assert liver.weeks == (*[20.0] * 8, 50.0, None, None, 20.0)


@pytest.mark.parametrize(
    ("lately", "before", "more"),
    [
        (Counted(100, 40), Counted(200, 20), True),
        (Counted(100, 12), Counted(200, 20), False),
        (Counted(100, 2), Counted(200, 20), False),  # fewer is no alarm
        (Counted(3, 3), Counted(200, 20), False),
        (Counted(10, 10), Counted(2, 0), False),  # hardly anything is known of before
        (Counted(100, 40), Counted(200, 200), False),
        (Counted(100, 100), Counted(), False),
        (Counted(), Counted(200, 20), False),
        (Counted(400, 400), Counted(200, 0), True),
    ],
)
def test_an_organ_that_is_flagged_more_often_is_told_where_that_is_no_chance(lately, before, more) -> None:
    assert is_more(lately, before, 9) is more


def test_who_looks_every_day_is_hardly_ever_alarmed_by_chance() -> None:
    """Two hundred sites whose organ is flagged as before, each looked at after every result."""
    drawn = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        before = Counted(200, int(drawn.binomial(200, 0.2)))
        flagged = np.cumsum(drawn.random(100) < 0.2)
        alarms += any(is_more(Counted(n + 1, int(k)), before, 1) for n, k in enumerate(flagged))
    assert alarms <= 20, "a false alarm in twenty of the test, and one more of what was before"
