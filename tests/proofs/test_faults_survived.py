"""Workers are killed, stopped and left without room at each step: nothing is lost, twice or half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.support.faulty_tasks import Proof
from tests.support.faulty_workers import Fault, make_room
from tests.support.faulty_works import left_in

DISK = "64m"
"""Room on the small disk: for a home, and no more than is filled quickly."""


def test_killed_at_each_step_another_worker_does_it_once(proof: Proof) -> None:
    proof.task.take_back()
    steps, left = proof.steps.each_place(Fault.KILLED), 0
    for step in steps:
        home = proof.home()
        assert proof.task.done(home, Fault.KILLED, step).places is None, "it was killed"
        assert proof.task.done(home).error == "", step
        left += proof.check(home, f"killed at step {step}", temporary=True)
    print(f"\nkilled at {len(steps)} steps, done by another each time; {left} temporary files left")


def test_stopped_at_each_step_and_followed_it_does_nothing_a_second_time(proof: Proof) -> None:
    proof.task.take_back()
    steps, said = proof.steps.each_place(Fault.STOPPED), Counter[str]()
    for step in steps:
        home = proof.home()
        first = proof.task.begun(home, Fault.STOPPED, step)
        assert first.stopped(), step
        second = proof.task.done(home)
        first.go_on()
        said[first.end().error.partition(":")[0] or "done"] += 1
        assert second.error == "", step
        proof.check(home, f"stopped at step {step}")
    print(f"\nstopped at {len(steps)} steps and followed; then it said {dict(said)}")


def test_with_no_room_from_each_write_on_it_says_so_and_goes_on_once_there_is(
    proof: Proof, small_disk: Path
) -> None:
    proof.task.take_back()
    steps, said = proof.steps.each_place(Fault.FULL), Counter[str]()
    for step in steps:
        home = proof.home(small_disk)
        first = proof.task.done(home, Fault.FULL, step)
        make_room(home)
        said[first.error.partition(":")[0] or "done"] += 1
        assert left_in(home).temporary == frozenset(), step
        assert proof.task.done(home).error == "", step
        proof.check(home, f"no room from step {step} on")
    assert said.keys() <= {"StorageFailed", "done"}, said
    print(f"\nno room from {len(steps)} writes on: it said {dict(said)}")


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Mount a disk of a few megabytes."""
    folder = tmp_path_factory.mktemp("small")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", str(folder)], check=False)
    if mounted.returncode:
        pytest.skip("no disk can be mounted here (not root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("off", ["+1h", "-1h"])
def test_a_clock_an_hour_off_between_two_workers_changes_nothing(proof: Proof, off: str) -> None:
    proof.task.take_back()
    steps = proof.steps.each_place(Fault.STOPPED)
    home = proof.home()
    first = proof.task.begun(home, Fault.STOPPED, steps[len(steps) // 2])
    assert first.stopped()
    work_by_another_clock(proof, home, off)
    first.go_on()
    first.end()
    work_by_another_clock(proof, home, off)
    assert proof.task.done(home).error == ""
    proof.check(home, off, temporary=True)


def work_by_another_clock(proof: Proof, home: Path, off: str) -> None:
    """Have a worker whose clock is an hour off do the task; an error of it is raised here."""
    [*library] = Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")
    if not library:
        pytest.skip("no clock can be moved here (apt-get install libfaketime)")
    moved = {"LD_PRELOAD": str(library[0]), "FAKETIME": off}
    given = json.dumps(proof.task.given, default=SecretStr.get_secret_value)
    command = [sys.executable, "-m", "tests.support.faulty_works", proof.task.work.__name__, str(home), given]
    subprocess.run(command, env=os.environ | moved, check=True)
