"""What is worked out beside the requests: once at a time, anew where it is due, and failures are said."""

from __future__ import annotations

import threading

from deploy.pages.model.beside import RETRY_SECONDS, Beside
from models.errors import StorageFailed


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_nobody_waits_and_nothing_is_worked_out_twice_at_once() -> None:
    begun, go = threading.Event(), threading.Event()
    calls = []

    def work() -> int:
        calls.append(1)
        begun.set()
        go.wait()
        return 7

    beside = Beside(work, 10.0)
    first = beside.look("a")
    assert (first.value, first.newest, first.working) == (None, False, True)
    begun.wait()
    assert beside.look("b").working, "the first goes on"
    go.set()
    beside.wait()
    assert calls == [1]
    last = beside.look("a")
    assert (last.value, last.newest, last.working, last.failed) == (7, True, False, "")
    assert last.at is not None


def test_an_answer_stands_until_it_is_old_or_asked_for_something_else() -> None:
    clock, values = Clock(), iter(range(100))
    beside = Beside(lambda: next(values), 10.0, clock)
    seen = []
    for now, key in ((0.0, "a"), (10.0, "a"), (10.5, "a"), (11.0, "b"), (12.0, "b")):
        clock.now = now
        answer = beside.look(key)
        beside.wait()
        seen.append((answer.working, beside.look(key).value))
    assert seen == [(True, 0), (False, 0), (True, 1), (True, 2), (False, 2)]
    beside.forget()
    assert beside.look("b").working
    beside.wait()
    assert beside.look("b").value == 3


def test_a_failure_is_said_the_last_answer_stays_and_it_is_tried_again() -> None:
    clock = Clock()
    told: list[object] = [1, StorageFailed("the disk is away"), ZeroDivisionError(), 2]

    def work() -> object:
        found = told.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    beside = Beside(work, 600.0, clock)
    answers = []
    for now in (0.0, 601.0, 602.0, 603.0 + RETRY_SECONDS, 604.0 + 2 * RETRY_SECONDS):
        clock.now = now
        beside.look()
        beside.wait()
        answer = beside.look()
        answers.append((answer.value, answer.failed.partition(":")[0]))
    assert answers == [
        (1, ""),
        (1, "the disk is away"),
        (1, "the disk is away"),
        (1, "ZeroDivisionError"),
        (2, ""),
    ]
