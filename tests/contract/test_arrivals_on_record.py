"""Arrivals on record, on SQLite and on a real PostgreSQL: what came is lost by no kill and no race."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.events.arrivals import StudyGone, StudyRefused
from services.records.store import open_records
from tests.support.log import lines

AS_WRITER = True
"""On PostgreSQL the writer's rights are enough."""

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def clock():
    times = iter(NOON + timedelta(seconds=second) for second in range(1000))
    return lambda: next(times)


@pytest.fixture
def records(url, clock):
    opened = open_records(url, clock=clock)
    yield opened
    opened.close()


def test_what_the_feed_names_and_the_cursor_are_written_together_or_not_at_all(records, monkeypatch):
    records.take_in(["1.2"], 7)
    with monkeypatch.context() as patched:
        patched.setattr(records, "_insert", lambda *_: (_ for _ in ()).throw(RuntimeError("killed")))
        with pytest.raises(RuntimeError, match="killed"):
            records.take_in(["1.3"], 9)
    assert records.feed_cursor() == 7
    assert [one.uid for one in records.open_arrivals()] == ["1.2"]


def test_a_study_named_again_is_on_record_once_and_is_to_be_looked_at_again(records):
    records.take_in(["1.3", "1.2"], 5)
    first = records.arrival("1.2")
    done = replace(first, state=ArrivalState.SEGMENTED, version="v", touched=False)
    assert records.change_arrival(first, done)
    assert [one.uid for one in records.open_arrivals()] == ["1.3"]
    records.take_in(["1.2"], 6)
    again = records.arrival("1.2")
    assert (again.state, again.version, again.touched) == (ArrivalState.SEGMENTED, "v", True)
    assert again.came_at == first.came_at
    assert [one.uid for one in records.open_arrivals()] == ["1.3", "1.2"]


def test_only_who_saw_the_last_change_changes_an_arrival_and_its_event_goes_with_it(records):
    records.take_in(["1.2"], 1)
    seen = records.arrival("1.2")
    refused = replace(seen, state=ArrivalState.REFUSED, code="missing-slices")
    event = StudyRefused(uid="1.2", study_uid="1.2", code="missing-slices", measured={"gap_mm": 10})
    assert records.change_arrival(seen, refused, event=event)
    assert not records.change_arrival(
        seen, replace(seen, state=ArrivalState.SUBMITTED), event=StudyGone(uid="1.2")
    )
    assert records.arrival("1.2").state is ArrivalState.REFUSED
    (line,) = lines(records)
    assert line.what == "study-refused"
    assert line.payload == {
        "uid": "1.2", "study_uid": "1.2", "code": "missing-slices", "measured": {"gap_mm": 10},
    }  # fmt: skip


def test_an_arrival_is_put_on_record_by_one_of_two(records):
    seg = Arrival("1.2.9", "1.2")
    assert records.change_arrival(None, seg)
    assert not records.change_arrival(None, seg)


def test_a_look_that_changes_nothing_else_leaves_the_time_of_the_last_change(records):
    records.take_in(["1.2"], 1)
    seen = records.arrival("1.2")
    records.change_arrival(seen, replace(seen, touched=False))
    looked = records.arrival("1.2")
    assert looked.changed_at == seen.changed_at
    records.change_arrival(looked, replace(looked, attempts=1))
    assert records.arrival("1.2").changed_at > seen.changed_at


def test_a_sweep_has_what_came_lately_looked_at_again_once_a_day(records):
    records.take_in(["1.2", "1.3"], 1)
    for uid, state in (("1.2", ArrivalState.SEGMENTED), ("1.3", ArrivalState.REFUSED)):
        seen = records.arrival(uid)
        records.change_arrival(seen, replace(seen, state=state, touched=False))
    assert records.sweep(NOON.date(), NOON + timedelta(hours=1)) == 0, "it came before"
    assert records.sweep(NOON.date() + timedelta(days=1), NOON - timedelta(hours=1)) == 1
    assert [one.uid for one in records.open_arrivals()] == ["1.2"]
    assert records.sweep(NOON.date() + timedelta(days=1), NOON - timedelta(hours=1)) == 0, "once a day"
    assert records.feed_cursor() == 1


def test_studies_are_told_by_state_and_code_and_no_seg_among_them(records):
    def put(uid: str, state: ArrivalState, code: str, study: str = "") -> None:
        records.change_arrival(None, Arrival(uid, study or uid, state, code=code))

    put("1.2", ArrivalState.REFUSED, "missing-slices")
    put("1.3", ArrivalState.FAILED, "late")
    put("1.4", ArrivalState.REFUSED, "missing-slices")
    put("1.5", ArrivalState.SEGMENTED, "")
    put("1.4.7", ArrivalState.REFUSED, "malformed-seg", study="1.4")
    without = (ArrivalState.REFUSED, ArrivalState.FAILED)
    assert records.studies_by_code(without) == {
        (ArrivalState.REFUSED, "missing-slices"): 2,
        (ArrivalState.FAILED, "late"): 1,
    }
    assert [one.uid for one in records.studies_of(without, 2)] == ["1.4", "1.3"]
    assert records.studies_of((ArrivalState.SUBMITTED,), 2) == ()
