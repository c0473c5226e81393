"""What the proofs of faults share."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archive import Archive
from tests.support.faulty_tasks import TASKS, Proof
from tests.support.faulty_works import left_in


@pytest.fixture(params=TASKS, scope="module")
def proof(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, archive: Archive
) -> Iterator[Proof]:
    archive.empty()
    task = TASKS[request.param](tmp_path_factory.mktemp(request.param), archive)
    folder = tmp_path_factory.mktemp("trial")
    home = Path(shutil.copytree(task.home, folder / "home"))
    ended = task.done(home)
    assert ended.error == ""
    left = left_in(home)
    assert left.faults == ()
    yield Proof(task, folder, ended, left, len(task.stored()))
    task.take_back()
