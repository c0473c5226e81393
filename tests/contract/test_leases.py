"""Leases on SQLite and on a real PostgreSQL: one holder at a time; one that was followed writes nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import pytest

from models.errors import LeaseLost
from services.records.entries.arrivals import Arrival, ArrivalState
from services.records.store import open_records
from tests.support.log import lines, write_line

AS_WRITER = True
"""On PostgreSQL the writer's rights are enough."""

LONG = 3600.0
HOUR, SHORT = 3600.0, 30.0
RUN_OUT = 0.0
"""Seconds after which a lease has run out: at once."""


@pytest.fixture
def records(url):
    opened = open_records(url)
    yield opened
    opened.close()


def test_a_lease_is_one_holders_until_it_is_given_back(records):
    mine = records.acquire("watch", "a", LONG)
    assert (mine.name, mine.holder, mine.token) == ("watch", "a", 1)
    assert records.acquire("watch", "b", LONG) is None
    assert records.acquire("another", "b", LONG).token == 1
    records.release(mine)
    assert records.acquire("watch", "b", LONG).token == 2


def test_a_lease_that_has_run_out_holds_until_somebody_takes_it(records):
    mine = records.acquire("watch", "a", RUN_OUT)
    records.fenced(mine).take_in(["1.2"], 1)
    records.renew(mine, LONG)
    assert records.acquire("watch", "b", LONG) is None
    records.renew(mine, RUN_OUT)
    theirs = records.acquire("watch", "b", LONG)
    assert theirs.token == 2
    with pytest.raises(LeaseLost, match="watch"):
        records.renew(mine, LONG)
    records.release(mine)  # is the other's still
    assert records.acquire("watch", "c", LONG) is None


def test_a_lease_given_out_by_a_clock_that_was_ahead_keeps_nobody_out_for_longer(records):
    """The clock was an hour ahead when the holder died, and is right again."""
    records.acquire("watch", "a", HOUR + SHORT)
    assert records.acquire("watch", "b", SHORT).token == 2
    assert records.acquire("watch", "c", SHORT) is None


def test_whoever_was_followed_neither_reads_nor_writes(records):
    mine = records.take_over("segment:1.2", "first run", LONG)
    late = records.fenced(mine)
    late.take_in(["1.2"], 1)
    seen = late.arrival("1.2")
    theirs = records.take_over("segment:1.2", "second run", LONG)
    segmented = replace(seen, state=ArrivalState.SEGMENTED)
    for act in (
        lambda: late.change_arrival(seen, segmented, event="never"),
        lambda: late.change_arrival(None, Arrival("1.3", "1.3")),
        lambda: write_line(late, "never", who="test"),
        lambda: late.take_in(["1.4"], 9),
        late.arrivals,
    ):
        with pytest.raises(LeaseLost, match=r"segment:1\.2"):
            act()
    assert [one.uid for one in records.arrivals()] == ["1.2"]
    assert (records.feed_cursor(), lines(records, "never")) == (1, ())
    assert records.fenced(theirs).change_arrival(seen, segmented)


def test_one_that_gave_its_lease_back_writes_nothing_more(records):
    mine = records.acquire("watch", "a", LONG)
    records.release(mine)
    with pytest.raises(LeaseLost):
        records.fenced(mine).take_in(["1.2"], 1)


def test_what_a_holder_had_before_it_took_the_lease_again_is_lost(records):
    before = records.acquire("watch", "a", LONG)
    again = records.acquire("watch", "a", LONG)
    assert again.token > before.token
    with pytest.raises(LeaseLost):
        write_line(records.fenced(before), "never", who="test")


def test_of_many_that_ask_at_once_one_gets_it(url):
    at_once = Barrier(4)

    def ask(number: int) -> int | None:
        opened = open_records(url)
        try:
            at_once.wait()
            lease = opened.acquire("watch", f"worker {number}", LONG)
            return None if lease is None else lease.token
        finally:
            opened.close()

    open_records(url).close()
    with ThreadPoolExecutor(4) as pool:
        assert sorted(map(str, pool.map(ask, range(4)))) == ["1", "None", "None", "None"]
