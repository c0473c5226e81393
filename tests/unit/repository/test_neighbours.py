"""No test depends on a thread that another one left behind."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Iterator
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.errors import HypothesisDeprecationWarning

from tests.support.neighbours import left_running, silence_prefect, threads_of_ours
from tests.support.waiting import until


@pytest.fixture
def connection() -> Iterator[list[int]]:
    """What is drawn by Prefect's thread for events; its client pings as a websocket does, only oftener."""
    from prefect.events.clients import EventsClient
    from prefect.events.worker import EventsWorker
    from prefect.settings import PREFECT_API_URL, temporary_settings

    drawn: list[int] = []

    class Pinging(EventsClient):
        async def _emit(self, event: Any) -> None:
            raise AssertionError("nothing is sent")

        async def __aenter__(self) -> Self:
            self._pings = asyncio.ensure_future(self._ping())
            return await super().__aenter__()

        async def __aexit__(self, *error: Any) -> None:
            self._pings.cancel()
            await super().__aexit__(*error)

        async def _ping(self) -> None:
            while True:
                drawn.append(random.getrandbits(32))
                await asyncio.sleep(0.001)

    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # asked for nothing
        EventsWorker.instance(Pinging)
    until(lambda: drawn, "the thread draws")
    yield drawn
    silence_prefect()


def test_hypothesis_draws_alone_once_prefect_is_silent(connection: list[int]) -> None:
    busy = True

    def beside(value: int) -> int:
        drawn = len(connection)
        until(lambda: not busy or len(connection) > drawn + 1, "the thread draws on")
        return value

    @settings(max_examples=3, database=None)
    @given(st.integers().map(beside))
    def holds(value: int) -> None:
        assert isinstance(value, int)

    with pytest.raises(HypothesisDeprecationWarning, match="random"):
        holds()
    silence_prefect()
    busy = False
    drawn = len(connection)
    holds()
    assert len(connection) == drawn


def test_a_thread_that_runs_our_code_is_named_until_it_has_ended() -> None:
    over = threading.Event()

    def forgotten() -> None:
        over.wait()

    thread = threading.Thread(target=forgotten, name="forgotten")
    before = set(threads_of_ours())
    thread.start()
    until(lambda: set(threads_of_ours()) - before, "it runs")
    [said] = left_running(before, patience_seconds=0)
    assert "forgotten" in said
    assert "tests/unit/repository/test_neighbours.py:" in said
    over.set()
    thread.join()
    assert left_running(before, patience_seconds=0) == []
